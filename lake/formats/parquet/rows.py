"""Rows of tables as records: payload, key and carried columns, and the faults of single rows."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.core.errors import ShardError
from lake.core.records import Array, Fault, Reason, Records, Shard, Stage
from lake.formats.common import latent_files, text
from lake.formats.common.pixels import folded_images
from lake.formats.common.rebatch import Blocks
from lake.formats.common.vector_storage import FLOAT32, VectorStorage
from lake.formats.parquet import pixels, types, vectors
from lake.formats.parquet.beside import pieces, read_beside, with_files
from lake.formats.parquet.columns import SHAPES, has_path, path_of
from lake.formats.parquet.latents import stored_as
from lake.formats.reader import RecordSchema


def _pieces(batches: Iterable[pa.RecordBatch], columns: RecordSchema) -> Iterator[pa.RecordBatch]:
    """The batches, in parts where the images of rows have to be read from files of their own."""
    return (piece for batch in batches for piece in ([batch] if columns.numeric else pieces(batch, columns.image)))


def flat_rows(
    shard: Shard,
    batches: Iterable[pa.RecordBatch],
    columns: RecordSchema,
    at: int,
    faults: dict[int, Fault],
    storage: VectorStorage,
) -> Iterator[pa.RecordBatch]:
    """Rows as batches of payload, key, carried columns and source columns.

    Args:
      shard: that the rows are of.
      batches: its rows, with the columns that are read at least.
      columns: what is read of each record.
      at: number of the first row.
      faults: receives the faults by the number of the row.
      storage: of vectors, how they are stored.
    """
    for batch in _pieces(batches, columns):
        images = _images(types.stored(batch.column(columns.image)), columns)
        if columns.shaped:
            payload, bad = latent_files.as_files(images, batch.column(SHAPES), columns.max_record_bytes, storage)
        else:
            payload, bad = _payload(shard, images, columns, storage)
        carried = [_carried(types.stored(batch.column(field.name)), field, bad) for field in columns.carry]
        faults.update((at + row, fault) for row, fault in bad.items())
        found = [payload, _keys(batch, columns, at), *carried, *(_source(batch, columns) if columns.whole else ())]
        yield pa.RecordBatch.from_arrays(found, list(map(str, range(len(found)))))
        at += batch.num_rows


def _source(batch: pa.RecordBatch, columns: RecordSchema) -> list[pa.Array]:
    """All columns, with the image files as nulls, since the payload has them."""
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


def _images(column: pa.Array, columns: RecordSchema) -> pa.Array:
    """The column of images or vectors; one that has no value at all has no type."""
    if not pa.types.is_null(column.type):
        return column
    return column.cast(pa.list_(pa.float32()) if columns.numeric else pa.binary())


def _payload(
    shard: Shard, column: pa.Array, columns: RecordSchema, storage: VectorStorage
) -> tuple[pa.Array, dict[int, Fault]]:
    if columns.numeric:
        return vectors.rows(column, columns.length, storage)
    if pixels.is_nested(column.type):
        return pixels.files(column, columns.max_record_bytes, columns.layout)
    if columns.length is not None and pixels.is_flat(column.type):
        return pixels.lines(column, columns.length)
    files = pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column
    files = files.dictionary_decode() if pa.types.is_dictionary(files.type) else files
    files = files if files.type == pa.binary() else files.cast(pa.binary())
    if columns.image_dtype is not None:
        return pixels.bare(files, columns.image_dtype, columns.length or 0)
    beside = read_beside(shard, column, columns.max_record_bytes) if files.null_count else {}
    files = with_files(files, beside)
    wrong = {row: found for row, found in beside.items() if isinstance(found, Fault)}
    return files, _file_faults(files, columns.max_record_bytes) | wrong


def _file_faults(files: pa.Array, limit: int) -> dict[int, Fault]:
    faults = dict[int, Fault]()
    if files.null_count:
        missing = Fault(stage=Stage.READ, reason=Reason.MISSING_IMAGE, detail="the image is null")
        faults.update((int(at), missing) for at in np.flatnonzero(files.is_null()))
    if files.nbytes > limit:  # else no single file can be larger
        sizes = pc.fill_null(pc.binary_length(files), 0).to_numpy()
        for at in np.flatnonzero(sizes > limit):
            detail = f"{sizes[at]} bytes; the most is {limit}"
            faults[int(at)] = Fault(stage=Stage.READ, reason=Reason.RECORD_TOO_LARGE, detail=detail)
    return faults


def _keys(batch: pa.RecordBatch, columns: RecordSchema, at: int) -> pa.Array:
    if columns.key is None:
        return _numbered(at, batch.num_rows)
    if columns.key == path_of(columns.image) and not has_path(batch.column(columns.image).type):
        return _numbered(at, batch.num_rows)  # no image has a value, so no path
    keys = _stored_keys(batch, columns)
    return pc.coalesce(keys, _numbered(at, batch.num_rows)) if keys.null_count else keys


def _stored_keys(batch: pa.RecordBatch, columns: RecordSchema) -> pa.Array:
    """The keys as the shard has them, maybe null."""
    if columns.key == path_of(columns.image):
        return text.text(pc.struct_field(types.stored(batch.column(columns.image)), "path"))
    return text.text(types.stored(batch.column(columns.key)))


def _numbered(at: int, count: int) -> pa.Array:
    return pa.array([*map(str, range(at, at + count))], pa.string())


def _carried(values: pa.Array, field: pa.Field, bad: dict[int, Fault]) -> pa.Array:
    values = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    if values.type != field.type:
        there = values.type
        values, unfit = types.cast(values, field.type)
        detail = f"{field.name!r} is {there} here, and a value that is no {field.type}, as in the first shards"
        bad.update((at, Fault(stage=Stage.READ, reason=Reason.WRONG_TYPE, detail=detail)) for at in unfit)
    wrong = text.invalid(values)
    if not wrong:
        return values
    detail = f"{field.name!r} is not UTF-8"
    bad.update((at, Fault(stage=Stage.READ, reason=Reason.WRONG_TYPE, detail=detail)) for at in wrong if at not in bad)
    keep = np.ones(len(values), bool)
    keep[wrong] = False
    return pc.if_else(pa.array(keep), values, pa.scalar(None, values.type))


def storage_in(shard: Shard, schema: pa.Schema, columns: RecordSchema) -> VectorStorage:
    """How a shard's vectors are stored.

    Args:
      shard: for errors.
      schema: of the shard, with its metadata.
      columns: what is read of each record.

    Raises:
      ShardError: they are latents that cannot be read; the text says why.
    """
    if not columns.latents or not vectors.is_vector(schema.field(columns.image).type):
        return FLOAT32
    try:
        return stored_as(schema, columns.image, columns.length)
    except ValueError as error:
        raise ShardError(shard.path, str(error)) from error


def in_blocks(size: int, room: int, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """What ``flat_rows`` gives in batches of ``size`` rows, or fewer that reach ``room`` bytes, up to the damage."""
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
    lengths = pc.binary_length(payload)
    files: Array = (pc.fill_null(lengths, 0) if lengths.null_count else lengths).to_numpy().astype(np.int64)
    files += others // max(batch.num_rows, 1)
    return files


def table_records(
    shard: Shard, batch: pa.RecordBatch, columns: RecordSchema, at: int, faults: dict[int, Fault], schema: pa.Schema
) -> Records:
    """A batch that ``flat_rows`` gave as records.

    Args:
      shard: that the rows are of.
      batch: the rows.
      columns: what is read of each record.
      at: number of the first row.
      faults: by the number of the row; those of the batch are taken out.
      schema: of ``Records.source``.
    """
    payload, key, *others = batch.columns
    carried, source = others[: len(columns.carry)], others[len(columns.carry) :]
    if pa.types.is_fixed_size_list(payload.type):
        payload = _numbers(payload.flatten().to_numpy(), batch.num_rows, columns)
    # Faults are found ahead of the batches, since reading and batching have different edges.
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


def lost_records(
    shard: Shard, batch: pa.RecordBatch | None, columns: RecordSchema, rows: range, size: int, problem: str
) -> Iterator[Records]:
    """Rows that damage of their shard has cost, each a fault.

    Args:
      shard: that they are of.
      batch: what there is of them, with nulls; None if there is nothing.
      columns: what is read of each record.
      rows: their numbers.
      size: the most in a batch.
      problem: why they are lost.
    """
    fault = Fault(stage=Stage.READ, reason=Reason.CORRUPT_RECORD, detail=f"the row is lost: {problem}")
    for at in rows[::size]:
        part = rows[at - rows.start :][:size]
        yield Records(
            shard=shard.path,
            index=np.array(part),
            key=_lost_keys(batch and batch.slice(at - rows.start, len(part)), columns, part),
            payload=pa.nulls(len(part), pa.binary()),
            carried={field.name: pa.nulls(len(part), field.type) for field in columns.carry},
            faults=dict.fromkeys(range(len(part)), fault),
        )


def _lost_keys(batch: pa.RecordBatch | None, columns: RecordSchema, rows: range) -> pa.Array:
    """Keys, as far as they are there; else they are empty."""
    if columns.key is None:
        return _numbered(rows.start, len(rows))
    return pa.array([""] * len(rows)) if batch is None else pc.fill_null(_stored_keys(batch, columns), "")


def _numbers(flat: Array, count: int, columns: RecordSchema) -> Array:
    """Vectors, or images of one size: in one line, which the decoder folds, unless their sides are known."""
    if columns.numeric:
        return flat.reshape(count, -1)
    if columns.image_shape is None:
        return flat.reshape(count, 1, -1, 1)
    return folded_images(flat.reshape(count, -1), columns.image_shape, columns.layout)
