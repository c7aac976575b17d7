"""Image datasets as folders of image files."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

import pyarrow as pa

from lake.core.errors import UnreadableError
from lake.core.ordered_map import start_task
from lake.core.records import OutputFile, Shard, Unit
from lake.formats.common import image_names
from lake.formats.common.image_names import renamed
from lake.formats.common.shard_errors import reading
from lake.formats.folder import metadata
from lake.formats.writer import Create, DatasetWriter, Results, UnitWriter
from lake.images.encoder import ImageFormat
from lake.images.types import ImageFile
from lake.storage import store_for

_THREADS = 16  # a disk syncs many files in the time of one, and an object store accepts many at once
_HEAD = 16  # bytes from which an image's format is recognised


class FolderDatasetWriter(DatasetWriter):
    """Writes one file for every image.

    A rewritten file is ``<shard>``; its extension changes if the image's format does. ``collision`` finds files that
    would get the same name before any is written. A new file is ``<unit>/<place>.<suffix>``, with the record's place in
    the unit as eight digits. Keys and carried columns are not written.
    """

    def render(self, results: Results) -> "RenderedFiles":
        """The files of one batch."""
        return RenderedFiles(
            count=len(results.records),
            positions=results.positions.tolist(),
            images=cast(Sequence[ImageFile], results.images),
            paths=_paths(results) if self._rewrite else None,
        )

    def begin(self, unit: Unit, create: Create) -> "FolderUnitWriter":
        return FolderUnitWriter(unit, create)

    @staticmethod
    def collision(paths: Iterable[str], image_format: ImageFormat) -> tuple[str, str] | None:
        return image_names.collision(paths, image_format)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedFiles:
    """The image files of one batch.

    Attributes:
      count: number of records in the batch.
      positions: positions of the records that have an image, ascending.
      images: their files.
      paths: their paths, if files are rewritten.
    """

    count: int
    positions: Sequence[int]
    images: Sequence[ImageFile]
    paths: Sequence[str] | None

    def names(self, unit: str, start: int) -> Sequence[str]:
        """Paths of the files.

        Args:
          unit: its id.
          start: place of the batch's first record in the unit.
        """
        if self.paths is not None:
            return self.paths
        places = zip(self.positions, self.images, strict=True)
        return [f"{unit}/{start + position:08d}.{image.suffix}" for position, image in places]


class FolderUnitWriter(UnitWriter):
    """Writes the files of one unit. Each is published by itself, and a few are written at the same time.

    A unit that fails leaves the files that it had published. When it is run again they are replaced by the same bytes.
    Memory is bounded by the images of two batches.

    Args:
      unit: what the files belong to.
      create: opens the sink of a file.
    """

    def __init__(self, unit: Unit, create: Create) -> None:
        self._unit, self._create = unit, create
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="images")
        self._waiting: list[Future[OutputFile]] = []
        self._done: list[OutputFile] = []
        self._records = 0

    def write(self, rendered: RenderedFiles) -> None:
        """Start to write a batch's files, and wait for those of the previous batch."""
        names = rendered.names(self._unit.id, self._records)
        self._records += rendered.count
        before = self._waiting
        self._waiting = [
            start_task(self._pool, _put, self._create, name, image.data)
            for name, image in zip(names, rendered.images, strict=True)
        ]
        self._done += [file.result() for file in before]

    def publish(self) -> tuple[OutputFile, ...]:
        """Wait for all files."""
        self._done += [file.result() for file in self._waiting]
        self._waiting = []
        sidecars = [self._pool.submit(_copy, self._create, one) for one in self._sidecars()]
        self._done += [file.result() for file in sidecars]
        self._pool.shutdown()
        return tuple(self._done)

    def _sidecars(self) -> list[Shard]:
        """The files beside the unit's images whose image was written."""
        written = {output.name.rpartition(".")[0] for output in self._done}
        found = (one for one in self._unit.companions if one.path.rpartition("/")[2] not in metadata.NAMES)
        return [one for one in found if one.path.rpartition(".")[0] in written]

    def abort(self) -> None:
        """Write no more files."""
        self._pool.shutdown(cancel_futures=True)


def _put(create: Create, name: str, data: bytes) -> OutputFile:
    with create(name) as sink:
        sink.write(data)
    return OutputFile(name=name, size=sink.size, rows=1, crc32c=sink.crc32c)


def _copy(create: Create, file: Shard) -> OutputFile:
    with reading(file), store_for(file.uri).open(file.uri) as source:
        data = source.read(file.size + 1)  # one byte more, to notice a file that grew
    if len(data) != file.size:
        raise UnreadableError(file.path, f"has no longer the {file.size} bytes it was listed with; run again")
    with create(file.path) as sink:
        sink.write(data)
    return OutputFile(name=file.path, size=sink.size, rows=0, crc32c=sink.crc32c)


def _paths(results: Results) -> list[str]:
    """The paths of the records' own files, with the extensions of their new images."""
    records, images = results.records, cast(Sequence[ImageFile], results.images)
    payload = cast(pa.Array, records.payload)
    files = zip(results.positions.tolist(), images, strict=True)
    return [renamed(records.shard[p], image.suffix, payload[p].as_buffer()[:_HEAD].to_pybytes()) for p, image in files]
