"""Image datasets as tar archives, as WebDataset reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import cast

from pipeline.readers.base import Columns
from pipeline.readers.samples import WholeSample
from pipeline.readers.stream import is_gzip
from pipeline.receipts import Output
from pipeline.records import Array, Unit
from pipeline.storage import Sink
from pipeline.writers.base import Create, ImageFile, Results
from pipeline.writers.gzip import GzipSink
from pipeline.writers.names import renamed
from pipeline.writers.sidecars import Sidecars
from pipeline.writers.ustar import END, member


class TarFormat:
    """One archive for every unit.

    Written again: ``<shard>``, plain or gzip as it was. Every sample has its members, in their order, under their names
    and with their bytes, but for the image. Where the image's format changed, the last part of its extension does
    (``0001.input.jpg`` becomes ``0001.input.png``), unless the sample has a member of that extension already. Members
    that belong to no sample are left out: directories, and names that begin with a dot.

    Written anew: ``<unit>.tar``. The record's place in the unit, as eight digits, names its image and ``.json`` (key
    and carried columns), and ``.cls`` where it has a class; see ``Sidecars``.
    """

    pixels = False

    def __init__(self, columns: Columns, again: bool) -> None:
        self._again = again
        self._sidecars = Sidecars(columns.carry)

    def render(self, results: Results) -> "Again | Anew":
        """The members of some samples."""
        return _again(results) if self._again else self._anew(results)

    def begin(self, unit: Unit, create: Create) -> "TarWriter":
        """Begin the archive of one unit.

        Raises:
          ShardError: the shard, whose first bytes say whether it is gzip, cannot be read.
        """
        if not self._again:
            name = f"{unit.id}.tar"
            return TarWriter(name, create(name))
        (shard,) = unit.shards
        packed = is_gzip(shard)
        sink = create(shard.path)
        return TarWriter(shard.path, GzipSink(sink) if packed else sink)

    def _anew(self, results: Results) -> "Anew":
        records, positions = results.records, results.positions
        return Anew(
            count=len(records),
            positions=positions,
            images=cast(Sequence[ImageFile], results.images),
            classes=self._sidecars.classes(records, positions),
            jsons=self._sidecars.json(records, positions),
        )


class TarWriter:
    """One archive that grows by batches, and becomes visible whole or never."""

    def __init__(self, name: str, sink: Sink) -> None:
        self._name, self._sink = name, sink
        self._records = self._rows = 0

    def write(self, rendered: "Again | Anew") -> None:
        """Append the samples of the next batch."""
        self._sink.write(rendered.archive(self._records))
        self._records += rendered.count
        self._rows += rendered.rows

    def publish(self) -> tuple[Output, ...]:
        """End the archive and make it visible."""
        self._sink.write(END)
        self._sink.finish()
        return (Output(name=self._name, size=self._sink.size, rows=self._rows, crc32c=self._sink.crc32c),)

    def abort(self) -> None:
        """Drop the archive."""
        self._sink.abort()


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Samples of ``count`` records as they were but for their images: the same members wherever they stand."""

    count: int
    rows: int
    data: bytes

    def archive(self, start: int) -> bytes:  # noqa: ARG002
        """As members of an archive."""
        return self.data


@dataclass(frozen=True, slots=True, kw_only=True)
class Anew:
    """Samples of ``count`` records, named after their place in the unit, which only the writer knows."""

    count: int
    positions: Array
    images: Sequence[ImageFile]
    classes: Sequence[bytes | None]
    jsons: Sequence[bytes]

    @property
    def rows(self) -> int:
        """How many samples there are."""
        return len(self.images)

    def archive(self, start: int) -> bytes:
        """As members of an archive; the batch's first record is the unit's record ``start``."""
        parts: list[bytes] = []
        for position, image, label, json in zip(
            self.positions.tolist(), self.images, self.classes, self.jsons, strict=True
        ):
            name = b"%08d" % (start + position)
            parts += member(b"%b.%b" % (name, image.suffix.encode()), image.data)
            if label is not None:
                parts += member(name + b".cls", label)
            parts += member(name + b".json", json)
        return b"".join(parts)


def _again(results: Results) -> Again:
    source = cast(Sequence[WholeSample], results.records.source)
    images = cast(Sequence[ImageFile], results.images)
    samples = zip(results.positions.tolist(), images, strict=True)
    parts = chain.from_iterable(_members(source[position], image) for position, image in samples)
    return Again(count=len(results.records), rows=len(images), data=b"".join(parts))


def _members(sample: WholeSample, image: ImageFile) -> list[bytes]:
    """The members of one sample, with another image."""
    parts: list[bytes] = []
    for name, extension, data in sample.members:
        if extension == sample.image:
            parts += member(_renamed(sample, name, image.suffix, data), image.data)
        else:
            parts += member(name, data)
    return parts


def _renamed(sample: WholeSample, name: bytes, suffix: str, original: bytes) -> bytes:
    """The name of a sample's image, which stays where another member has the new extension."""
    # Names are bytes of any kind; latin-1 has a character for each.
    found = renamed(name.decode("latin-1"), suffix, original).encode("latin-1")
    extension = found.rpartition(b"/")[2].partition(b".")[2].lower()
    taken = any(other == extension for _, other, _ in sample.members if other != sample.image)
    return name if taken else found
