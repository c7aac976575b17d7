"""The compiled functions of a model: once per process, for one batch size, called by any number of threads."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from lake.core.errors import BundleError, LatentlakeError
from model.bundle import GOLDEN_FILE, SPEC_FILE, Bundle
from model.golden import golden_levels, unpack
from model.input_spec import Shape
from model.keras.load import keras_reason
from model.pixels import Floats, Pixels
from model.runtime import load_executor
from model.runtime.batching import BatchedCalls, Failed
from model.runtime.executor import Executor, ModelError
from model.runtime.same_bits import cut, each_alone, same_bits
from model.spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """What ``reconstruct`` gives for n records.

    Attributes:
      latents: float32 [n, D], of images of any size [n, h, w, c].
      output: float32 [n, H, W, C] or [n, d], in the model's output range as the model gave it, not clipped.
      mse: float32 [n]: output against input, each scaled so that its range is 0..1.
    """

    latents: Floats
    output: Floats
    mse: Floats


class Runtime:
    """The compiled functions of a model; thread-safe.

    Pixels are [n, H, W, C] of uint8, uint16, or float32 in 0..1; vectors are float32 [n, d] as the model takes them; n
    is at most ``batch_size``. A model of any size takes any n, and any H and W that are multiples of ``multiple``; its
    latents are [n, h, w, c], with one position for a square of ``Spec.stride`` pixels. The same image gives the same
    bits as uint8 v and as uint16 257 v, whatever the other records, the padding, and the number of threads. Where
    memory runs out, fewer rows are computed at once: 16 or more still give the same bits.

    A conditional model takes with the rows their conditions, int64 [n] or float32 [n, k]: see ``model.condition``.

    Every function takes ``failed``, which receives the rows for which the model raises an error, and the error in one
    line; what is given for them is NaN, and for all others what it would be without them. Without ``failed`` the error
    is raised, a ``ModelError``.
    """

    def __init__(self, executor: Executor, spec: Spec) -> None:
        self.spec, self.batch_size, self.executor = spec, spec.batch_size, executor.name
        self.differences: dict[str, float] = {}  # golden output -> worst difference, relative to its largest value
        self._calls = BatchedCalls(executor, spec)

    @property
    def size_by_size(self) -> bool:
        """Whether images of each size have a function of their own."""
        return self._calls.size_by_size

    @property
    def any_rows(self) -> bool:
        """Whether, on this processor, the bits of a row do not depend on how many rows are computed with it."""
        return self._calls.any_rows

    @classmethod
    def load(cls, bundle: Bundle, executor: str | None = None) -> "Runtime":
        """Audit and load the model, and check that it gives its golden outputs.

        Args:
          bundle: an opened bundle.
          executor: the name of one, of ``model.runtime.EXECUTORS``; None for the first one that runs the bundle.

        Raises:
          BundleError: the file changed, is unsafe, or gives other outputs than it gave when it was bundled; or the
            executor does not run it.
        """
        golden = unpack(bundle.read(GOLDEN_FILE), bundle.spec, bundle.files()[GOLDEN_FILE])
        runtime = cls(load_executor(bundle, executor), bundle.spec)
        try:
            runtime.check(golden, bundle.uri)
        except ModelError as error:
            raise BundleError(
                f"{bundle.uri}: the model fails for its golden inputs ({error}); export a model that does not"
            ) from error
        except LatentlakeError:
            raise
        except Exception as error:  # while a function is compiled, Keras raises errors of any class
            raise BundleError(
                f"{bundle.uri}: the model does not have the shapes that {SPEC_FILE} says ({keras_reason(error)}); "
                f"export it again"
            ) from error
        return runtime

    def encode(self, pixels: Pixels, failed: Failed | None = None, condition: Pixels | None = None) -> Floats:
        """Latents, float32 [n, D], of images of any size [n, h, w, c].

        Raises:
          BundleError: the model has no latent.
        """
        self.spec.require("encode")
        (latents,) = self._run("encode", failed, pixels, condition)
        return latents

    def encode_variance(
        self, pixels: Pixels, failed: Failed | None = None, condition: Pixels | None = None
    ) -> tuple[Floats, Floats]:
        """Means and variances of the latents' distributions, as ``encode`` gives the means.

        Raises:
          BundleError: the model is no variational autoencoder.
        """
        if self.spec.variance is None:
            raise BundleError(
                f"the model has no variance of its latents: a bundle of kind {self.spec.kind!r}; use one of kind 'vae'"
            )
        mean, variance = self._run("encode_variance", failed, pixels, condition)
        return mean, variance

    def encode_all(self, pixels: Pixels, failed: Failed | None = None, condition: Pixels | None = None) -> list[Floats]:
        """The latents of ``Spec.latents``, in one pass, as ``encode`` gives the first; each float32 [n, D] with its D.

        Raises:
          BundleError: the model has no latent.
        """
        if not self.spec.further:
            return [self.encode(pixels, failed, condition)]
        return self._run("encode_all", failed, pixels, condition)

    def reconstruct(
        self, pixels: Pixels, failed: Failed | None = None, condition: Pixels | None = None
    ) -> Reconstruction:
        """Latents, outputs and errors.

        Raises:
          BundleError: the model only encodes.
        """
        self.spec.require("reconstruct")
        latents, output, mse = self._run("reconstruct", failed, pixels, condition)
        return Reconstruction(latents=latents, output=output, mse=mse)

    def decode(self, latents: Floats, failed: Failed | None = None, condition: Pixels | None = None) -> Floats:
        """Outputs of latents, float32 [n, H, W, C] in the model's output range, not clipped.

        The latents of an image give the bits that ``reconstruct`` gives for the image.

        Args:
          latents: float32 [n, D], for images of any size [n, h, w, c].
          failed: see ``Runtime``.
          condition: likewise.

        Raises:
          BundleError: the model's output depends on more than the latent, and the condition if there is one.
        """
        self.spec.require("decode")
        if self.spec.input.any_size:
            self._check_sides(latents, max(1, self.spec.input.multiple // self.spec.stride))
        else:
            self._check_rows(latents, (self.spec.dimension,))
        (output,) = self._calls.run("decode", failed, latents, *self._told(condition, len(latents)))
        return output

    def restore(self, pixels: Pixels, levels: Floats | None, failed: Failed | None = None) -> Floats:
        """The output alone, float32 [n, H, W, C] in the model's output range, not clipped.

        Args:
          pixels: see ``Runtime``.
          levels: float32 [n], standard deviation of the noise as a fraction of white; None for a model that is not
            told.
          failed: see ``Runtime``.

        Raises:
          BundleError: the output does not have the input's shape.
        """
        self.spec.require("denoise")
        if (levels is None) != (self.spec.input.noise is None):
            raise ValueError(
                "noise levels are given" if self.spec.input.noise is None else "the model takes a noise level"
            )
        if not self.spec.input.any_size:
            self._check_rows(pixels, self.spec.input.shape)
        told = np.zeros(len(pixels), np.float32) if levels is None else levels
        (output,) = self._calls.run("restore", failed, pixels, told)
        return output

    def check(self, golden: dict[str, Pixels], where: str) -> None:
        """Compare with golden outputs, and keep the ``differences``.

        Functions that come compiled are compared each, and whether their bits depend on the number of rows is tried.

        Raises:
          BundleError: the worst difference is above the tolerance.
        """
        condition = golden.get("condition")
        self._compare(self.outputs(golden["input"], condition).items(), golden, where)
        if self._calls.compiled:
            self._compare(each_alone(self, golden), golden, where)
            self._calls.any_rows &= same_bits(self, golden["input"], condition)

    def _compare(self, outputs: Iterable[tuple[str, Floats]], golden: Mapping[str, Pixels], where: str) -> None:
        for name, got in outputs:
            want = golden[name].astype(np.float64)
            scale = max(float(np.abs(want).max()), 1e-6)
            worst = float(np.abs(got - want).max()) / scale if got.shape == want.shape else np.inf
            self.differences[name] = max(worst, self.differences.get(name, 0.0))
            if not worst <= self.spec.golden.tolerance:  # NaN is a difference too
                raise BundleError(
                    f"{where}: the model is not the one that was bundled: its {name} for the golden inputs differs by "
                    f"{worst:.3g} of its largest value, above {self.spec.golden.tolerance:g}; export the model again"
                )

    def outputs(
        self, inputs: Pixels, condition: Pixels | None = None, levels: Floats | None = None
    ) -> dict[str, Floats]:
        """What golden outputs consist of: latents, ``output`` and ``variance``, as far as the model has them.

        The latents are ``latent``, and for each further one ``latent_NAME``.

        Args:
          inputs: as the model takes them, where that is any size of that size.
          condition: of each; None where the model is not conditional.
          levels: of their noise, as ``restore`` takes them; None for those of golden outputs.
        """
        parts = [slice(i, i + self.batch_size) for i in range(0, len(inputs), self.batch_size)]
        results = [self._golden(inputs[part], cut(levels, part), cut(condition, part)) for part in parts]
        return {name: np.concatenate([result[name] for result in results]) for name in results[0]}

    def _golden(self, inputs: Pixels, levels: Floats | None, condition: Pixels | None) -> dict[str, Floats]:
        if self.spec.latent is None:
            told = golden_levels(len(inputs)) if levels is None else levels
            return {"output": self.restore(inputs, told if self.spec.input.noise else None)}
        if self.spec.kind == "decoder":
            return {"output": self.decode(inputs.astype(np.float32), condition=condition)}
        further = self._further(inputs, condition)
        if "reconstruct" not in self.spec.functions:
            return {"latent": self.encode(inputs, condition=condition), **further}
        result = self.reconstruct(inputs, condition=condition)
        variance = {"variance": self.encode_variance(inputs, condition=condition)[1]} if self.spec.variance else {}
        return {"latent": result.latents, "output": result.output, **variance, **further}

    def _further(self, inputs: Pixels, condition: Pixels | None) -> dict[str, Floats]:
        if not self.spec.further:
            return {}
        _, *found = self.encode_all(inputs, condition=condition)
        return {f"latent_{one.name}": latents for one, latents in zip(self.spec.further, found, strict=True)}

    def _run(self, name: str, failed: Failed | None, pixels: Pixels, condition: Pixels | None) -> list[Floats]:
        if self.spec.input.any_size:
            self._check_sides(pixels, self.spec.input.multiple)
        else:
            self._check_rows(pixels, self.spec.input.shape)
        return self._calls.run(name, failed, pixels, *self._told(condition, len(pixels)))

    def _told(self, values: Pixels | None, rows: int) -> list[Floats]:
        """The further array that the functions of a conditional model take; none for another model."""
        condition = self.spec.input.condition
        if (values is None) != (condition is None):
            raise ValueError("a condition is given" if condition is None else "the model takes a condition")
        if values is None or condition is None:
            return []
        if values.shape != (rows, *condition.shape):
            raise ValueError(f"conditions of shape {values.shape}; the model takes {(rows, *condition.shape)}")
        return [condition.told(values)]

    def _check_sides(self, rows: Pixels, multiple: int) -> None:
        if rows.ndim != 4 or not all(side and side % multiple == 0 for side in rows.shape[1:3]):
            raise ValueError(f"rows of shape {rows.shape}; the model takes sides that are multiples of {multiple}")

    def _check_rows(self, rows: Pixels, shape: Shape) -> None:
        if len(rows) > self.batch_size or rows.shape[1:] != shape:
            raise ValueError(f"rows of shape {rows.shape}; the model takes up to {self.batch_size} of {shape}")


def runtime_for(uri: str, digest: str, executor: str | None = None, *, allow_code: bool = False) -> Runtime:
    """The runtime of a bundle, loaded by whoever in this process asks first.

    Args:
      uri: of the bundle.
      digest: that it must have.
      executor: as in ``Runtime.load``.
      allow_code: as in ``Bundle.open``.

    Raises:
      BundleError: the bundle at ``uri`` is not the one with this digest, or see ``Runtime.load``.
    """
    with _LOADING:
        key = digest, executor, allow_code
        if key not in _RUNTIMES:
            bundle = Bundle.open(uri, allow_code=allow_code)
            if bundle.digest != digest:
                raise BundleError(f"{uri}: holds the bundle {bundle.digest}, not {digest}; plan the job again")
            _RUNTIMES[key] = Runtime.load(bundle, executor)
        return _RUNTIMES[key]


_LOADING = threading.Lock()
_RUNTIMES: dict[tuple[str, str | None, bool], Runtime] = {}
