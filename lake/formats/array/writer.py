"""Image datasets as arrays: shards rewritten with other pixels, or new ``.npz`` files.

A rewritten shard is of the same kind: ``.npy``, ``.npz`` with all its members in their order, or IDX with MNIST's
labels beside it; compressed as it was. Its images are row-major and uint8, uint16 or float32 (float64 and float16
become float32). Images ``[n, H, W]`` stay without a channel axis; images made of vectors have one. Channels come first
where they do in the input. Every other array
that has one row for each image loses the rows of rejects, and everything else is copied.

A new file is ``<unit>.npz`` with ``images`` ``[n, H, W, K]``, ``keys``, and the carried columns in the types that
``TableSpool`` gives them. In both cases one array holds images of one shape and type.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO, cast
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
import pyarrow as pa

from lake.core.errors import InputError, ShardError
from lake.core.records import Array, OutputFile, Shard, Unit
from lake.formats.array import idx
from lake.formats.array.members import ArrayMember, Members, has_rows, is_archive, members
from lake.formats.array.spool import RowSpool, TableSpool, check_type
from lake.formats.common import npy
from lake.formats.common.array_rows import RowLayout
from lake.formats.common.gzip_sink import GzipSink
from lake.formats.common.identity_columns import carried_fields
from lake.formats.common.shard_errors import damage
from lake.formats.reader import RecordSchema
from lake.formats.writer import Create, DatasetWriter, Results, UnitWriter
from lake.images.types import PixelLayout
from lake.storage import Sink, store_for

_CHUNK = 1 << 20
_LEVEL = 1  # deflate level: arrays are large, and a higher level would make the unit's thread the bottleneck
_REMEDY = "choose another --output-format"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rendered:
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


class ArrayDatasetWriter(DatasetWriter):
    """Writes image datasets as arrays.

    Raises:
      InputError: a carried column cannot become an array.
    """

    pixels = True

    def __init__(
        self, columns: RecordSchema, rewrite: bool, metadata: Callable[[Unit], Mapping[str, str]] = lambda _: {}
    ) -> None:
        super().__init__(columns, rewrite, metadata)
        carried = () if rewrite else carried_fields(columns.carry, ("images", "keys"))
        for field in carried:
            try:
                check_type(field.type)
            except ValueError as error:
                raise InputError(f"column {field.name!r} {error}; leave it from --carry, or {_REMEDY}") from error
        self._schema = pa.schema([pa.field("keys", pa.string()), *carried])
        self._first = rewrite and columns.layout == PixelLayout.CHW

    def render(self, results: Results) -> _Rendered | None:
        """Stack the pixels into one array, with what is written beside them; None if there are no images."""
        if not len(results.positions):
            return None
        keys, positions = results.records.key, results.positions
        images = _stacked(results)
        if self._first:
            images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        source = cast(Mapping[str, Array], results.records.source or {})
        return _Rendered(
            images=images,
            key=str(keys[int(positions[0])]),
            rows={name: rows[positions] for name, rows in source.items()} if self._rewrite else {},
            table=None if self._rewrite else self._table(results),
        )

    def begin(self, unit: Unit, create: Create) -> "_RewrittenFiles | _NewFile":
        """Start a unit's files. Nothing is created until the number of images is known."""
        return (
            _RewrittenFiles(unit, create, self._columns.image, channels_first=self._first)
            if self._rewrite
            else _NewFile(unit, create, self._schema)
        )

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


class _Pixels(UnitWriter):
    """The images of one unit on disk, and the files that they become."""

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


