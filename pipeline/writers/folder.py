"""Image datasets as folders of files."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

import pyarrow as pa

from pipeline.readers.base import Columns
from pipeline.receipts import Output
from pipeline.records import Unit
from pipeline.writers.base import Create, ImageFile, Results
from pipeline.writers.names import renamed

_THREADS = 16  # a disk makes many files safe in the time of one, and an object store takes many at once
_HEAD = 16  # bytes that tell an image's format


class FolderFormat:
    """One file for every image.

    Written again: ``<shard>``, whose extension changes where the image's format did; ``names.collision`` finds files
    that would get one name, before any is written. Written anew: ``<unit>/<place>.<suffix>``, the record's place in the
    unit as eight digits; keys and carried columns have no place in a folder.
    """

    pixels = False

    def __init__(self, columns: Columns, again: bool) -> None:  # noqa: ARG002
        self._again = again

    def render(self, results: Results) -> "Rendered":
        """The files of one batch."""
        return Rendered(
            count=len(results.records),
            positions=results.positions.tolist(),
            images=cast(Sequence[ImageFile], results.images),
            paths=_paths(results) if self._again else None,
        )

    def begin(self, unit: Unit, create: Create) -> "FolderWriter":
        """Begin the files of one unit."""
        return FolderWriter(unit, create)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The images of one batch of ``count`` records; ``paths`` of those that are written again."""

    count: int
    positions: Sequence[int]
    images: Sequence[ImageFile]
    paths: Sequence[str] | None

    def names(self, unit: str, start: int) -> Sequence[str]:
        """Names of the files; the batch's first record is the unit's record ``start``."""
        if self.paths is not None:
            return self.paths
        places = zip(self.positions, self.images, strict=True)
        return [f"{unit}/{start + position:08d}.{image.suffix}" for position, image in places]


class FolderWriter:
    """The files of one unit, each published by itself and whole, as they come and a few at a time.

    A unit that fails leaves those that it had published. When it is run again, they are replaced by the same bytes.
    Memory: the images of two batches.
    """

    def __init__(self, unit: Unit, create: Create) -> None:
        self._unit, self._create = unit, create
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="images")
        self._waiting: list[Future[Output]] = []
        self._done: list[Output] = []
        self._records = 0

    def write(self, rendered: Rendered) -> None:
        """Begin to write a batch's files, and wait for those of the batch before."""
        names = rendered.names(self._unit.id, self._records)
        self._records += rendered.count
        before = self._waiting
        self._waiting = [
            self._pool.submit(_put, self._create, name, image.data)
            for name, image in zip(names, rendered.images, strict=True)
        ]
        self._done += [file.result() for file in before]

    def publish(self) -> tuple[Output, ...]:
        """Wait for all files."""
        self._done += [file.result() for file in self._waiting]
        self._waiting = []
        self._pool.shutdown()
        return tuple(self._done)

    def abort(self) -> None:
        """Write no more files."""
        self._pool.shutdown(cancel_futures=True)


def _put(create: Create, name: str, data: bytes) -> Output:
    with create(name) as sink:
        sink.write(data)
    return Output(name=name, size=sink.size, rows=1, crc32c=sink.crc32c)


def _paths(results: Results) -> list[str]:
    """Where the records' own files are, with the extensions of their images."""
    records, images = results.records, cast(Sequence[ImageFile], results.images)
    payload = cast(pa.Array, records.payload)
    files = zip(results.positions.tolist(), images, strict=True)
    return [renamed(records.shard[p], image.suffix, payload[p].as_buffer()[:_HEAD].to_pybytes()) for p, image in files]
