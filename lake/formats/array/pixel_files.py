"""The images of one unit on disk, until their number is known and they become files."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import pyarrow as pa

from lake.core.errors import ShardError
from lake.core.records import Array, OutputFile, Unit
from lake.formats.array.spool import RowSpool
from lake.formats.common.gzip_sink import GzipSink
from lake.formats.writer import Create, UnitWriter
from lake.storage import Sink

LEVEL = 1  # deflate level: arrays are large, and a higher level would make the unit's thread the bottleneck
REMEDY = "choose another --output-format"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The images of some records, m > 0, and what is written beside them.

    Attributes:
      images: ``[m, H, W, K]``, or ``[m, K, H, W]`` as the input, little-endian.
      key: of the first record, for errors.
      rows: rows of the other arrays by name, if shards are rewritten.
      table: keys and carried columns, if they are not.
    """

    images: Array
    key: str
    rows: Mapping[str, Array]
    table: pa.RecordBatch | None


class PixelFiles(UnitWriter):
    """The images of one unit on disk, and the files that they become."""

    def __init__(self, unit: Unit, create: Create) -> None:
        self._unit, self._create = unit, create
        self._where = unit.shards[0].path if unit.shards else unit.id
        self._images: RowSpool | None = None
        self._sinks: dict[str, Sink] = {}
        self._spools = ExitStack()

    def _add(self, rendered: Rendered) -> None:
        images = rendered.images
        if self._images is None:
            self._images = self._spool(images)
        if (self._images.shape, self._images.dtype) != (images.shape[1:], images.dtype):
            raise differs(self._where, rendered.key, images[0], self._images)
        self._images.append(images)

    def _spool(self, rows: Array) -> RowSpool:
        spool = RowSpool(rows.dtype, rows.shape[1:])
        self._spools.callback(spool.close)
        return spool

    def _open(self, name: str, packed: bool = False) -> Sink:
        sink = self._create(name)
        self._sinks[name] = GzipSink(sink) if packed else sink
        return self._sinks[name]

    def _publish(self, counted: str) -> tuple[OutputFile, ...]:
        """Publish the files; ``counted`` names the one that holds the images, whose rows count."""
        rows = self._images.rows if self._images else 0
        for sink in self._sinks.values():
            sink.finish()
        self._spools.close()
        return tuple(
            OutputFile(name=name, size=sink.size, rows=rows if name == counted else 0, crc32c=sink.crc32c)
            for name, sink in self._sinks.items()
        )

    def abort(self) -> None:
        self._spools.close()
        for sink in self._sinks.values():
            sink.abort()


def differs(shard: str, key: str, image: Array, first: Array | RowSpool) -> ShardError:
    """The error of an image of another shape or type than the first one of its array."""
    problem = f"image {key!r} is {image.shape} of {image.dtype}, and an earlier one is {first.shape} of {first.dtype}"
    return ShardError(shard, f"{problem}; an array holds images of one shape and type: {REMEDY}")
