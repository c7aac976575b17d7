"""Requests and results of decoding: policies, targets, groups of pixels, headers and the image error."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lake.core.choices import choose
from lake.core.errors import LatentlakeError
from lake.core.records import Array, Fault, Reason, Stage
from lake.images.buckets import Buckets
from lake.images.center_crop import CenterCrop


class Resize(StrEnum):
    """How an image of another size becomes the model's size, with Pillow's antialiased bicubic filter."""

    FIT = "fit"  # the whole image, scaled with its aspect ratio and centred on black
    CROP = "crop"  # the centre, scaled with its aspect ratio so that it covers the target
    PAD = "pad"  # not scaled, centred on black; an image larger than the target is a reject
    STRETCH = "stretch"  # both sides scaled to the target's; the aspect ratio changes


class DecodeMode(StrEnum):
    """How an image that is made smaller is decoded."""

    EXACT = "exact"  # in full
    FAST = "fast"  # a JPEG at a half, a quarter or an eighth of its sides, if they stay twice what is made of them


class Orientation(StrEnum):
    """What an EXIF orientation tag does."""

    APPLY = "apply"  # the image is turned upright, as viewers show it
    IGNORE = "ignore"  # pixels stay as they are stored


class Color(StrEnum):
    """Which conversions to the model's number of channels are allowed."""

    # Lossless conversions (grey to RGB, a grey palette to grey, opaque alpha added for C = 4), CMYK to RGB, and
    # dropping alpha. An image that needs another one is a reject.
    STRICT = "strict"
    CONVERT = "convert"  # also RGB to grey by ITU-R 601-2 luma


class Pages(StrEnum):
    """What a file of several images does: pages of a TIFF, frames of an animation, pictures of an MPO."""

    FIRST = "first"  # its first image is taken; of a TIFF the first page that is no smaller copy of another
    ALL = "all"  # every page of a TIFF is taken, of which one TIFF is written; others are rejects
    REJECT = "reject"  # it is a reject


class Alpha(StrEnum):
    """Whether the last of two or four channels is alpha, which a denoiser leaves as it is, or data as the others."""

    LAST = "last"  # it is alpha, whatever the image says
    AUTO = "auto"  # what the image file says; of arrays it is alpha in four channels of 8 bits alone
    NONE = "none"  # it is data, whatever the image says


class PixelLayout(StrEnum):
    """The order of the sides of an image that is an array or a list of numbers."""

    HWC = "hwc"  # height, width, channels
    CHW = "chw"  # channels, height, width
    AUTO = "auto"  # channels first where only that can be meant


