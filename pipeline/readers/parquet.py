"""Parquet: image files in a binary or ``struct<bytes, path>`` column, or vectors in a list column.

The struct is what Hugging Face ``datasets`` writes for its ``Image`` feature; ``schemas`` says how columns are chosen.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import InputError, ShardError, UnreadableError
from pipeline.readers import lists, schemas, text
from pipeline.readers.base import BATCH_BYTES, Columns, Request
from pipeline.readers.blocks import Blocks
from pipeline.readers.damage import as_planned, damage
from pipeline.readers.footer import Opened, chosen_groups, opened, row_counts
from pipeline.records import Array, Fault, Reason, Records, Shard, Stage, Unit


class ParquetReader:
    """Row groups are the parts that can be read by themselves; within one, pages are streamed."""

    suffixes = (".parquet", ".pq")
    grouped = False

    def recognises(self, name: str, head: bytes) -> bool:
        """By suffix, or by the magic bytes at the start."""
        return name.lower().endswith(self.suffixes) or head.startswith(b"PAR1")

    def settle(self, shard: Shard, request: Request) -> Columns:
        """Choose columns by the footer's schema; of vectors also their length, from the type or the first rows."""
        with opened(shard, names=True, sparse=True) as file:
            schema = file.schema
            image = schemas.choose_image(shard, schema, request)
            return Columns(
                image=image,
                key=schemas.choose_key(shard, schema, image, request),
                carry=schemas.choose_carry(shard, schema, request),
                numeric=request.numeric,
                max_record_bytes=request.max_record_bytes,
                length=_length(shard, file, image, request) if request.numeric else None,
                whole=request.whole,
                salvage=request.salvage,
            )

    def rows(self, shard: Shard) -> Sequence[int]:
        """Rows of each row group."""
        with opened(shard, sparse=True) as file:
            return row_counts(shard, file.metadata)

    def read(self, unit: Unit, columns: Columns, size: int, room: int = BATCH_BYTES) -> Iterator[Records]:
        """Records of the row groups between ``unit.start`` and ``unit.stop``; checksums of pages are verified.

        Headers of pages have none. One that is wrong may shift a column against the others and not show before the
        row group's end, so where damage is to be salvaged a row group is given whole or not at all; to know that
        beforehand it is decoded twice.

        The ``source`` of whole records is a ``pa.RecordBatch`` of the file's schema and metadata, where only the
        image files are null; what it keeps counts for ``room`` too.
        """
        (shard,) = unit.shards
        with as_planned(shard), opened(shard, names=columns.whole) as file:
            schemas.check(shard, file.schema, columns)
            groups, stop = chosen_groups(shard, file.metadata, unit)
            at, faults = unit.start, dict[int, Fault]()
            step = _step(size, room, file.metadata, groups)
            intact, lost = _proof(shard, file, groups, columns, step, at) if columns.salvage else (groups, None)
            for batch in _exactly(size, room, _named(shard, file, intact, columns, step, at, faults)):
                yield _records(shard, batch, columns, at, faults, file.schema)
                at += batch.num_rows
            if lost is not None:
                raise lost
            if at != stop:
                raise ShardError(
                    shard.path, f"{at - unit.start} rows read, {stop - unit.start} in its footer; it is damaged"
                )


def schema_of(shard: Shard) -> pa.Schema:
    """The schema of a shard, with its metadata.

    Raises:
      ShardError: its footer cannot be read.
    """
    with opened(shard, sparse=True) as file:
        return file.schema


def _length(shard: Shard, file: Opened, image: str, request: Request) -> int | None:
    kind = file.schema.field(image).type
    if not pa.types.is_fixed_size_list(kind):
        return request.length or _first_length(file, image)
    if request.length not in (None, kind.list_size):
        raise InputError(
            f"{shard.path}: column {image!r} keeps vectors of {kind.list_size} numbers and the model takes "
            f"{request.length}; name another with --image"
        )
    return int(kind.list_size)


