"""What a bundle says of its model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeAlias

from pipeline.errors import BundleError

Json: TypeAlias = Any
Shape: TypeAlias = tuple[int, ...]

CHANNELS = {"gray": 1, "rgb": 3, "rgba": 4}
FUNCTIONS = ("encode", "reconstruct", "decode", "denoise", "generate")
KINDS = ("autoencoder", "dense", "encoder", "vae", "denoiser")
MAX_MULTIPLE = 64
MAX_REACH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How the model is told the standard deviation of the noise in an image.

    Attributes:
      form: 'map', a second input of [H, W, 1]; 'scalar', a second input of one number; 'channel', the last channel of
        the only input.
      input: Keras name of the second input; None for a channel.
      scale: the number for a deviation of all of white: 1 where levels are fractions of it, 255 where they count steps.
    """

    form: str
    input: str | None
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What the model takes.

    Attributes:
      shape: (H, W, C), or (d,) for vectors. A noise level that is a channel is not counted.
      dtype: 'uint8' for images (the runtime takes uint16 and float32 in 0..1 too), 'float32' for vectors.
      value_range: what black and white are for the network; for vectors the range of the training data, which the
        errors are relative to.
      color: 'gray', 'rgb', 'rgba', or None for vectors and for channels that are no colours.
      noise: None where the model is not told how noisy its input is.
      any_size: images of any H and W are taken; ``shape`` is that of the golden inputs. The next two count only then.
      multiple: the model is given sides that are multiples of it (a power of two); others are padded before.
      reach: how far, in pixels, what an output pixel depends on extends as far as it matters: parts of an image with
        that much around them give what the whole image gives, within 1/4 of a step of 8 bits.
    """

    shape: Shape
    dtype: str
    value_range: tuple[float, float]
    color: str | None
    noise: Noise | None = None
    any_size: bool = False
    multiple: int = 1
    reach: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """Where the latent comes from: path of the layer, shape of its output, and length once flattened."""

    layer: str
    shape: Shape

    @property
    def dimension(self) -> int:
        """Length D of a latent vector."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Recorded outputs for seeded inputs; ``tolerance`` is relative to the largest magnitude of each output."""

    count: int
    seed: int
    tolerance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """Size in bytes and SHA-256 of a file of the bundle."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """The content of ``model.json``.

    Attributes:
      kind: 'encoder' gives latents only, 'denoiser' images only; every other kind gives latents and an output of the
        input's shape. The latents of a 'vae' have a standard normal prior.
      latent: None for a denoiser.
      functions: what can be done with the model, of ``FUNCTIONS``, in that order.
      files: ``model.keras`` and ``golden.npz``.
      variance: path of the layer that puts out the logarithm of each latent's variance; None but for a VAE.
      training: provenance, for people; any JSON.
    """

    kind: str
    input: Input
    latent: Latent | None
    functions: tuple[str, ...]
    golden: Golden
    files: Mapping[str, FileEntry]
    variance: str | None = None
    training: Mapping[str, Json] = field(default_factory=dict)

    @property
    def dimension(self) -> int:
        """Length D of a latent vector; 0 for a model without a latent."""
        return self.latent.dimension if self.latent else 0

    @property
    def numeric(self) -> bool:
        """Whether the model takes vectors."""
        return len(self.input.shape) == 1

    @property
    def batch_size(self) -> int:
        """Records per call of the compiled functions: a power of two that bounds the memory of activations.

        About 256 MiB where a layer keeps 64 channels at the input's resolution.
        """
        sites = prod(self.input.shape[:2])
        fitting = (1 << 28) // (sites * 64 * 4)
        return min(4096 if self.numeric else 1024, 1 << max(0, fitting.bit_length() - 1))

    def require(self, function: str) -> None:
        """Refuse a function that the model does not offer.

        Raises:
          BundleError: the kind of model has no such function.
        """
        if function not in self.functions:
            raise BundleError(
                f"the model cannot {function}: a bundle of kind {self.kind!r} offers {', '.join(self.functions)}; "
                f"{_REMEDIES[function]}"
            )


_REMEDIES = {
    "encode": "use a bundle that was exported with --latent",
    "reconstruct": "use a bundle of a whole autoencoder",
    "decode": "use one whose output depends on its latent alone, exported by this version",
    "denoise": "use one of images whose output has its input's shape, exported by this version",
    "generate": "use a bundle of kind 'vae'",
}


def usual_functions(kind: str) -> tuple[str, ...]:
    """What a bundle offers whose ``model.json`` does not say it."""
    return {"encoder": ("encode",), "denoiser": ("denoise",)}.get(kind, ("encode", "reconstruct"))