_POLICIES: Mapping[str, type[StrEnum]] = {
    "resize": Resize,
    "decode": DecodeMode,
    "orientation": Orientation,
    "color": Color,
    "pages": Pages,
    "alpha": Alpha,
}
_OPTIONAL = ("resize", "pages")  # which may be None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the model takes, and the policies that lead there. All of it changes output bytes.

    Attributes:
      shape: (H, W, C) with C 1, 3 or 4; (None, None, C) for images of any size; or (d,) for vectors.
      resize: how images of another size are resized, or all images, by a ``CenterCrop``; None to reject them.
      decode: how images that are made smaller are decoded.
      orientation: whether images are turned upright.
      color: which conversions of channels are allowed.
      max_pixels: an image with more pixels, by its header, is a reject before anything is allocated.
      pages: what a file of several images does; None for the first one, unless a job says otherwise.
      white: value of white in floating pixels, and in integers that become such, which are divided by it; vectors and
        other integers are not.
      buckets: of images of any size, the sizes that they are resized and cropped to; None for their own.
      alpha: whether the last of two or four channels is alpha, for those who take images as they are stored.

    Raises:
      ValueError: a policy is text that names none.

    >>> Target(shape=(8, 8, 1), resize="crop").resize
    <Resize.CROP: 'crop'>
    """

    shape: tuple[int | None, ...]
    resize: Resize | CenterCrop | None = None
    decode: DecodeMode = DecodeMode.EXACT
    orientation: Orientation = Orientation.APPLY
    color: Color = Color.STRICT
    max_pixels: int = 1 << 27
    pages: Pages | None = None
    white: float = 1.0
    buckets: Buckets | None = None
    alpha: Alpha = Alpha.LAST

    def __post_init__(self) -> None:
        # Text would pass every comparison by identity as another policy.
        for name, kind in _POLICIES.items():
            value = getattr(self, name)
            if type(value) not in (kind, CenterCrop) and (value is not None or name not in _OPTIONAL):
                object.__setattr__(self, name, choose(value, kind))

    @property
    def any_size(self) -> bool:
        """Whether images of any size are accepted."""
        return None in self.shape

    @property
    def fixed(self) -> tuple[int, ...]:
        """The shape of a target of one size.

        Raises:
          ValueError: the target accepts images of any size.
        """
        fixed = tuple(side for side in self.shape if side is not None)
        if len(fixed) < len(self.shape):
            raise ValueError(f"a target of shape {self.shape} takes images of any size, and has no size of its own")
        return fixed

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of a target of one size."""
        return self.fixed[0], self.fixed[1]

    def takes_as_it_is(self, size: tuple[int, ...]) -> bool:
        """Whether an image of (height, width) keeps its size, in a target of one size."""
        return size == self.size and not isinstance(self.resize, CenterCrop)

    @property
    def channels(self) -> int:
        """C of a target of one size."""
        return self.fixed[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Records of one batch whose pixels have one dtype and shape.

    Attributes:
      positions: positions in the batch, ascending, int64 ``[m]``; of pages of one file equal ones.
      pixels: ``[m, H, W, C]`` of uint8 (0..255), uint16 (0..65535) or float32 (white at 1); or vectors ``[m, d]`` of
        float32.
      pages: images in the file of each record; more than 1 where the first of them was taken, or where these are some
        of them.
      page: which one of them the first of these is; 0 is the first one.
      original: (height, width) of each upright image before it was resized, int32 ``[m, 2]``; None where images keep
        their size, or all get one.
      bands: whether the last channel is data as the others, also of two or four channels, of which it is alpha
        otherwise.
    """

    positions: Array
    pixels: Array
    pages: int = 1
    page: int = 0
    original: Array | None = None
    bands: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """The result of decoding a batch. Every position is in exactly one group or in ``faults``.

    Attributes:
      groups: pixels of the good records.
      faults: what is wrong with the others, by position.
      several: positions in groups whose files have several images, of which the first was taken.
    """

    groups: tuple[Group, ...]
    faults: Mapping[int, Fault] = field(default_factory=dict)
    several: frozenset[int] = frozenset()


class ImageCodec(StrEnum):
    """The allow-list of image file formats."""

    PNG = "PNG"
    JPEG = "JPEG"
    WEBP = "WebP"
    TIFF = "TIFF"
    BMP = "BMP"
    GIF = "GIF"
    AVIF = "AVIF"
    JPEG2000 = "JPEG 2000"
    HEIC = "HEIC"
    JPEGXL = "JPEG XL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """One image file format: the object that everything asks.

    Attributes:
      name: as messages call it; of the formats that images are written in, a value of ``ImageCodec``.
      suffixes: of its files, lower case, with the dot.
      magic: first bytes of its files, any of them.
      profile: gives the ICC profile of a file; None where there is none, or ``icc`` has a way of its own.
      exif: gives the EXIF block of a file; None where there is none, or ``metadata`` has a way of its own.
      xmp: gives the XMP packet of a file, likewise.
      recognise: tells its files where first bytes do not.
      header: parses the header of a whole file, and allocates nothing by what it claims.
      kind: bytes 8 to 11 of its files, where the first ones are those of a container.
      plugin: module and class of Pillow's decoder; None where ``decode_one`` has a way of its own.
      strip_metadata: gives a file without what its decoder does not need.
    """

    name: str
    suffixes: tuple[str, ...]
    magic: tuple[bytes, ...]
    header: "Callable[[bytes], Header]"
    kind: bytes = b""
    plugin: tuple[str, str] | None = None
    strip_metadata: Callable[[bytes], bytes] = bytes
    profile: Callable[[bytes], bytes] | None = None
    exif: Callable[[bytes], bytes] | None = None
    xmp: Callable[[bytes], bytes] | None = None
    recognise: "Callable[[bytes], bool] | None" = None

    def recognises(self, data: bytes) -> bool:
        """Whether a file that begins with ``data`` is of this format."""
        if self.recognise is not None:
            return self.recognise(data)
        return data.startswith(self.magic) and (not self.kind or data[8:12] == self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What an image's header says.

    Attributes:
      format: of the file.
      width: pixels, as stored, before any orientation is applied.
      height: pixels, as stored.
      channels: colour channels without alpha: 1 grey, 3 colour, 4 CMYK. A palette counts as 3. More are bands that are
        no colours.
      depth: bits per sample (of a palette: per index).
      alpha: it has alpha or a transparent colour, or a band in its place.
      band: it is a band: the file says that its last sample is data.
      palette: its pixels are indices into a palette.
      orientation: EXIF orientation 1..8; 1 if there is none or it is out of range.
      canvas: pixels that decoding allocates if that is more than width x height (tiles, animation, wide samples), else
        0.
      pages: images in the file: pages, frames or pictures; of a GIF or a JPEG XL 2 stands for any larger number.
      raw: its samples are read without Pillow, which would lose some of a TIFF (``tiff_samples``) and of what has more
        than 8 bits, or knows no JPEG XL.
      white: largest number of its integers, if these become floating pixels; else 1.
      plain: coded in the common way, so that every decoder gives the same pixels (see ``decode_bulk``).
      extent: any other file that begins with the same ``extent`` bytes has the same header; 0 if unknown.
    """

    format: str
    width: int
    height: int
    channels: int
    depth: int = 8
    alpha: bool = False
    band: bool = False
    palette: bool = False
    orientation: int = 1
    canvas: int = 0
    pages: int = 1
    raw: bool = False
    white: float = 1.0
    plain: bool = False
    extent: int = 0

    @property
    def cmyk(self) -> bool:
        """Whether the colours are cyan, magenta, yellow and black."""
        return self.channels == 4


class ImageError(LatentlakeError):
    """One image cannot be used; its record gets a fault.

    Args:
      reason: from the closed list.
      detail: what is wrong with this image, in words.
      stage: where it was found.

    >>> ImageError(Reason.EMPTY_IMAGE, "no bytes").fault().reason
    <Reason.EMPTY_IMAGE: 'empty_image'>
    """

    def __init__(self, reason: Reason, detail: str, stage: Stage = Stage.DECODE) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.stage = reason, detail, stage

    # For pickling; by default the class would be called with the message alone.
    def __reduce__(self) -> tuple[type["ImageError"], tuple[Reason, str, Stage]]:
        return type(self), (self.reason, self.detail, self.stage)

    def fault(self) -> Fault:
        """The error as the fault of a record."""
        return Fault(stage=self.stage, reason=self.reason, detail=self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """One encoded image.

    Attributes:
      data: the whole file.
      suffix: the usual extension of its format, without a dot: png, jpg, webp or tif.
    """

    data: bytes
    suffix: str
