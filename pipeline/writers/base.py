"""What every writer of image datasets offers, and what it is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from pipeline.receipts import Output
from pipeline.records import Array, Records, Unit
from pipeline.storage import Sink


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """One encoded image. ``suffix`` is its format's usual extension, without a dot: png, jpg, webp, tif."""

    data: bytes
    suffix: str


Image: TypeAlias = ImageFile | Array  # pixels [H, W, K] of uint8, uint16 or float32, for a format that keeps numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The images that were made of some records of one batch.

    records: the batch that was read. Its ``source`` is filled where shards are written again in their own format.
    positions: which of its records have an image, int64 ``[m]``, ascending.
    images: ``[m]``, all files or all pixels as ``DatasetFormat.pixels`` asks.
    """

    records: Records
    positions: Array
    images: Sequence[Image]


Create: TypeAlias = Callable[[str], Sink]  # a sink for a name below the dataset's own directory


class DatasetFormat(Protocol):
    """One format of image datasets, and how records become part of it. Any number of threads may use one.

    There are two ways. A shard is *written again* where the output has the input's format: each record is what it was
    (``Records.source``), in its order and under its key, with another image; the dataset's files are called as the
    shards are. Otherwise records are *written anew*, of their image, key and carried columns; files are called after
    the unit (and, where every image is a file, after the record's number), never after a key.
    """

    pixels: bool  # takes pixels; else encoded files

    def render(self, results: Results) -> Any:
        """Turn results into what ``DatasetWriter.write`` appends; called on any thread, and the costly part."""
        ...

    def begin(self, unit: Unit, create: Create) -> "DatasetWriter":
        """Begin the files of one unit; ``create`` gives the sink of a file's name, and may be called later too."""
        ...


class DatasetWriter(Protocol):
    """The files of one unit's images. Used by one thread at a time, in the order of the records."""

    def write(self, rendered: Any) -> None:
        """Append what ``render`` made."""
        ...

    def publish(self) -> tuple[Output, ...]:
        """Make every file visible. ``Output.rows`` are the images in each; they add up to all that were written."""
        ...

    def abort(self) -> None:
        """Drop every file that is not published."""
        ...
