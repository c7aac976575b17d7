"""The description of a model: the content of a bundle's ``model.json``, as dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeAlias

from lake.core.errors import BundleError, UsageError
from lake.core.printable import printable
from lake.images.center_crop import CenterCrop
from lake.images.types import Resize
from model.normalization import Normalization, check_normalization, normalization, preset_fields

Json: TypeAlias = Any
Shape: TypeAlias = tuple[int, ...]

CHANNELS = {"gray": 1, "rgb": 3, "rgba": 4}  # color -> number of channels
FUNCTIONS = ("encode", "reconstruct", "decode", "denoise", "generate")
KINDS = ("autoencoder", "dense", "encoder", "vae", "denoiser", "decoder")
MAX_MULTIPLE = 64  # pixels
MAX_REACH = 128  # pixels
MAX_LATENT_REACH = 256  # pixels, of a model with a latent, which sees further because it goes down and up again
PIXEL_RANGE = (0.0, 1.0)  # values of black and white where nothing else is stated
LARGEST = 1e38  # of the values of black and white: their distance must be a float32, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How a model is told the standard deviation of an image's noise.

    Attributes:
      form: 'map' for a second input of shape [H, W, 1] (as in FFDNet, Zhang et al. 2018), 'scalar' for a second input
        of one number, 'channel' for the last channel of the only input.
      input: Keras name of the second input; None for a channel.
      scale: number that stands for a standard deviation of all of white: 1 if levels are fractions of white, 255 if
        they count 8-bit steps.
    """

    form: str
    input: str | None
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What a model takes; of a decoder alone, the images that it gives.

    Attributes:
      shape: (H, W, C), or (d,) for vectors. A noise level that is a channel is not counted.
      dtype: 'uint8' for images (the runtime also takes uint16, and float32 in 0..1), 'float32' for vectors.
      value_range: the values of black and white that the network was trained with. For vectors, the range of the
        training data, to which errors are relative.
      color: 'gray', 'rgb' or 'rgba'; None for vectors, and for channels that are not colors.
      noise: how the model is told the noise level; None if it is not told.
      any_size: whether images of any H and W are taken. ``shape`` is then that of the golden inputs, and the next two
        fields apply.
      multiple: sides are padded to multiples of this number of pixels, a power of two.
      reach: radius in pixels of the area that an output pixel depends on, as far as it matters: a crop with this margin
        gives what the whole image gives, within a quarter of an 8-bit step, and latents within a thousandth of the
        largest.
      normalization: what the bundle's model itself does to images first, for people; None where it does nothing.
      resize: how a job brings images of other sizes to the model's, unless it is told otherwise; None to reject them.
    """

    shape: Shape
    dtype: str
    value_range: tuple[float, float]
    color: str | None
    noise: Noise | None = None
    any_size: bool = False
    multiple: int = 1
    reach: int = 0
    normalization: Normalization | None = None
    resize: Resize | CenterCrop | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """Where a model's latent comes from.

    Attributes:
      layer: path of the layer, such as ``encoder/bottleneck``; of a decoder alone, its input.
      shape: shape of its output for one record; it is flattened to a vector. For a model of any size, (h, w, c) for an
        image of ``Input.shape``, and latents keep their shape.

    >>> Latent(layer="encoded", shape=(4, 4, 8)).dimension
    128
    """

    layer: str
    shape: Shape

    @property
    def dimension(self) -> int:
        """Length D of a latent vector."""
        return prod(self.shape)


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
    own_output_range: tuple[float, float] | None = None
    quantization: Quantization | None = None
    code: OwnCode | None = None
    training: Mapping[str, Json] = field(default_factory=dict)

    @property
    def dimension(self) -> int:
        """Length D of a latent vector; 0 for a model without a latent."""
        return self.latent.dimension if self.latent else 0

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


def is_range(low: float, high: float) -> bool:
    """Whether two numbers can be the values of black and white: in this order, and so that float32 can hold both.

    >>> is_range(0, 255), is_range(1, 0), is_range(0, 10**400)
    (True, False, False)
    """
    return -LARGEST < low < high < LARGEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How the training data was preprocessed, as far as the model's file does not say.

    Attributes:
      value_range: the values of black and white; for vectors the range of the data. None for 0 and 1.
      output_range: the same of what the model puts out; None where it is as of the input, normalised if that is.
      mean: what was subtracted from each channel, red first, or one number for all, in values of ``value_range``.
      std: what each channel was divided by after that, likewise.
      bgr: whether the model takes, and puts out, images with blue first.
      preset: a key of ``model.normalization.PRESETS``, in place of ``value_range``, ``mean``, ``std`` and ``bgr``. It
        sets these, and is None afterwards.
      resize: how a job brings images of other sizes to the model's: a policy; or the pixels that their shorter side is
        scaled to, before the centre is cut out. None to reject them.
      crop: the size of what is cut out: the model's, which it is compared with; None where nobody says it.
      interpolation: the filter of that: 'bilinear' or 'bicubic'; None for the former.
      color: 'gray', 'rgb' or 'rgba'; None to go by the number of channels.
      input_shape: (H, W, C) or (d,), to take one size where the model leaves sides open.
      noise_input: name of the second input, which takes the noise level; 'channel' if the last channel does.
      noise_scale: number that stood for a standard deviation of all of white: 1 for fractions, 255 for 8-bit steps.

    Raises:
      UsageError: a range is empty or not finite, the scale is not positive, or a mean or deviation does not fit.

    >>> Preprocessing(value_range=(-1.0, 1.0)).noise_scale
    1.0
    >>> Preprocessing(preset="tf") == Preprocessing(value_range=(-1.0, 1.0))
    True
    """

    value_range: tuple[float, float] | None = None
    output_range: tuple[float, float] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    bgr: bool = False
    preset: str | None = None
    resize: int | str | None = None
    crop: tuple[int, ...] | None = None
    interpolation: str | None = None
    color: str | None = None
    input_shape: Shape | None = None
    noise_input: str | None = None
    noise_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.preset is not None:
            fields = preset_fields(self.preset, {name: getattr(self, name) for name in self.__slots__})
            for name, value in {**fields, "preset": None}.items():
                object.__setattr__(self, name, value)
        for flag, limits in (("--value-range", self.value_range), ("--output-range", self.output_range)):
            if limits is not None and not is_range(*limits):
                shown = " ".join(printable(str(value), 40) for value in limits)
                raise UsageError(f"{flag} {shown}: the first must be below the second, and both finite")
        if not 0 < self.noise_scale < float("inf"):
            raise UsageError(f"--noise-scale {self.noise_scale:g}: must be above 0 and finite")
        check_normalization(self.mean, self.std, self.value_range or PIXEL_RANGE)

    def normalization(self, channels: int | None) -> Normalization | None:
        """What is done to images of a number of channels; None where nothing is, or ``channels`` for vectors.

        Raises:
          UsageError: mean, deviation or order do not fit this number of channels.
        """
        output = self.output_range is None
        return normalization(self.mean, self.std, bgr=self.bgr, channels=channels, output=output)
