"""What a model takes: the field ``input`` of a bundle's ``model.json``, as dataclasses."""

from dataclasses import dataclass
from typing import TypeAlias

from lake.images.anscombe import PoissonGaussian
from lake.images.center_crop import CenterCrop
from lake.images.types import Resize
from model.condition import Condition
from model.normalization import Normalization

Shape: TypeAlias = tuple[int, ...]
NoiseRange: TypeAlias = tuple[float, float]  # where white is 255

CHANNELS = {"gray": 1, "rgb": 3, "rgba": 4}  # color -> number of channels
PIXEL_RANGE = (0.0, 1.0)  # values of black and white where nothing else is stated
NOISE_WHITE = 255.0  # what noise levels are stated against
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
      range: the least and the greatest noise level that the model learned, where white is 255 as in --noise-level,
        whatever the scale; None where nobody says it.
      camera: noise of photons, in the numbers of a pixel, that training made white before the model saw an image, as a
        job does again; None for a model that saw images as they are.
    """

    form: str
    input: str | None
    scale: float
    range: NoiseRange | None = None
    camera: PoissonGaussian | None = None


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
      condition: what the model is told of each record besides; None for a model that is told nothing.
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
    condition: Condition | None = None
    any_size: bool = False
    multiple: int = 1
    reach: int = 0
    normalization: Normalization | None = None
    resize: Resize | CenterCrop | None = None


def is_range(low: float, high: float) -> bool:
    """Whether two numbers can be the values of black and white: in this order, and so that float32 can hold both.

    >>> is_range(0, 255), is_range(1, 0), is_range(0, 10**400)
    (True, False, False)
    """
    return -LARGEST < low < high < LARGEST


def is_noise_range(low: float, high: float) -> bool:
    """Whether two numbers can be the least and the greatest noise level that a model learned, where white is 255.

    >>> is_noise_range(0, 75), is_noise_range(55, 5), is_noise_range(5, 5), is_noise_range(5, 256)
    (True, False, True, False)
    """
    return 0 <= low <= high <= NOISE_WHITE and high > 0
