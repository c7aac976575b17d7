"""What is read of every shard of tables, by the schema of the first one and its first rows."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import prod
from typing import TypeAlias

import pyarrow as pa

from lake.core.errors import InputError
from lake.core.records import Shard
from lake.formats.common.pixels import dtype_of
from lake.formats.common.vector_storage import FLOAT32, VectorStorage
from lake.formats.parquet import pixels, types, vectors
from lake.formats.parquet.columns import check_shapes, choose_carry, choose_image, choose_key, is_files
from lake.formats.parquet.latents import stored_as
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.images.types import PixelLayout

FirstRows: TypeAlias = Callable[[str], Iterator[pa.RecordBatch]]  # the rows of one column, from the first on


def settle_table(shard: Shard, schema: pa.Schema, selection: ColumnSelection, first_rows: FirstRows) -> RecordSchema:
    """Choose the columns of a table, and the length of its vectors or flat lists of pixels.

    Args:
      shard: for errors.
      schema: of the shard.
      selection: what the user and the model ask for.
      first_rows: reads a column, where its type does not say how long its lists are.

    Raises:
      InputError: a column is missing, ambiguous or of the wrong type.
    """
    image = choose_image(shard, schema, selection)
    if selection.shaped:
        check_shapes(shard, schema)
    length = _length if selection.numeric else _pixels
    flat = not selection.numeric and pixels.is_flat(schema.field(image).type)
    shape = selection.shape if flat and selection.layout == PixelLayout.CHW else None
    dtype = _dtype(shard, schema, image, selection, first_rows)
    columns = selection.resolved(
        image=image,
        key=choose_key(shard, schema, image, selection),
        carry=choose_carry(shard, schema, selection),
        length=length(shard, schema, image, selection, first_rows),
    )
    return replace(columns, image_shape=selection.image_shape or shape, image_dtype=dtype)


def _length(
    shard: Shard, schema: pa.Schema, image: str, selection: ColumnSelection, first_rows: FirstRows
) -> int | None:
    kind = schema.field(image).type
    storage = _storage(shard, schema, image, selection) if selection.latents else FLOAT32
    if selection.shaped:
        return None
    if not pa.types.is_fixed_size_list(kind):
        return selection.length or _first_length(first_rows, image)
    if selection.length is not None and storage.width(selection.length) == kind.list_size:
        return selection.length
    if selection.length is not None:
        raise InputError(
            f"{shard.path}: column {image!r} keeps vectors of {kind.list_size} numbers and the model takes "
            f"{selection.length}; name another with --image"
        )
    return int(kind.list_size)


def _storage(shard: Shard, schema: pa.Schema, image: str, selection: ColumnSelection) -> VectorStorage:
    try:
        return stored_as(schema, image, selection.length)
    except ValueError as error:
        raise InputError(f"{shard.path}: {error}") from error


def _pixels(
    shard: Shard, schema: pa.Schema, image: str, selection: ColumnSelection, first_rows: FirstRows
) -> int | None:
    """Numbers in an image that is a flat list of pixels, whose sides are the model's; None for other images."""
    if selection.image_shape and not pixels.is_nested(schema.field(image).type):
        return prod(selection.image_shape)
    if not pixels.is_flat(schema.field(image).type):
        return None
    if selection.shape is None:
        problem = "holds lists of numbers, and the model takes images of any size: their sides are not known"
        raise InputError(f"{shard.path}: column {image!r} {problem}; give --image-shape, or name another with --image")
    length, found = prod(selection.shape), _first_length(first_rows, image)
    if found not in (None, length):
        problem = f"holds lists of {found} numbers, and the model takes images of {selection.shape}"
        raise InputError(f"{shard.path}: column {image!r} {problem}; name another with --image")
    return length


def _dtype(
    shard: Shard, schema: pa.Schema, image: str, selection: ColumnSelection, first_rows: FirstRows
) -> str | None:
    """Type of the numbers of bare pixels in a column of bytes; None for other columns.

    Raises:
      InputError: it is not given, and the first image does not tell it.
    """
    asked = selection.image_dtype or selection.image_shape
    if selection.numeric or not asked or not is_files(schema.field(image).type):
        return None
    if selection.image_shape is None:
        raise InputError("--image-dtype says of what type bare pixels are; say their sides too, with --image-shape")
    if selection.whole:
        raise InputError(f"{shard.path}: column {image!r} holds bare pixels; choose another --output-format for files")
    if selection.image_dtype:
        return selection.image_dtype
    sizes = (size for batch in first_rows(image) for size in pixels.sizes(types.stored(batch.column(image))) if size)
    if (found := dtype_of(next(sizes, None), prod(selection.image_shape))) is None:
        raise InputError(f"{shard.path}: of what type are the pixels in column {image!r}? Give --image-dtype")
    return found


def _first_length(first_rows: FirstRows, image: str) -> int | None:
    for batch in first_rows(image):
        sizes = vectors.lengths(batch.column(image))
        if (sizes > 0).any():
            return int(sizes[sizes > 0][0])
    return None
