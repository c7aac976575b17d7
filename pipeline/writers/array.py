"""Arrays of images: the shards again with other pixels, or ``.npz`` anew.

A shard that is written again is of the same kind: ``.npy``, ``.npz`` with all its members in their order, or IDX with
MNIST's labels beside it; packed as it was. Its images are uint8, uint16 or float32 (what was float64 or float16 is
float32) and row-major; images ``[n, H, W]`` stay without a channel axis; images of vectors have one. Every other array
with a row for each image is what it was, less the rows of rejects, and all else is copied.

An array written anew is ``<unit>.npz``: ``images`` ``[n, H, W, K]``, ``keys``, and the carried columns in the types
that ``TableSpool`` gives them. Either way one array holds images of one shape and type.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO, cast
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
import pyarrow as pa

from pipeline.errors import InputError, ShardError
from pipeline.readers import idx, npy
from pipeline.readers.base import Columns
from pipeline.readers.damage import damage
from pipeline.readers.layout import Layout
from pipeline.readers.members import Member, Members, has_rows, is_archive, members
from pipeline.receipts import Output
from pipeline.records import Array, Shard, Unit
from pipeline.storage import Sink, store_for
from pipeline.writers.base import Create, Results
from pipeline.writers.gzip import GzipSink
from pipeline.writers.latents import carried_fields
from pipeline.writers.spool import RowSpool, TableSpool, check_type

_CHUNK = 1 << 20
_LEVEL = 1  # of deflate: arrays are large, and more would keep the unit's thread busy
_REMEDY = "choose another --output-format"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rendered:
    """Images of some records: pixels ``[m, H, W, K]`` in the order of their bytes on the disk, m > 0."""

    images: Array
    key: str  # of the first
    rows: Mapping[str, Array]  # of the other arrays, by name, where shards are written again
    table: pa.RecordBatch | None  # keys and carried columns, where they are not


class ArrayFormat:
    """Images in arrays.

    Raises:
      InputError: a carried column cannot be an array.
    """

    pixels = True

    def __init__(self, columns: Columns, again: bool) -> None:
        self._columns, self._again = columns, again
        carried = () if again else carried_fields(columns.carry, ("images", "keys"))
        for field in carried:
            try:
                check_type(field.type)
            except ValueError as error:
                raise InputError(f"column {field.name!r} {error}; leave it from --carry, or {_REMEDY}") from error
        self._schema = pa.schema([pa.field("keys", pa.string()), *carried])

    def render(self, results: Results) -> _Rendered | None:
        """Pixels as one array, and what is beside them; None for no images."""
        if not len(results.positions):
            return None
        keys, positions = results.records.key, results.positions
        images = _stacked(results)
        source = cast(Mapping[str, Array], results.records.source or {})
        return _Rendered(
            images=images,
            key=str(keys[int(positions[0])]),
            rows={name: rows[positions] for name, rows in source.items()} if self._again else {},
            table=None if self._again else self._table(results),
        )

    def begin(self, unit: Unit, create: Create) -> "_Again | _Anew":
        """Nothing is created before the number of images is known."""
        return _Again(unit, create, self._columns.image) if self._again else _Anew(unit, create, self._schema)

    def _table(self, results: Results) -> pa.RecordBatch:
        records, take = results.records, pa.array(results.positions)
        columns = [column.take(take) for column in (records.key, *records.carried.values())]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)


def _stacked(results: Results) -> Array:
    first = cast(Array, results.images[0])
    for position, image in zip(results.positions.tolist(), cast("list[Array]", results.images), strict=True):
        if (image.shape, image.dtype) != (first.shape, first.dtype):
            shard, keys = results.records.shard, results.records.key
            raise _differs(shard if isinstance(shard, str) else shard[position], str(keys[position]), image, first)
    return np.ascontiguousarray(np.stack(cast("list[Array]", results.images)), first.dtype.newbyteorder("<"))


def _differs(shard: str, key: str, image: Array, first: Array | RowSpool) -> ShardError:
    problem = f"image {key!r} is {image.shape} of {image.dtype}, and an earlier one is {first.shape} of {first.dtype}"
    return ShardError(shard, f"{problem}; an array holds images of one shape and type: {_REMEDY}")


class _Pixels:
    """The images of one unit on the disk, and the files that they become."""

    def __init__(self, unit: Unit, create: Create) -> None:
        self._unit, self._create = unit, create
        self._where = unit.shards[0].path if unit.shards else unit.id
        self._images: RowSpool | None = None
        self._sinks: dict[str, Sink] = {}
        self._spools = ExitStack()

    def _add(self, rendered: _Rendered) -> None:
        images = rendered.images
        if self._images is None:
            self._images = self._spool(images)
        if (self._images.shape, self._images.dtype) != (images.shape[1:], images.dtype):
            raise _differs(self._where, rendered.key, images[0], self._images)
        self._images.append(images)

    def _spool(self, rows: Array) -> RowSpool:
        spool = RowSpool(rows.dtype, rows.shape[1:])
        self._spools.callback(spool.close)
        return spool

    def _open(self, name: str, packed: bool = False) -> Sink:
        sink = self._create(name)
        self._sinks[name] = GzipSink(sink) if packed else sink
        return self._sinks[name]

    def _publish(self, counted: str) -> tuple[Output, ...]:
        """Make the files visible; the rows of one are counted, since they are the images."""
        rows = self._images.rows if self._images else 0
        for sink in self._sinks.values():
            sink.finish()
        self._spools.close()
        return tuple(
            Output(name=name, size=sink.size, rows=rows if name == counted else 0, crc32c=sink.crc32c)
            for name, sink in self._sinks.items()
        )

    def abort(self) -> None:
        self._spools.close()
        for sink in self._sinks.values():
            sink.abort()


class _Again(_Pixels):
    """A shard with other images."""

    def __init__(self, unit: Unit, create: Create, image: str) -> None:
        super().__init__(unit, create)
        self._image = image
        self._beside: dict[str, RowSpool] = {}

    def write(self, rendered: _Rendered | None) -> None:
        if rendered is None:
            return
        self._add(rendered)
        for name, rows in rendered.rows.items():
            if name not in self._beside:
                self._beside[name] = self._spool(rows)
            self._beside[name].append(rows)

    def publish(self) -> tuple[Output, ...]:
        (shard,) = self._unit.shards
        with ExitStack() as stack:
            found = members(shard, stack)
            if is_archive(shard):
                self._archive(shard, found, stack)
            else:
                self._files(found)
        return self._publish(shard.path)

    def _files(self, found: Members) -> None:
        """The images' file, and MNIST's labels beside it."""
        for name, opened in found.items():
            member = opened()
            sink = self._open(member.shard.path, member.packed)
            for chunk in self._array(name, member, found):
                sink.write(chunk)

    def _archive(self, shard: Shard, found: Members, stack: ExitStack) -> None:
        with damage(shard):
            source = stack.enter_context(ZipFile(stack.enter_context(store_for(shard.uri).open(shard.uri))))
        with ZipFile(self._open(shard.path), "w", compresslevel=_LEVEL) as archive:
            for info in map(source.getinfo, dict.fromkeys(source.namelist())):
                archive.compression = info.compress_type
                with archive.open(info.filename, "w", force_zip64=True) as out:
                    for chunk in self._member(shard, source, info, found):
                        out.write(chunk)

    def _member(self, shard: Shard, source: ZipFile, info: ZipInfo, found: Members) -> Iterator[bytes]:
        name = info.filename.removesuffix(".npy")
        if info.filename.endswith(".npy"):
            return self._array(name, found[name](), found)
        return _copied(shard, cast(BinaryIO, source.open(info)))

    def _array(self, name: str, member: Member, found: Members) -> Iterator[bytes]:
        """One array of the shard as it is written."""
        images = found[self._image]().layout
        if name == self._image:
            yield from self._encoded(member, *_images_of(self._images, images), self._images)
        elif has_rows(member.layout, images):
            layout, spool = member.layout, self._beside.get(name)
            assert layout.dtype is not None
            yield from self._encoded(member, layout.dtype, (spool.rows if spool else 0, *layout.shape[1:]), spool)
        else:
            self._refuse_rows(name, member, images)
            yield from _copied(member.shard, member.stream)

    def _encoded(
        self, member: Member, dtype: np.dtype, shape: tuple[int, ...], spool: RowSpool | None
    ) -> Iterator[bytes]:
        chunks = spool.chunks() if spool else iter(())
        if npy.MAGIC.startswith(member.lead):
            yield npy.header(dtype, shape)
            yield from chunks
            return
        big = dtype.newbyteorder(">")
        try:
            yield idx.header(big, shape)
        except ValueError as error:
            raise ShardError(member.shard.path, f"{error}; {_REMEDY}") from error
        for chunk in chunks:
            yield np.frombuffer(chunk, dtype).astype(big).tobytes()

    def _refuse_rows(self, name: str, member: Member, images: Layout) -> None:
        """Rows that cannot be cut must not come to stand beside other images."""
        layout, written = member.layout, self._images.rows if self._images else 0
        if layout.shape and layout.rows == images.rows != written:
            rejected = f"and {images.rows - written} of its records are rejected"
            problem = f"array {name!r} holds {layout.descr}, whose rows cannot be told apart, {rejected}; {_REMEDY}"
            raise ShardError(member.shard.path, problem)


def _images_of(spool: RowSpool | None, source: Layout) -> tuple[np.dtype, tuple[int, ...]]:
    """Element type and shape of the images that are written for those of a source."""
    if spool is None:
        numbers = cast(np.dtype, source.dtype)
        vectors, floating = len(source.shape) == 2, numbers.kind == "f"
        dtype = np.dtype(np.uint8) if vectors else np.dtype("<f4") if floating else numbers.newbyteorder("<")
        return dtype, (0, 0, 0, 1) if vectors else (0, *source.shape[1:])
    grey = len(source.shape) == 3 and spool.shape[-1] == 1
    return spool.dtype, (spool.rows, *(spool.shape[:-1] if grey else spool.shape))


def _copied(shard: Shard, stream: BinaryIO) -> Iterator[bytes]:
    """All bytes of a stream."""
    with damage(shard):
        stream.seek(0)
        while chunk := stream.read(_CHUNK):
            yield chunk


class _Anew(_Pixels):
    """A unit's images as ``.npz``."""

    def __init__(self, unit: Unit, create: Create, schema: pa.Schema) -> None:
        super().__init__(unit, create)
        self._table = TableSpool(schema)
        self._spools.callback(self._table.close)

    def write(self, rendered: _Rendered | None) -> None:
        if rendered is not None:
            self._add(rendered)
            self._table.append(rendered.table)

    def publish(self) -> tuple[Output, ...]:
        name = f"{self._unit.id}.npz"
        with ZipFile(self._open(name), "w", compresslevel=_LEVEL) as archive:
            images = self._images or self._spool(np.empty((0, 0, 0, 1), np.uint8))
            _put(archive, "images", images.dtype, (images.rows, *images.shape), images.chunks())
            archive.compression = ZIP_DEFLATED  # text is padded
            for column in self._columns():
                _put(archive, *column)
        return self._publish(name)

    def _columns(self) -> Iterator[tuple[str, np.dtype, tuple[int, ...], Iterator[bytes]]]:
        try:
            yield from self._table.columns()
        except ValueError as error:
            raise ShardError(self._where, f"{error}; leave it from --carry, or {_REMEDY}") from error


def _put(archive: ZipFile, name: str, dtype: np.dtype, shape: tuple[int, ...], chunks: Iterator[bytes]) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as out:
        out.write(npy.header(dtype, shape))
        for chunk in chunks:
            out.write(chunk)
