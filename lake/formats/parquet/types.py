"""Types that differ between shards only by who wrote them, and one type that holds the values of both.

Text, large text and views of text are text; integers, floating numbers, decimals and times differ in width; lists in
how their lengths are kept, maps in whether they say that keys are sorted; a column without values has the type null.
Anything else is another column.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_UNITS = ("s", "ms", "us", "ns")


def unified(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds the values of two others; None if they are of different kinds.

    Args:
      one: is kept where both hold the same values.
      other: of another shard.

    >>> unified(pa.int32(), pa.int64()), unified(pa.string(), pa.large_string()), unified(pa.int8(), pa.string())
    (DataType(int64), DataType(string), None)
    """
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if _both(_TEXT, one, other) or _both(_BYTES, one, other):
        return one
    for both, join in _JOINS:
        if both(one) and both(other):
            return join(one, other)
    return _lists(one, other) if _both(_LISTS, one, other) else None


def castable(kind: pa.DataType, to: pa.DataType) -> bool:
    """Whether the values of a type can be given as another one, or told apart where they do not fit.

    Args:
      kind: of a shard.
      to: of the column.
    """
    return unified(to, kind) is not None and not _rounds(kind, to)


def cast(values: pa.Array, to: pa.DataType) -> tuple[pa.Array, list[int]]:
    """Values as another type, and the positions of those that do not fit, which become null.

    Args:
      values: of a type for which ``castable`` holds.
      to: the type.
    """
    try:
        return values.cast(to), []
    except pa.ArrowInvalid:
        wrong = [at for at in range(len(values)) if not _fits(values.slice(at, 1), to)]
    keep = np.ones(len(values), bool)
    keep[wrong] = False
    return pc.if_else(pa.array(keep), values, pa.scalar(None, values.type)).cast(to), wrong


def _fits(value: pa.Array, to: pa.DataType) -> bool:
    try:
        value.cast(to)
    except pa.ArrowInvalid:
        return False
    return True


def _both(kinds: tuple[Callable[[pa.DataType], bool], ...], one: pa.DataType, other: pa.DataType) -> bool:
    return any(fits(one) for fits in kinds) and any(fits(other) for fits in kinds)


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    return other if other.bit_width > one.bit_width else one


def _integers(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if pa.types.is_signed_integer(one) == pa.types.is_signed_integer(other):
        return _wider(one, other)
    unsigned = one if pa.types.is_unsigned_integer(one) else other
    signed = other if unsigned is one else one
    if signed.bit_width > unsigned.bit_width:
        return signed
    # Of uint64 and a signed type none holds all values of both; those that do not fit are told by name.
    return {8: pa.int16(), 16: pa.int32()}.get(unsigned.bit_width, pa.int64())


def _timestamps(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if (one.tz is None) != (other.tz is None):
        return None
    return pa.timestamp(_finer(one, other), one.tz)


def _finer(one: pa.DataType, other: pa.DataType) -> str:
    return _UNITS[max(_UNITS.index(one.unit), _UNITS.index(other.unit))]


def _decimals(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    return (one if one.precision >= other.precision else other) if one.scale == other.scale else None


def _lists(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    item = unified(one.value_type, other.value_type)
    if item is None:
        return None
    field = one.value_field.with_type(item).with_nullable(one.value_field.nullable or other.value_field.nullable)
    if pa.types.is_large_list(one):
        return pa.large_list(field)
    fixed = pa.types.is_fixed_size_list(one) and pa.types.is_fixed_size_list(other) and one.list_size == other.list_size
    return pa.list_(field, one.list_size) if fixed else pa.list_(field)


def _structs(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if [field.name for field in one] != [field.name for field in other]:
        return None
    fields = []
    for field, rival in zip(one, other, strict=True):
        if (kind := unified(field.type, rival.type)) is None:
            return None
        fields.append(field.with_type(kind).with_nullable(field.nullable or rival.nullable))
    return pa.struct(fields)


def _maps(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    key, item = unified(one.key_type, other.key_type), unified(one.item_type, other.item_type)
    return None if key is None or item is None else pa.map_(key, item)


_Join = Callable[[pa.DataType, pa.DataType], pa.DataType | None]
_JOINS: tuple[tuple[Callable[[pa.DataType], bool], _Join], ...] = (
    (pa.types.is_integer, _integers),
    (pa.types.is_floating, _wider),
    (pa.types.is_timestamp, _timestamps),
    (pa.types.is_duration, lambda one, other: pa.duration(_finer(one, other))),
    (pa.types.is_decimal, _decimals),
    (pa.types.is_struct, _structs),
    (pa.types.is_map, _maps),
)


def _rounds(kind: pa.DataType, to: pa.DataType) -> bool:
    """Whether a cast may round floating numbers, which Arrow does without a word."""
    if pa.types.is_floating(kind) and pa.types.is_floating(to):
        return bool(kind.bit_width > to.bit_width)
    if _both(_LISTS, kind, to):
        return _rounds(kind.value_type, to.value_type)
    if pa.types.is_struct(kind) and pa.types.is_struct(to):
        return any(_rounds(field.type, target.type) for field, target in zip(kind, to, strict=True))
    if pa.types.is_map(kind) and pa.types.is_map(to):
        return _rounds(kind.key_type, to.key_type) or _rounds(kind.item_type, to.item_type)
    return False


def stored_schema(schema: pa.Schema) -> pa.Schema:
    """A schema with the columns of extension types, such as Hugging Face's ``Array3D``, as what they store.

    Args:
      schema: of a shard. Arrow knows the extension types of libraries that this process has imported.
    """
    if not any(isinstance(field.type, pa.BaseExtensionType) for field in schema):
        return schema
    return pa.schema([field.with_type(_stored_type(field.type)) for field in schema], schema.metadata)


def stored(column: pa.Array) -> pa.Array:
    """A column of an extension type as what it stores: tensors of one shape as nested lists. Others as they are.

    >>> tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(4).reshape(1, 2, 2))
    >>> stored(tensors).to_pylist()
    [[[0, 1], [2, 3]]]
    """
    if not isinstance(column.type, pa.BaseExtensionType):
        return column
    storage, sides = column.storage, _sides(column.type)
    if not sides:
        return storage
    first, length = storage.offset * storage.type.list_size, len(storage) * storage.type.list_size
    values = storage.values.slice(first, length)
    for side in reversed(sides[1:]):
        values = pa.FixedSizeListArray.from_arrays(values, side)
    return pa.FixedSizeListArray.from_arrays(values, sides[0], mask=storage.is_null() if storage.null_count else None)


def _stored_type(kind: pa.DataType) -> pa.DataType:
    if not isinstance(kind, pa.BaseExtensionType):
        return kind
    item, sides = kind.storage_type, _sides(kind)
    if not sides:
        return item
    item = item.value_type
    for side in reversed(sides):
        item = pa.list_(item, side)
    return item


def _sides(kind: pa.BaseExtensionType) -> list[int]:
    """The shape of Arrow's own tensors, as they are stored; empty for other types, or where a side is 0."""
    sides = list(kind.shape) if isinstance(kind, pa.FixedShapeTensorType) and len(kind.shape) > 1 else []
    return sides if all(sides) else []
