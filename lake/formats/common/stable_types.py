"""Types of columns whose text is the same in every process.

Equal types of Arrow may differ in what they say besides: a map the name of its column, a list of fixed size that of
its elements. Pickling and Arrow's own format each lose another part of that, so a type on a worker has another text
than at launch, and the digest of a job's options is made of these texts.
"""

import pyarrow as pa


def stable_schema(schema: pa.Schema) -> pa.Schema:
    """Columns with the types of ``stable_type``.

    Args:
      schema: names and types.
    """
    return pa.schema([field.with_type(stable_type(field.type)) for field in schema], schema.metadata)


def type_texts(schema: pa.Schema) -> list[list[str]]:
    """Names and types of columns as JSON values.

    >>> type_texts(pa.schema({"label": pa.int64()}))
    [['label', 'int64']]
    """
    return [[field.name, str(field.type)] for field in schema]


def stable_type(kind: pa.DataType) -> pa.DataType:
    """A type without what is lost on the way to a worker; most types are that already.

    >>> print(stable_type(pa.list_(pa.field("element", pa.float32(), nullable=False), 2)))
    fixed_size_list<item: float>[2]
    >>> print(stable_type(pa.list_(pa.field("element", pa.map_(pa.string(), pa.int8(), keys_sorted=True)))))
    list<element: map<string, int8>>
    """
    if pa.types.is_map(kind):
        return pa.map_(stable_type(kind.key_type), stable_type(kind.item_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(stable_type(kind.value_type), kind.list_size)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(stable_type(field.type)) for field in kind])
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, stable_type(kind.value_type), kind.ordered)
    for is_kind, make in _LISTS:
        if is_kind(kind):
            return make(kind.value_field.with_type(stable_type(kind.value_type)))
    return kind


_LISTS = (
    (pa.types.is_list, pa.list_),
    (pa.types.is_large_list, pa.large_list),
    (pa.types.is_list_view, pa.list_view),
    (pa.types.is_large_list_view, pa.large_list_view),
)
