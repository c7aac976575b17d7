"""Images that are kept as bare pixels, with their height, width and depth in other features.

TensorFlow's tutorials write ``image_raw`` so, by ``tobytes()``; others write a list of floats. Such records become
lossless image files, and are then treated like all others.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lake.core.records import Array, Fault, Reason, Stage
from lake.formats.common.pixels import channels_last, image_file
from lake.formats.tfrecord.ragged import BYTES, FLOAT, INT64, Ragged
from lake.images.header import read_header
from lake.images.types import ImageError, PixelLayout

# Names of height and width, and of the number of channels, which is 1 without one.
_SIDES = (("height", "width"), ("image/height", "image/width"), ("rows", "cols"), ("rows", "columns"))
_CHANNELS = ("depth", "channels", "image/channels", "image/depth", "image/num_channels")
_OF_BYTES = {1: "u1", 2: "<u2"}  # bytes of a number -> its type
_OF_LISTS = {FLOAT: "f4", INT64: "i8"}

Features = Mapping[str, tuple[str, Sequence[Any]]]  # kind and values of the features of one record


@dataclass(frozen=True, slots=True, kw_only=True)
class RawImages:
    """Where the pixels of a shard are.

    Attributes:
      image: name of the feature with the pixels, row by row.
      sides: names of the features with height and width, and with the number of channels if there is one.
      dtype: of a number; of bytes in the order of their file.
      layout: order of the sides.
      shape: height, width and channels, where no features say them.
    """

    image: str
    sides: tuple[str, ...]
    dtype: str
    layout: PixelLayout | None = None
    shape: tuple[int, ...] | None = None

    @property
    def kind(self) -> str:
        """Kind of the feature with the pixels."""
        return next((kind for kind, dtype in _OF_LISTS.items() if dtype == self.dtype), BYTES)

    def files(self, parsed: Mapping[str, Ragged]) -> Iterator[bytes | Fault | None]:
        """Each record's image as a file; its fault if its pixels are not as many as its sides say; None for none.

        Args:
          parsed: the features of a batch.
        """
        pixels = parsed[self.image]
        said = zip(*(_firsts(parsed[name]) for name in self.sides), strict=True)
        shapes = said if self.shape is None else [self.shape] * len(pixels.counts)
        for start, stop, shape in zip(pixels.splits[:-1], pixels.splits[1:], shapes, strict=True):
            yield self._file(pixels.values[start:stop], shape) if stop > start else None

    def _file(self, values: Array, shape: tuple[int, ...]) -> bytes | Fault:
        numbers = values
        if values.dtype == object:
            whole = len(values[0]) // np.dtype(self.dtype).itemsize * np.dtype(self.dtype).itemsize
            numbers = np.frombuffer(values[0][:whole], self.dtype)
        if min(shape) < 1 or len(numbers) != int(np.prod(shape, dtype=object)):
            by = ", ".join(self.sides) or "--image-shape"
            detail = f"{len(numbers)} numbers, and {' x '.join(map(str, shape))} by {by}"
            return Fault(stage=Stage.READ, reason=Reason.INVALID_RECORD, detail=detail)
        try:
            height, width, *channels = shape
            sides = (*channels, height, width) if self.layout == PixelLayout.CHW else shape
            return image_file(channels_last(numbers.reshape(sides), self.layout or PixelLayout.HWC))
        except ImageError as error:
            return error.fault()


def raw_images(
    image: str, records: Sequence[Features], shape: tuple[int, ...] | None = None, dtype: str | None = None
) -> RawImages | None:
    """How a shard keeps its pixels, by its first records; None if it keeps image files, or sides do not tell.

    Args:
      image: name of the feature with the image.
      records: the first records that have it.
      shape: height, width and channels, if the user says them.
      dtype: of a number in bytes, if the user says it.
    """
    sides = () if shape else _sides(records)
    if not records or not (sides or shape) or all(map(is_file, (record[image] for record in records))):
        return None
    kinds = {record[image][0] for record in records}
    widths = {_width(record[image], shape or [int(record[name][1][0]) for name in sides]) for record in records}
    if shape:  # of which the user is sure, so that a record of another length is a bad one
        widths = {min(widths - {0}, default=0)}
    if len(kinds) > 1 or len(widths) > 1:
        return None
    (kind,), (width,) = kinds, widths
    if kind == BYTES:
        found = np.dtype(dtype).newbyteorder("<").str if dtype else _OF_BYTES.get(width)
    else:
        found = _OF_LISTS[kind] if width == 1 else None
    return None if found is None else RawImages(image=image, sides=sides, dtype=found, shape=shape)


def is_file(feature: tuple[str, Sequence[Any]]) -> bool:
    """Whether a feature holds an image file, by its header."""
    kind, values = feature
    if kind != BYTES:
        return False
    try:
        read_header(values[0])
    except ImageError:
        return False
    return True


def _sides(records: Sequence[Features]) -> tuple[str, ...]:
    def has(name: str) -> bool:
        return bool(records) and all(name in r and r[name][0] == INT64 and len(r[name][1]) == 1 for r in records)

    sides = next((pair for pair in _SIDES if all(map(has, pair))), ())
    return (*sides, *[name for name in _CHANNELS if has(name)][:1]) if sides else ()


def _width(feature: tuple[str, Sequence[Any]], shape: Sequence[int]) -> int:
    """Bytes, or values, that there are of each number; 0 if the shape does not divide them."""
    kind, values = feature
    size, count = len(values[0]) if kind == BYTES else len(values), int(np.prod(shape, dtype=object))
    return size // count if count > 0 and size % count == 0 and (kind != BYTES or len(values) == 1) else 0


def _firsts(feature: Ragged) -> list[int]:
    """The first value of each record; 0 if there is none."""
    padded = np.append(feature.values, 0)
    return [int(padded[at]) if count else 0 for at, count in zip(feature.splits[:-1], feature.counts, strict=True)]
