"""The description of a model: the content of a bundle's ``model.json``, as dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeAlias

from lake.core.errors import BundleError
from model.input_spec import Input, NoiseRange, Shape, is_noise_range
from model.names import latent_name

Json: TypeAlias = Any

FUNCTIONS = ("encode", "reconstruct", "decode", "denoise", "generate")
KINDS = ("autoencoder", "dense", "encoder", "vae", "denoiser", "decoder")
MAX_MULTIPLE = 64  # pixels
MAX_REACH = 128  # pixels
MAX_LATENT_REACH = 256  # pixels, of a model with a latent, which sees further because it goes down and up again


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """Where a model's latent comes from.

    Attributes:
      layer: path of the layer, such as ``encoder/bottleneck``; of a decoder alone, its input.
      shape: shape of its output for one record; it is flattened to a vector. For a model of any size, (h, w, c) for an
        image of ``Input.shape``, and latents keep their shape.
      own_name: that it was given; None where it is called after its layer.

    >>> Latent(layer="encoded", shape=(4, 4, 8)).dimension
    128
    """

    layer: str
    shape: Shape
    own_name: str | None = None

    @property
    def dimension(self) -> int:
        """Length D of a latent vector."""
        return prod(self.shape)

    @property
    def name(self) -> str:
        """What it is called among several."""
        return self.own_name or latent_name(self.layer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """How golden outputs were recorded.

    Attributes:
      count: number of golden inputs.
      seed: seed of the inputs.
      tolerance: largest difference, relative to the largest magnitude of each output.
    """

    count: int
    seed: int
    tolerance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """How a model's graphs were made to compute in integers.

    Attributes:
      precision: 'int8'.
      samples: number of images that it was calibrated with.
      sha256: of these images' pixels.
      layers: number of layers by the precision that they compute in.
      cost: what it changes, measured on other images, for people; any JSON.
    """

    precision: str
    samples: int
    sha256: str
    layers: Mapping[str, int]
    cost: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCode:
    """The code that a model's layers need, which is in the bundle.

    Attributes:
      name: of the file that it was, for people.
      classes: that it defines, for people.
    """

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """Size and checksum of a file in a bundle.

    Attributes:
      size: bytes.
      sha256: SHA-256, as 64 hexadecimal digits.
    """

    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """The description of a model, the content of ``model.json``.

    Attributes:
      kind: one of ``KINDS``. An 'encoder' gives latents only, a 'denoiser' images only, a 'decoder' images of latents.
        Every other kind gives latents and an output of the input's shape. The latents of a 'vae' have a standard normal
        prior.
      input: what the model takes.
      latent: where the latent comes from; None for a denoiser.
      functions: what the model can do, of ``FUNCTIONS``, in that order.
      golden: how the golden outputs were recorded.
      files: entries of ``golden.npz``, and of ``model.keras``, of the graphs of ``model.graphs``, or of both.
      variance: path of the layer that gives the logarithm of each latent's variance; None except for a VAE.
      further: latents that the same pass gives besides; only of a model of one size.
      own_output_range: the values of black and white that the model puts out, where they are not those of the input.
      quantization: how its graphs compute in integers; None where they compute in floating point, as Keras does.
      code: the code of the model's own layers; None for Keras' layers alone.
      training: provenance for people, any JSON.

    >>> spec = Spec(
    ...     kind="autoencoder",
    ...     input=Input(shape=(28, 28, 1), dtype="uint8", value_range=(0.0, 1.0), color="gray"),
    ...     latent=Latent(layer="encoded", shape=(128,)),
    ...     functions=("encode", "reconstruct"),
    ...     golden=Golden(count=4, seed=0, tolerance=1e-3),
    ...     files={},
    ... )
    >>> spec.dimension, spec.numeric, spec.batch_size
    (128, False, 1024)
    """

    kind: str
    input: Input
    latent: Latent | None
    functions: tuple[str, ...]
    golden: Golden
    files: Mapping[str, FileEntry]
    variance: str | None = None
    further: tuple[Latent, ...] = ()
    own_output_range: tuple[float, float] | None = None
    quantization: Quantization | None = None
    code: OwnCode | None = None
    training: Mapping[str, Json] = field(default_factory=dict)

    @property
    def dimension(self) -> int:
        """Length D of a latent vector; 0 for a model without a latent."""
        return self.latent.dimension if self.latent else 0

    @property
    def latents(self) -> Mapping[str, Latent]:
        """All latents by name, the model's own first."""
        return {one.name: one for one in (self.latent, *self.further) if one is not None}

    @property
    def stride(self) -> int:
        """Pixels along a side for each position of the latent; of a model of any size with a latent."""
        return self.input.shape[0] // self.latent.shape[0] if self.latent else 1

    @property
    def local(self) -> bool:
        """Whether a part of an image, with ``reach`` around it, gives what it gives in the whole image."""
        return self.input.reach < (MAX_LATENT_REACH if self.latent else MAX_REACH)

    @property
    def output_range(self) -> tuple[float, float]:
        """The values of black and white that the model puts out; for vectors as of the input."""
        return self.own_output_range or self.input.value_range

    @property
    def noise_range(self) -> NoiseRange | None:
        """The least and the greatest noise level that the model learned, where white is 255; None if it is not known.

        Bundles of earlier versions say it only among the facts of their training.
        """
        if (noise := self.input.noise) is None or noise.range is not None:
            return None if noise is None else noise.range
        levels = self.training.get("noise_levels")
        if not isinstance(levels, list) or not levels or not all(type(level) in (int, float) for level in levels):
            return None
        low, high = min(levels), max(levels)
        return (float(low), float(high)) if is_noise_range(low, high) else None

    @property
    def numeric(self) -> bool:
        """Whether the model takes vectors."""
        return len(self.input.shape) == 1

    @property
    def has_keras_model(self) -> bool:
        """Whether the bundle has a Keras model; without one it was made of an ONNX file, and has graphs alone."""
        return "model.keras" in self.files

    @property
    def batch_size(self) -> int:
        """Number of records per call of the compiled functions, a power of two.

        It bounds the memory of activations: 256 MiB for a layer of 64 float32 channels at the resolution of the input.
        """
        sites = prod(self.input.shape[:2])
        fitting = (1 << 28) // (sites * 64 * 4)
        return min(4096 if self.numeric else 1024, 1 << max(0, fitting.bit_length() - 1))

    def check_dtype(self, function: str, dtype: str) -> None:
        """Check that a compiled function takes an array of this dtype.

        Args:
          function: as in ``model.runtime.executor.Executor.compile``.
          dtype: of its first array.

        Raises:
          ValueError: it does not.
        """
        if dtype not in (("float32",) if self.numeric or function == "decode" else ("uint8", "uint16", "float32")):
            raise ValueError(f"{function} of dtype {dtype}; the model takes {self.input.dtype}")

    def require(self, function: str) -> None:
        """Check that the model offers a function.

        Args:
          function: one of ``FUNCTIONS``.

        Raises:
          BundleError: it does not; the text names the functions that it offers, and what to use instead.
        """
        if function not in self.functions:
            raise BundleError(
                f"the model cannot {function}: a bundle of kind {self.kind!r} offers {', '.join(self.functions)}; "
                f"{self._remedy(function)}"
            )

    def _remedy(self, function: str) -> str:
        if self.input.condition is not None and function == "denoise":
            return "it is told a condition; use 'reconstruct', whose images it makes, or another model"
        if self.quantization is not None and self.latent is not None:
            return "use its bundle in float32, since in int8 it only encodes"
        if self.kind != "decoder":
            return _REMEDIES[function]
        if function == "generate":
            return "export it with --normal-prior if its latents have a standard normal prior"
        return "use a bundle of the encoder too: latentlake export --encoder E.keras --decoder D.keras"


_REMEDIES = {
    "encode": "use a bundle that was exported with --latent",
    "reconstruct": "use a bundle of a whole autoencoder",
    "decode": "use one whose output depends on its latent alone, exported by this version",
    "denoise": "use one of images whose output has its input's shape, exported by this version",
    "generate": "use a bundle of kind 'vae'",
}


def default_functions(kind: str) -> tuple[str, ...]:
    """Return the functions of a kind of model whose ``model.json`` does not list any.

    >>> default_functions("encoder")
    ('encode',)
    """
    alone = {"encoder": ("encode",), "denoiser": ("denoise",), "decoder": ("decode",)}
    return alone.get(kind, ("encode", "reconstruct"))