class _RewrittenFiles(_Pixels):
    """A shard rewritten with other images."""

    def __init__(self, unit: Unit, create: Create, image: str, *, channels_first: bool) -> None:
        super().__init__(unit, create)
        self._image, self._first = image, channels_first
        self._beside: dict[str, RowSpool] = {}

    def write(self, rendered: _Rendered | None) -> None:
        if rendered is None:
            return
        self._add(rendered)
        for name, rows in rendered.rows.items():
            if name not in self._beside:
                self._beside[name] = self._spool(rows)
            self._beside[name].append(rows)

    def publish(self) -> tuple[OutputFile, ...]:
        (shard,) = self._unit.shards
        with ExitStack() as stack:
            found = members(shard, stack)
            if is_archive(shard):
                self._archive(shard, found, stack)
            else:
                self._files(found)
        return self._publish(shard.path)

    def _files(self, found: Members) -> None:
        """Write the file of images, and MNIST's labels beside it."""
        for name, opened in found.items():
            member = opened()
            sink = self._open(member.shard.path, member.packed)
            for chunk in self._array(name, member, found):
                sink.write(chunk)

    def _archive(self, shard: Shard, found: Members, stack: ExitStack) -> None:
        with damage(shard):
            source = stack.enter_context(ZipFile(stack.enter_context(store_for(shard.uri).open(shard.uri))))
        with ZipFile(self._open(shard.path), "w", compresslevel=_LEVEL) as archive:
            # Of members with one name the last counts, as for readers.
            for info in map(source.getinfo, dict.fromkeys(source.namelist())):
                archive.compression = info.compress_type  # as in the input
                with archive.open(info.filename, "w", force_zip64=True) as out:
                    for chunk in self._member(shard, source, info, found):
                        out.write(chunk)

    def _member(self, shard: Shard, source: ZipFile, info: ZipInfo, found: Members) -> Iterator[bytes]:
        name = info.filename.removesuffix(".npy")
        if info.filename.endswith(".npy"):
            return self._array(name, found[name](), found)
        return _copied(shard, cast(BinaryIO, source.open(info)))

    def _array(self, name: str, member: ArrayMember, found: Members) -> Iterator[bytes]:
        """The bytes of one array of the rewritten shard."""
        images = found[self._image]().layout
        if name == self._image:
            yield from self._encoded(member, *_images_of(self._images, images, self._first), self._images)
        elif has_rows(member.layout, images):
            layout, spool = member.layout, self._beside.get(name)
            assert layout.dtype is not None
            yield from self._encoded(member, layout.dtype, (spool.rows if spool else 0, *layout.shape[1:]), spool)
        else:
            self._refuse_rows(name, member, images)
            yield from _copied(member.shard, member.stream)

    def _encoded(
        self, member: ArrayMember, dtype: np.dtype, shape: tuple[int, ...], spool: RowSpool | None
    ) -> Iterator[bytes]:
        chunks = spool.chunks() if spool else iter(())
        if npy.MAGIC.startswith(member.lead):
            yield npy.npy_header(dtype, shape)
            yield from chunks
            return
        big = dtype.newbyteorder(">")
        try:
            yield idx.idx_header(big, shape)
        except ValueError as error:
            raise ShardError(member.shard.path, f"{error}; {_REMEDY}") from error
        for chunk in chunks:
            yield np.frombuffer(chunk, dtype).astype(big).tobytes()

    def _refuse_rows(self, name: str, member: ArrayMember, images: RowLayout) -> None:
        """Refuse an array whose rows cannot be filtered with the rejects; they would end up beside other images."""
        layout, written = member.layout, self._images.rows if self._images else 0
        if layout.shape and layout.rows == images.rows != written:
            rejected = f"and {images.rows - written} of its records are rejected"
            problem = f"array {name!r} holds {layout.descr}, whose rows cannot be told apart, {rejected}; {_REMEDY}"
            raise ShardError(member.shard.path, problem)


def _images_of(spool: RowSpool | None, source: RowLayout, channels_first: bool) -> tuple[np.dtype, tuple[int, ...]]:
    """Element type and shape of the images that replace those of a source."""
    if spool is None:
        numbers = cast(np.dtype, source.dtype)
        vectors, floating = len(source.shape) == 2, numbers.kind == "f"
        dtype = np.dtype(np.uint8) if vectors else np.dtype("<f4") if floating else numbers.newbyteorder("<")
        return dtype, (0, 0, 0, 1) if vectors else (0, *source.shape[1:])
    channel = 0 if channels_first else len(spool.shape) - 1
    sides = [side for at, side in enumerate(spool.shape) if at != channel]
    grey = len(source.shape) == 3 and spool.shape[channel] == 1
    return spool.dtype, (spool.rows, *(sides if grey else spool.shape))


def _copied(shard: Shard, stream: BinaryIO) -> Iterator[bytes]:
    """All bytes of a stream, unchanged."""
    with damage(shard):
        stream.seek(0)
        while chunk := stream.read(_CHUNK):
            yield chunk


class _NewFile(_Pixels):
    """A unit's images as a new ``.npz`` file."""

    def __init__(self, unit: Unit, create: Create, schema: pa.Schema) -> None:
        super().__init__(unit, create)
        self._table = TableSpool(schema)
        self._spools.callback(self._table.close)

    def write(self, rendered: _Rendered | None) -> None:
        if rendered is not None:
            self._add(rendered)
            self._table.append(rendered.table)

    def publish(self) -> tuple[OutputFile, ...]:
        name = f"{self._unit.id}.npz"
        with ZipFile(self._open(name), "w", compresslevel=_LEVEL) as archive:
            images = self._images or self._spool(np.empty((0, 0, 0, 1), np.uint8))
            _put(archive, "images", images.dtype, (images.rows, *images.shape), images.chunks())
            archive.compression = ZIP_DEFLATED  # for the columns, whose text is padded; images stay stored
            for column in self._columns():
                _put(archive, *column)
        return self._publish(name)

    def _columns(self) -> Iterator[tuple[str, np.dtype, tuple[int, ...], Iterator[bytes]]]:
        try:
            yield from self._table.columns()
        except ValueError as error:
            raise ShardError(self._where, f"{error}; leave it from --carry, or {_REMEDY}") from error


def _put(archive: ZipFile, name: str, dtype: np.dtype, shape: tuple[int, ...], chunks: Iterator[bytes]) -> None:
    # ZIP64 must be chosen before the member's size is known.
    with archive.open(f"{name}.npy", "w", force_zip64=True) as out:
        out.write(npy.npy_header(dtype, shape))
        for chunk in chunks:
            out.write(chunk)
