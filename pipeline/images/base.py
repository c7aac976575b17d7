"""What decoding is asked for and what it gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.errors import LatentlakeError
from pipeline.records import Array, Fault, Reason, Stage


class Resize(StrEnum):
    """How an image of another size becomes the model's size; in every mode by Pillow's antialiased bicubic filter."""

    FIT = "fit"  # whole image inside, aspect kept, the rest filled with black
    CROP = "crop"  # whole target covered, aspect kept, the centre cut out
    PAD = "pad"  # not scaled: centred on black; an image larger than the target is a reject
    STRETCH = "stretch"  # both sides scaled to the target, aspect not kept


class Orientation(StrEnum):
    """What an EXIF orientation tag does."""

    APPLY = "apply"  # the image is turned upright first, as viewers show it
    IGNORE = "ignore"  # pixels as they are stored


class Color(StrEnum):
    """Which conversions to the model's channel count are made."""

    # Lossless ones (grey to RGB; a grey palette to grey; opaque alpha added for C = 4), CMYK to RGB, and dropping
    # alpha; others are rejects.
    STRICT = "strict"
    CONVERT = "convert"  # also RGB to grey by ITU-R 601-2 luma


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the model takes, and the policies that lead there. All of it changes output bytes.

    shape: (H, W, C) with C 1, 3 or 4, (None, None, C) for images of any size, or (d,) for numeric vectors.
    max_pixels: an image with more, by its header, is a reject before anything is allocated.
    """

    shape: tuple[int | None, ...]
    resize: Resize | None = None
    orientation: Orientation = Orientation.APPLY
    color: Color = Color.STRICT
    max_pixels: int = 1 << 27

    @property
    def any_size(self) -> bool:
        """Whether images of any size are taken."""
        return None in self.shape

    @property
    def fixed(self) -> tuple[int, ...]:
        """The shape of a target of one size.

        Raises:
          ValueError: images of any size are taken.
        """
        fixed = tuple(side for side in self.shape if side is not None)
        if len(fixed) < len(self.shape):
            raise ValueError(f"a target of shape {self.shape} takes images of any size, and has no size of its own")
        return fixed

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of an image target of one size."""
        return self.fixed[0], self.fixed[1]

    @property
    def channels(self) -> int:
        """C of an image target of one size."""
        return self.fixed[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Records of one batch whose pixels have one dtype.

    positions: their positions in the batch, ascending, int64 ``[m]``.
    pixels: ``[m, H, W, C]`` uint8 (0..255), uint16 (0..65535) or float32 (as it came); or ``[m, d]`` float32.
    """

    positions: Array
    pixels: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """Every position of a batch stands in exactly one group or in ``faults``."""

    groups: tuple[Group, ...]
    faults: Mapping[int, Fault] = field(default_factory=dict)


class Format(StrEnum):
    """The allow-list of encoded images."""

    PNG = "PNG"
    JPEG = "JPEG"
    WEBP = "WebP"
    TIFF = "TIFF"
    BMP = "BMP"
    GIF = "GIF"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What an image says of itself.

    width, height: as stored, before any orientation is applied.
    channels: colour channels without alpha: 1 grey, 3 colour, 4 CMYK; a palette counts as 3.
    depth: bits of one sample (of one palette index).
    orientation: EXIF orientation 1..8; 1 where there is none or it is out of range.
    canvas: pixels that decoding allocates where that is more than width x height (tiles, animation), else 0.
    plain: coded in the common way, so that every decoder gives the same pixels (see ``bulk``).
    extent: another file whose first ``extent`` bytes are the same has the same header; 0 where this is not known.
    """

    format: Format
    width: int
    height: int
    channels: int
    depth: int = 8
    alpha: bool = False
    palette: bool = False
    orientation: int = 1
    canvas: int = 0
    plain: bool = False
    extent: int = 0

    @property
    def cmyk(self) -> bool:
        """Whether the colours are cyan, magenta, yellow and black."""
        return self.channels == 4


class ImageError(LatentlakeError):
    """One image cannot be used; it becomes the fault of its record.

    Args:
      reason: from the closed list.
      detail: what is wrong with this image, in words.
      stage: where it was found.
    """

    def __init__(self, reason: Reason, detail: str, stage: Stage = Stage.DECODE) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.stage = reason, detail, stage

    def __reduce__(self) -> tuple[type["ImageError"], tuple[Reason, str, Stage]]:
        return type(self), (self.reason, self.detail, self.stage)

    def fault(self) -> Fault:
        """The same as a value."""
        return Fault(stage=self.stage, reason=self.reason, detail=self.detail)