def _first_length(file: Opened, image: str) -> int | None:
    for batch in file.batches(1024, columns=[image]):
        sizes = lists.lengths(batch.column(image))
        if (sizes > 0).any():
            return int(sizes[sizes > 0][0])
    return None


def _step(size: int, room: int, metadata: pq.FileMetaData, groups: list[int]) -> int:
    """How many rows to read at once: ``size``, or fewer where a row group's footer says that they have ``room`` bytes.

    Of all columns: what a damaged footer says of single ones ends the process when PyArrow is asked for it.
    """
    chosen = (metadata.row_group(at) for at in groups)
    largest = max((group.total_byte_size / group.num_rows for group in chosen), default=0)
    return min(size, max(1, int(room / max(largest, 1))))


def _named(
    shard: Shard,
    file: Opened,
    groups: list[int],
    columns: Columns,
    step: int,
    at: int,
    faults: dict[int, Fault],
) -> Iterator[pa.RecordBatch]:
    """All rows of row groups; an error names the first row group that cannot be read."""
    try:
        with damage(shard):
            yield from _flat(file, groups, columns, step, at, faults)
    except UnreadableError:
        raise
    except ShardError as error:
        raise _proof(shard, file, groups, columns, step, at)[1] or error from error


def _proof(
    shard: Shard, file: Opened, groups: list[int], columns: Columns, step: int, at: int
) -> tuple[list[int], ShardError | None]:
    """The row groups before the first that cannot be read, and the error that says so; their rows begin at ``at``."""
    for number, group in enumerate(groups):
        rows = file.metadata.row_group(group).num_rows
        try:
            with damage(shard):
                found = sum(batch.num_rows for batch in _batches(file, [group], columns, step))
            problem = None if found == rows else f"it has {found} rows"
        except UnreadableError:
            raise
        except ShardError as error:
            problem = error.problem
        if problem is not None:
            lost = f"rows {at} to {at + rows - 1} (row group {group}) and what follows cannot be read: {problem}"
            return groups[:number], ShardError(shard.path, lost)
        at += rows
    return groups, None


def _batches(file: Opened, groups: list[int], columns: Columns, size: int) -> Iterator[pa.RecordBatch]:
    leaves = None if columns.whole else _leaves(file.schema, columns)
    return file.batches(size, columns=leaves, groups=groups) if groups else iter(())


def _flat(
    file: Opened, groups: list[int], columns: Columns, size: int, at: int, faults: dict[int, Fault]
) -> Iterator[pa.RecordBatch]:
    """Batches of payload, key, carried columns and the source's; ``faults`` is filled by row number."""
    for batch in _batches(file, groups, columns, size):
        payload, bad = _payload(batch.column(columns.image), columns)
        carried = [_carried(batch.column(field.name), field, bad) for field in columns.carry]
        faults.update((at + row, fault) for row, fault in bad.items())
        found = [payload, _keys(batch, columns, at), *carried, *(_source(batch, columns) if columns.whole else ())]
        yield pa.RecordBatch.from_arrays(found, list(map(str, range(len(found)))))
        at += batch.num_rows


def _source(batch: pa.RecordBatch, columns: Columns) -> list[pa.Array]:
    """All columns; image files are null, since the payload has them."""
    arrays: list[pa.Array] = batch.columns
    if not columns.numeric:
        at = batch.schema.get_field_index(columns.image)
        arrays[at] = _without_files(arrays[at])
    return arrays


def _without_files(column: pa.Array) -> pa.Array:
    if not pa.types.is_struct(column.type):
        return pa.nulls(len(column), column.type)
    fields = list(column.type)
    children = [pa.nulls(len(column), f.type) if f.name == "bytes" else column.field(f.name) for f in fields]
    return pa.StructArray.from_arrays(children, fields=fields)


def _leaves(schema: pa.Schema, columns: Columns) -> list[str]:
    """What is read of the file: of an image struct only the children that are needed."""
    kind = schema.field(columns.image).type
    image = f"{columns.image}.bytes" if pa.types.is_struct(kind) else columns.image
    return [image, *([] if columns.key is None else [columns.key]), *columns.carry.names]


