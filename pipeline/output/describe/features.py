"""The columns of a table as ``features`` of a dataset card, as the package ``datasets`` would infer them."""

from typing import Any, TypeAlias

import pyarrow as pa

Feature: TypeAlias = dict[str, Any]

_LISTS = ((pa.types.is_fixed_size_list, "list"), (pa.types.is_list, "list"), (pa.types.is_large_list, "large_list"))
_UNKNOWN = (
    pa.types.is_nested,
    pa.types.is_interval,
    pa.types.is_decimal32,
    pa.types.is_decimal64,
    pa.types.is_run_end_encoded,
)
# Types whose name there is not Arrow's.
_NAMES = {
    "halffloat": "float16",
    "float": "float32",
    "double": "float64",
    "date32[day]": "date32",
    "date64[ms]": "date64",
}


def features_of(schema: pa.Schema) -> list[Feature] | None:
    """Return the columns in the form of a card's ``dataset_info.features``.

    Args:
      schema: of the table.

    Returns:
      One entry for each column; None if ``datasets`` has no name for the type of one.

    >>> features_of(pa.schema([("key", pa.string()), ("latent", pa.list_(pa.float32(), 8))]))
    [{'name': 'key', 'dtype': 'string'}, {'name': 'latent', 'list': 'float32', 'length': 8}]
    """
    found = [_named(field) for field in schema]
    return None if None in found else [feature for feature in found if feature is not None]


def _named(field: pa.Field) -> Feature | None:
    feature = _feature(field.type)
    return None if feature is None else {"name": field.name, **feature}


def _feature(kind: pa.DataType) -> Feature | None:
    if pa.types.is_struct(kind):
        members = features_of(pa.schema(list(kind)))
        return None if members is None else {"struct": members}
    for is_kind, name in _LISTS:
        if is_kind(kind):
            return _list(kind, name)
    return _value(kind)


def _list(kind: pa.DataType, name: str) -> Feature | None:
    if (item := _feature(kind.value_type)) is None:
        return None
    # A list of plain values, or of structs, says the type or the members at once.
    brief = next((item[key] for key in ("dtype", "struct") if item.keys() == {key}), item)
    return {name: brief, **({"length": kind.list_size} if pa.types.is_fixed_size_list(kind) else {})}


def _value(kind: pa.DataType) -> Feature | None:
    if pa.types.is_dictionary(kind):
        return _value(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType) or any(is_kind(kind) for is_kind in _UNKNOWN):
        return None
    return {"dtype": _NAMES.get(str(kind), str(kind))}
