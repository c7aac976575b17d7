"""Which kinds of samples a TIFF may have, and what they mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lake.images.codecs.tiff_directory import Directory, corrupt, unsupported
from lake.images.codecs.tiff_tags import (
    ALPHA,
    BITS,
    BLACK_IS_ZERO,
    CMYK,
    COMPRESSION,
    COMPRESSIONS,
    EXTRA,
    FLOAT,
    FLOATING,
    HORIZONTAL,
    JPEG,
    KIND,
    NO_PREDICTOR,
    PALETTE,
    PHOTOMETRIC,
    PLANES,
    PREDICTED,
    PREDICTOR,
    PREMULTIPLIED,
    RGB,
    SAMPLES,
    SIGNED,
    UNDEFINED,
    UNSIGNED,
    UNSPECIFIED,
    WHITE_IS_ZERO,
    YCBCR,
)

_COLORS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 3, CMYK: 4, YCBCR: 3}
_DEPTHS = {  # bits by sample format
    UNSIGNED: (1, 2, 4, 8, 16, 32, 64),
    UNDEFINED: (1, 2, 4, 8, 16),
    SIGNED: (8, 16, 32, 64),
    FLOAT: (16, 32, 64),
}
_LETTERS = {UNSIGNED: "u", UNDEFINED: "u", SIGNED: "i", FLOAT: "f"}
_MOST_COLORS = 4  # samples of RGB with alpha: more are bands


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """The samples of an image.

    Attributes:
      dtype: of a sample; of fewer than 8 bits uint8.
      bits: of a sample.
      samples: of a pixel.
      channels: as of ``Header``.
      alpha: it has alpha, or a band in its place.
      band: it is a band: the last sample is data, by its own word.
      grey: its samples are grey and others beside it, not colours.
      palette: its samples are indices.
      inverted: white is zero.
      raw: Pillow would lose some of it, so tifffile reads it.
    """

    dtype: np.dtype[Any]
    bits: int
    samples: int
    channels: int
    alpha: bool = False
    band: bool = False
    grey: bool = False
    palette: bool = False
    inverted: bool = False
    raw: bool = False

    @property
    def white(self) -> float:
        """As of ``Header``: the largest number of integers that become floating pixels, 1 for all others."""
        wide = self.dtype.kind in "ui" and self.dtype not in (np.uint8, np.uint16)
        return float(np.iinfo(self.dtype).max) if wide else 1.0


def kind_of(tags: Directory) -> Kind:
    """The samples that a directory declares.

    Raises:
      ImageError: CORRUPT_IMAGE. UNSUPPORTED_IMAGE for other compressions, photometric interpretations and depths; for
        alpha and bands beside a palette, CMYK or YCbCr. Of samples that are not 8 bits in the usual channels also for
        JPEG, premultiplied alpha, and predictors that do not belong to the type.
    """
    samples, bits = tags.value(SAMPLES, 1), tags.values(BITS, (1,))
    photometric, format = tags.value(PHOTOMETRIC, BLACK_IS_ZERO), tags.value(KIND, UNSIGNED)
    if photometric not in _COLORS:
        raise unsupported(f"photometric interpretation {photometric}")
    if len(set(bits)) != 1 or len(bits) not in (1, samples):
        raise unsupported(f"samples of {bits[:8]} bits")
    if bits[0] not in _DEPTHS.get(format, ()):
        raise unsupported(f"{samples} samples of {bits[0]} bits, sample format {format}, photometric {photometric}")
    compression = tags.value(COMPRESSION, 1)
    if compression not in COMPRESSIONS or (photometric == YCBCR and compression != JPEG):
        raise unsupported(f"compression {compression} of photometric interpretation {photometric}")
    dtype = np.dtype(f"{_LETTERS[format]}{max(bits[0] // 8, 1)}")
    if dtype != np.uint8 or _has_bands(tags, samples, photometric):
        return _raw(tags, dtype, bits[0], samples, photometric)
    return _usual(tags, bits[0], samples, photometric)


def _has_bands(tags: Directory, samples: int, photometric: int) -> bool:
    """Whether an image of 8 bits has further samples that are no alpha, or colours as grey, which Pillow leaves out."""
    one_more = samples == 1 + _COLORS[photometric] and _extra(tags, photometric)[0] == UNSPECIFIED
    more = one_more or samples > 1 + _COLORS[photometric]
    return tags.value(BITS, 1) == 8 and photometric in (BLACK_IS_ZERO, RGB) and more


def _usual(tags: Directory, bits: int, samples: int, photometric: int) -> Kind:
    """The kind of an image of at most 8 bits; check that no sample beside the colours is lost."""
    colors = 1 if photometric == PALETTE else _COLORS[photometric]
    if samples > colors:
        alpha = samples == 1 + colors and photometric in (BLACK_IS_ZERO, RGB, PALETTE)
        if not alpha or (photometric == PALETTE and tags.value(EXTRA, ALPHA) == UNSPECIFIED):
            raise unsupported(f"{samples} samples of {bits} bits, {_layout(tags)}")
    return Kind(
        dtype=np.dtype(np.uint8),
        bits=bits,
        samples=samples,
        channels=_COLORS[photometric],
        alpha=samples > colors,
        palette=photometric == PALETTE,
    )


def _raw(tags: Directory, dtype: np.dtype[Any], bits: int, samples: int, photometric: int) -> Kind:
    """The kind of an image that tifffile reads; check that it reads it correctly."""
    grey, inverted = photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO), photometric == WHITE_IS_ZERO
    if not (grey or photometric == RGB) or (inverted and (dtype.kind != "u" or samples > 1)):
        raise unsupported(f"{samples} samples of {bits} bits, {_layout(tags)}")
    if photometric == RGB and samples < _COLORS[RGB]:
        raise corrupt(f"RGB of {samples} samples")
    predictor, compression = tags.value(PREDICTOR, NO_PREDICTOR), tags.value(COMPRESSION, 1)
    known = predictor in (NO_PREDICTOR, HORIZONTAL) or (predictor == FLOATING and dtype.kind == "f")
    if compression == JPEG or (compression in PREDICTED and not known):
        raise unsupported(f"{samples} samples of {bits} bits with predictor {predictor}, {_layout(tags)}")
    alpha = samples in (2, _MOST_COLORS)
    if alpha and tags.value(EXTRA, UNSPECIFIED) == PREMULTIPLIED:
        raise unsupported(f"{samples} samples of which the last is premultiplied alpha")
    channels = samples if samples > _MOST_COLORS else 3 if samples > 2 else 1
    return Kind(
        dtype=dtype,
        bits=bits,
        samples=samples,
        channels=channels,
        alpha=alpha,
        band=alpha and _extra(tags, photometric)[-1] == UNSPECIFIED,
        grey=grey,
        inverted=inverted,
        raw=True,
    )


def _extra(tags: Directory, photometric: int) -> Sequence[int]:
    """What the samples beside the colours are; where the file does not say it, alpha beside RGB, as in Pillow."""
    return tags.values(EXTRA, (UNSPECIFIED if photometric == BLACK_IS_ZERO else ALPHA,))


def _layout(tags: Directory) -> str:
    photometric, planes, compression = (tags.value(tag, 1) for tag in (PHOTOMETRIC, PLANES, COMPRESSION))
    extra = tags.values(EXTRA, ())[:8]
    return f"photometric {photometric}, extra samples {extra}, planes {planes}, compression {compression}"
