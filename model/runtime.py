"""The compiled functions of a model: once per process, for one batch size, called by any number of threads."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from model.backend import tensorflow
from model.bundle import DESCRIPTION, GOLDEN, MODEL, Bundle
from model.golden import Floats, unpack
from model.graph import layers_of, recorded
from model.loading import load_model
from model.spec import Spec
from pipeline.errors import BundleError

Pixels: TypeAlias = npt.NDArray[np.generic]
_FULL = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}  # what white is, by dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """What ``reconstruct`` gives for n records.

    Attributes:
      latents: float32 [n, D].
      output: float32 [n, H, W, C] or [n, d], in the model's value range as the model gave it, not clipped.
      mse: float32 [n]: output against input, both scaled so that the value range is 0..1.
    """

    latents: Floats
    output: Floats
    mse: Floats


class Runtime:
    """Compiled ``encode`` and ``reconstruct``; thread-safe.

    Pixels are [n, H, W, C] of uint8, uint16, or float32 in 0..1; vectors are float32 [n, d] as the model takes them;
    n is at most ``batch_size``. The same image gives the same bits as uint8 v and as uint16 257 v, whatever the other
    records, the padding, and the number of threads.
    """

    def __init__(self, model: Any, spec: Spec) -> None:
        self.spec, self.batch_size = spec, spec.batch_size
        self.differences: dict[str, float] = {}  # golden output -> worst difference, relative to its largest value
        self._model = model
        self._latent = _layer(model, spec.latent.layer)
        self._lock = threading.Lock()
        self._compiled: dict[tuple[str, str], Callable[[Pixels], Any]] = {}

    @classmethod
    def load(cls, bundle: Bundle) -> "Runtime":
        """Audit and load the model, and check that it gives its golden outputs.

        Args:
          bundle: an opened bundle.

        Raises:
          BundleError: the file changed, is unsafe, or gives other outputs than it gave when it was bundled.
        """
        golden = unpack(bundle.read(GOLDEN), bundle.spec, bundle.files()[GOLDEN])
        tensorflow()
        runtime = cls(load_model(bundle.read(MODEL), bundle.files()[MODEL]), bundle.spec)
        try:
            runtime.check(golden, bundle.uri)
        except ValueError as error:  # from TensorFlow, while it traces
            raise BundleError(
                f"{bundle.uri}: the model does not have the shapes that {DESCRIPTION} says ({error}); export it again"
            ) from error
        return runtime

    def encode(self, pixels: Pixels) -> Floats:
        """Latents, float32 [n, D]."""
        latents: Floats = self._function("encode", pixels)(self._padded(pixels)).numpy()
        return latents[: len(pixels)]

    def reconstruct(self, pixels: Pixels) -> Reconstruction:
        """Latents, outputs and errors.

        Raises:
          BundleError: the model only encodes.
        """
        self.spec.require("reconstruct")
        n = len(pixels)
        latents, output, mse = self._function("reconstruct", pixels)(self._padded(pixels))
        return Reconstruction(latents=latents.numpy()[:n], output=output.numpy()[:n], mse=mse.numpy()[:n])

    def check(self, golden: dict[str, Pixels], where: str) -> None:
        """Compare with golden outputs, and keep the ``differences``.

        Raises:
          BundleError: the worst difference is above the tolerance.
        """
        for name, got in self.outputs(golden["input"]).items():
            want = golden[name].astype(np.float64)
            scale = max(float(np.abs(want).max()), 1e-6)
            worst = self.differences[name] = float(np.abs(got - want).max()) / scale
            if not worst <= self.spec.golden.tolerance:  # NaN is a difference too
                raise BundleError(
                    f"{where}: the model is not the one that was bundled: its {name} for the golden inputs differs by "
                    f"{worst:.3g} of its largest value, above {self.spec.golden.tolerance:g}; export the model again"
                )

    def outputs(self, inputs: Pixels) -> dict[str, Floats]:
        """What golden outputs consist of: ``latent`` and, unless the model only encodes, ``output``."""
        parts = [inputs[i : i + self.batch_size] for i in range(0, len(inputs), self.batch_size)]
        if "reconstruct" not in self.spec.functions:
            return {"latent": np.concatenate([self.encode(part) for part in parts])}
        results = [self.reconstruct(part) for part in parts]
        return {
            "latent": np.concatenate([result.latents for result in results]),
            "output": np.concatenate([result.output for result in results]),
        }

    def _padded(self, pixels: Pixels) -> Pixels:
        n, shape = len(pixels), self.spec.input.shape
        if n > self.batch_size or pixels.shape[1:] != shape:
            raise ValueError(f"pixels of shape {pixels.shape}; the model takes up to {self.batch_size} of {shape}")
        if n == self.batch_size:
            return pixels
        padded = np.zeros((self.batch_size, *shape), pixels.dtype)
        padded[:n] = pixels
        return padded

    def _function(self, name: str, pixels: Pixels) -> Callable[[Pixels], Any]:
        key = name, pixels.dtype.name
        if key not in self._compiled:
            with self._lock:  # two threads must not trace at once: the latent layer is tapped meanwhile
                if key not in self._compiled:
                    self._compiled[key] = self._compile(*key)
        return self._compiled[key]

    def _compile(self, name: str, dtype: str) -> Callable[[Pixels], Any]:
        tf = tensorflow()
        if dtype not in (("float32",) if self.spec.numeric else _FULL):
            raise ValueError(f"pixels of dtype {dtype}; the model takes {self.spec.input.dtype}")
        body = {"encode": self._encode, "reconstruct": self._reconstruct}[name]
        # The divisor is an argument: divided by a constant, the optimizer would multiply by its rounded reciprocal,
        # and the bits of uint8 and uint16 would part.
        compiled = tf.function(body, autograph=False).get_concrete_function(
            tf.TensorSpec((self.batch_size, *self.spec.input.shape), dtype), tf.TensorSpec((), tf.float32)
        )
        divisor = tf.constant(_FULL[dtype], tf.float32)
        return lambda pixels: compiled(tf.constant(pixels), divisor)

    def _encode(self, pixels: Any, divisor: Any) -> Any:
        return self._run(self._valued(tensorflow().cast(pixels, "float32") / divisor))[0]

    def _reconstruct(self, pixels: Any, divisor: Any) -> Any:
        tf = tensorflow()
        low, high = self.spec.input.value_range
        unit = tf.cast(pixels, tf.float32) / divisor  # images: 0..1
        latents, output = self._run(self._valued(unit))
        target = (unit - low) / (high - low) if self.spec.numeric else unit
        difference = tf.reshape((output - low) / (high - low) - target, (self.batch_size, -1))
        return latents, output, tf.reduce_mean(tf.square(difference), axis=1)

    def _valued(self, unit: Any) -> Any:
        low, high = self.spec.input.value_range
        return unit if self.spec.numeric or (low, high) == (0.0, 1.0) else unit * (high - low) + low

    def _run(self, values: Any) -> tuple[Any, Any]:
        tf = tensorflow()
        with recorded([self._latent]) as outputs:
            output = self._model(values, training=False)
        (latent,) = outputs[id(self._latent)]
        flat = tf.reshape(latent, (self.batch_size, self.spec.latent.dimension))
        return tf.cast(flat, tf.float32), tf.cast(output, tf.float32)


def _layer(model: Any, path: str) -> Any:
    layers = dict(layers_of(model))
    if path not in layers:
        raise BundleError(f"the model has no layer {path!r}, only {', '.join(layers)}; export it again")
    return layers[path]


def runtime_for(uri: str, digest: str) -> Runtime:
    """The runtime of a bundle, loaded by whoever in this process asks first.

    Raises:
      BundleError: the bundle at ``uri`` is not the one with this digest, or see ``Runtime.load``.
    """
    with _LOADING:
        if digest not in _RUNTIMES:
            bundle = Bundle.open(uri)
            if bundle.digest != digest:
                raise BundleError(f"{uri}: holds the bundle {bundle.digest}, not {digest}; plan the job again")
            _RUNTIMES[digest] = Runtime.load(bundle)
        return _RUNTIMES[digest]


_LOADING = threading.Lock()
_RUNTIMES: dict[str, Runtime] = {}