def _payload(column: pa.Array, columns: Columns) -> tuple[pa.Array, dict[int, Fault]]:
    if columns.numeric:
        return lists.rows(column, columns.length)
    files = pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column
    files = files.dictionary_decode() if pa.types.is_dictionary(files.type) else files
    files = files if files.type == pa.binary() else files.cast(pa.binary())
    return files, _file_faults(files, columns.max_record_bytes)


def _file_faults(files: pa.Array, limit: int) -> dict[int, Fault]:
    faults = dict[int, Fault]()
    if files.null_count:
        missing = Fault(stage=Stage.READ, reason=Reason.MISSING_IMAGE, detail="the image is null")
        faults.update((int(at), missing) for at in np.flatnonzero(files.is_null()))
    if files.nbytes > limit:  # otherwise no single one can be larger
        sizes = pc.fill_null(pc.binary_length(files), 0).to_numpy()
        for at in np.flatnonzero(sizes > limit):
            detail = f"{sizes[at]} bytes; the most is {limit}"
            faults[int(at)] = Fault(stage=Stage.READ, reason=Reason.RECORD_TOO_LARGE, detail=detail)
    return faults


def _keys(batch: pa.RecordBatch, columns: Columns, at: int) -> pa.Array:
    if columns.key is None:
        return _numbered(at, batch.num_rows)
    if columns.key == schemas.path_of(columns.image):
        keys = text.text(pc.struct_field(batch.column(columns.image), "path"))
    else:
        keys = text.text(batch.column(columns.key))
    return pc.coalesce(keys, _numbered(at, batch.num_rows)) if keys.null_count else keys


def _numbered(at: int, count: int) -> pa.Array:
    return pa.array(np.arange(at, at + count)).cast(pa.string())


def _carried(values: pa.Array, field: pa.Field, bad: dict[int, Fault]) -> pa.Array:
    values = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    wrong = text.invalid(values)
    if not wrong:
        return values
    detail = f"{field.name!r} is not UTF-8"
    bad.update((at, Fault(stage=Stage.READ, reason=Reason.WRONG_TYPE, detail=detail)) for at in wrong if at not in bad)
    keep = np.ones(len(values), bool)
    keep[wrong] = False
    return pc.if_else(pa.array(keep), values, pa.scalar(None, values.type))


def _exactly(size: int, room: int, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of ``size``, or of ``room`` bytes where these are fewer rows, up to the damage."""
    blocks = Blocks(size, room)
    try:
        for batch in batches:
            yield from blocks.add(batch, _bytes(batch))
    except ShardError:
        yield from blocks.rest()
        raise
    yield from blocks.rest()


def _bytes(batch: pa.RecordBatch) -> Array:
    """Bytes of each row, int64 ``[n]``: of its own file, and its share of everything else."""
    payload, others = batch.column(0), sum(column.nbytes for column in batch.columns[1:])
    if pa.types.is_fixed_size_list(payload.type):
        return np.full(batch.num_rows, (payload.nbytes + others) // max(batch.num_rows, 1))
    files: Array = pc.fill_null(pc.binary_length(payload), 0).to_numpy().astype(np.int64)
    files += others // max(batch.num_rows, 1)
    return files


def _records(
    shard: Shard, batch: pa.RecordBatch, columns: Columns, at: int, faults: dict[int, Fault], schema: pa.Schema
) -> Records:
    payload, key, *others = batch.columns
    carried, source = others[: len(columns.carry)], others[len(columns.carry) :]
    if columns.numeric:
        payload = payload.flatten().to_numpy().reshape(batch.num_rows, -1)
    own = [row for row in faults if row < at + batch.num_rows]
    return Records(
        shard=shard.path,
        index=np.arange(at, at + batch.num_rows),
        key=key,
        payload=payload,
        carried=dict(zip(columns.carry.names, carried, strict=True)),
        faults={row - at: faults.pop(row) for row in own},
        source=pa.RecordBatch.from_arrays(source, schema=schema) if columns.whole else None,
    )
