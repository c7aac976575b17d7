"""How large each row of a column is once it is decoded.

Of a dictionary, and of views into one buffer, many rows may have one large value, so that the size of a record batch
says nothing about its rows.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.core.records import Array

_VIEW = np.dtype([("length", "<i4"), ("rest", "V12")])  # of a view, in Arrow's columnar format


def row_bytes(column: pa.Array) -> Array:
    """Bytes of each value, int64 ``[n]``; 0 for a null.

    Args:
      column: of any type; of values of fixed size, each has its share of all.

    >>> row_bytes(pa.array(["aa", "b", None, "aa"]).dictionary_encode()).tolist()
    [2, 1, 0, 2]
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return row_bytes(column.storage)
    if pa.types.is_dictionary(kind):
        return _numbers(pc.take(pa.array(row_bytes(column.dictionary)), column.indices))
    if any(fits(kind) for fits in _TEXTS):
        return _numbers(pc.binary_length(column))
    if pa.types.is_binary_view(kind) or pa.types.is_string_view(kind):
        return _of_views(column)
    if pa.types.is_struct(kind):
        return sum(map(row_bytes, column.flatten()), np.zeros(len(column), np.int64))
    if any(fits(kind) for fits in _LISTS):
        return _of_lists(column)
    return np.full(len(column), -(-column.nbytes // max(len(column), 1)), np.int64)


_TEXTS = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_string, pa.types.is_large_string)
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


def _numbers(lengths: pa.Array) -> Array:
    found: Array = pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False)
    return found.astype(np.int64)


def _of_views(column: pa.Array) -> Array:
    views = column.buffers()[1]
    if views is None:
        return np.zeros(len(column), np.int64)
    lengths = np.frombuffer(views, _VIEW)["length"][column.offset : column.offset + len(column)]
    return np.where(column.is_valid().to_numpy(zero_copy_only=False), lengths, 0).astype(np.int64)


def _of_lists(column: pa.Array) -> Array:
    counts = _numbers(pc.list_value_length(column))
    values = np.concatenate([[0], np.cumsum(row_bytes(column.flatten()))])
    edges = np.concatenate([[0], np.cumsum(counts)])
    sizes: Array = np.diff(values[edges])
    return sizes.astype(np.int64)
