"""Image datasets as WebDataset tar archives: shards rewritten with other images, or new ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import cast

from lake.core.records import Array, OutputFile, Unit
from lake.formats.common.byte_stream import packing, window_of
from lake.formats.common.gzip_sink import GzipSink, PackedSink
from lake.formats.common.image_names import renamed
from lake.formats.common.packing import packer
from lake.formats.reader import RecordSchema
from lake.formats.webdataset.samples import WholeSample
from lake.formats.webdataset.sidecars import Sidecars
from lake.formats.webdataset.tar_write import END, member
from lake.formats.writer import Create, DatasetWriter, Results, UnitWriter
from lake.images.types import ImageFile
from lake.storage import Sink


class WebDatasetWriter(DatasetWriter):
    """Writes one tar archive per unit.

    A rewritten archive is ``<shard>``, compressed as it was. Every sample has its members in their order, under
    their names and with their bytes, except for the image. If the image's format changes, the last part of its
    extension does too (``0001.input.jpg`` becomes ``0001.input.png``), unless the sample already has a member with that
    extension.
    Members that belong to no sample are left out: directories, and names that start with a dot.

    A new archive is ``<unit>.tar``. The record's place in the unit, as eight digits, names its image, its ``.json``
    (key and carried columns) and, if it has a class, its ``.cls``; see ``Sidecars``.
    """

    def __init__(
        self, columns: RecordSchema, rewrite: bool, metadata: Callable[[Unit], Mapping[str, str]] = lambda _: {}
    ) -> None:
        super().__init__(columns, rewrite, metadata)
        self._sidecars = Sidecars(columns.carry)

    def render(self, results: Results) -> "RewrittenSamples | NewSamples":
        """The members of some samples."""
        return _rewritten(results) if self._rewrite else self._new_samples(results)

    def begin(self, unit: Unit, create: Create) -> "TarUnitWriter":
        """Start the archive of one unit.

        Raises:
          UnreadableError: the shard, whose first bytes tell whether it is gzip, cannot be read.
        """
        if not self._rewrite:
            name = f"{unit.id}.tar"
            return TarUnitWriter(name, create(name))
        (shard,) = unit.shards
        gzip, other = window_of(shard) is not None, packing(shard)  # may fail, so before anything is created
        sink = create(shard.path)
        packed = GzipSink(sink) if gzip else sink if other is None else PackedSink(sink, packer(other))
        return TarUnitWriter(shard.path, packed)

    def _new_samples(self, results: Results) -> "NewSamples":
        records, positions = results.records, results.positions
        return NewSamples(
            count=len(records),
            positions=positions,
            images=cast(Sequence[ImageFile], results.images),
            classes=self._sidecars.classes(records, positions),
            jsons=self._sidecars.json(records, positions),
        )


class TarUnitWriter(UnitWriter):
    """Writes one archive by batches. It becomes visible as a whole or never.

    Args:
      name: its path relative to the output.
      sink: receives its bytes.
    """

    def __init__(self, name: str, sink: Sink) -> None:
        self._name, self._sink = name, sink
        self._records = self._rows = 0

    def write(self, rendered: "RewrittenSamples | NewSamples") -> None:
        """Append the samples of the next batch."""
        self._sink.write(rendered.archive(self._records))
        self._records += rendered.count
        self._rows += rendered.rows

    def publish(self) -> tuple[OutputFile, ...]:
        """Write the end of the archive and make it visible."""
        self._sink.write(END)
        self._sink.finish()
        return (OutputFile(name=self._name, size=self._sink.size, rows=self._rows, crc32c=self._sink.crc32c),)

    def abort(self) -> None:
        """Discard the archive."""
        self._sink.abort()


@dataclass(frozen=True, slots=True, kw_only=True)
class RewrittenSamples:
    """Samples with other images, as members of an archive. Their bytes do not depend on their place in the archive.

    Attributes:
      count: number of records in the batch.
      rows: number of samples.
      data: the members.
    """

    count: int
    rows: int
    data: bytes

    def archive(self, start: int) -> bytes:  # noqa: ARG002
        """The members; ``start`` is not used."""
        return self.data


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSamples:
    """New samples. They are named after their place in the unit, which only the writer knows.

    Attributes:
      count: number of records in the batch.
      positions: positions of the records that have an image, int64 ``[m]``.
      images: their files.
      classes: their classes; None for a record without one.
      jsons: their JSON.
    """

    count: int
    positions: Array
    images: Sequence[ImageFile]
    classes: Sequence[bytes | None]
    jsons: Sequence[bytes]

    @property
    def rows(self) -> int:
        """Number of samples."""
        return len(self.images)

    def archive(self, start: int) -> bytes:
        """The members of an archive.

        Args:
          start: place of the batch's first record in the unit.
        """
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


def _rewritten(results: Results) -> RewrittenSamples:
    source = cast(Sequence[WholeSample], results.records.source)
    images = cast(Sequence[ImageFile], results.images)
    samples = zip(results.positions.tolist(), images, strict=True)
    parts = chain.from_iterable(_members(source[position], image) for position, image in samples)
    return RewrittenSamples(count=len(results.records), rows=len(images), data=b"".join(parts))


def _members(sample: WholeSample, image: ImageFile) -> list[bytes]:
    """The members of one sample with its new image."""
    parts: list[bytes] = []
    for name, extension, data in sample.members:
        if extension == sample.image:
            parts += member(_renamed(sample, name, image.suffix, data), image.data)
        else:
            parts += member(name, data)
    return parts


def _renamed(sample: WholeSample, name: bytes, suffix: str, original: bytes) -> bytes:
    """The new name of a sample's image; the old one if another member has the new extension."""
    # Names are arbitrary bytes; latin-1 maps each byte to a character and back.
    found = renamed(name.decode("latin-1"), suffix, original).encode("latin-1")
    extension = found.rpartition(b"/")[2].partition(b".")[2].lower()
    taken = any(other == extension for _, other, _ in sample.members if other != sample.image)
    return name if taken else found
