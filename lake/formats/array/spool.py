"""Spool rows to disk until their number is known: an array's header states it, and comes first."""

from collections.abc import Iterator
from dataclasses import dataclass
from tempfile import TemporaryFile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.core.records import Array
from lake.core.temporary import temporary_space

_CHUNK = 1 << 20  # bytes per read
_WIDEST = 1 << 30  # most bytes of a text column when all values are padded to the longest


class RowSpool:
    """Rows of one array in a temporary file.

    Args:
      dtype: of the elements.
      shape: of one row.

    Attributes:
      dtype: of the elements.
      shape: of one row.
      rows: number of rows so far.
    """

    def __init__(self, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self.dtype, self.shape = dtype, shape
        self.rows = 0
        self._file = TemporaryFile()  # noqa: SIM115

    def append(self, rows: Array) -> None:
        """Append rows ``[m, *shape]`` of the spool's dtype."""
        with temporary_space():
            self._file.write(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)
        self.rows += len(rows)

    def chunks(self) -> Iterator[bytes]:
        """All elements in row-major order, in chunks of whole elements."""
        self._file.seek(0)
        step = max(1, _CHUNK // self.dtype.itemsize) * self.dtype.itemsize
        while chunk := self._file.read(step):
            yield chunk

    def close(self) -> None:
        """Delete the temporary file."""
        self._file.close()


@dataclass(slots=True)
class _Seen:
    """What is known of all values of a column so far."""

    width: int = 1  # characters or bytes of the longest value
    nulls: bool = False
    lengths: frozenset[int | None] = frozenset()  # lengths of lists; None for a null list
    zero_ended: bool = False  # a value ends in zeros, which NumPy would strip


class TableSpool:
    """Columns of single values or lists in a temporary file, which are read back as one NumPy array each.

    Numbers keep their type; with nulls, integers and booleans become float64 with NaN. Text becomes Unicode and bytes
    stay bytes, both padded to the longest value; null is empty. Dates and timestamps become datetime64. Lists of
    numbers of one length become ``[n, length]``.

    Args:
      schema: of the columns; each must satisfy ``check_type``.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._file = TemporaryFile()  # noqa: SIM115
        self._schema, self._rows = schema, 0
        self._writer = pa.ipc.new_stream(self._file, schema)
        self._seen = [_Seen() for _ in schema]

    def append(self, batch: pa.RecordBatch) -> None:
        """Append rows of the spool's schema."""
        with temporary_space():
            self._writer.write_batch(batch)
        self._rows += batch.num_rows
        for seen, column in zip(self._seen, batch.columns, strict=True):
            _look(seen, column)

    def columns(self) -> Iterator[tuple[str, np.dtype, tuple[int, ...], Iterator[bytes]]]:
        """Name, dtype, shape and elements of every column. No rows can be appended afterwards.

        Raises:
          ValueError: lists differ in length, or text would take too much space or lose trailing zeros.
        """
        self._writer.close()
        for at, (field, seen) in enumerate(zip(self._schema, self._seen, strict=True)):
            dtype, row = _element(field.type, seen), _row(field, seen)
            if dtype.kind in "US":
                _check_width(field, seen, self._rows * dtype.itemsize)
            yield field.name, dtype, (self._rows, *row), self._elements(at, dtype)

    def close(self) -> None:
        """Delete the temporary file."""
        self._file.close()

    def _elements(self, at: int, dtype: np.dtype) -> Iterator[bytes]:
        self._file.seek(0)
        options = pa.ipc.IpcReadOptions(included_fields=[at])
        for batch in pa.ipc.open_stream(self._file, options=options):
            yield _values(batch.column(0), dtype).tobytes()


def check_type(kind: pa.DataType) -> None:
    """Check that a column of this type can become an array.

    Raises:
      ValueError: it cannot; the message says why and is meant to follow the column's name.
    """
    value = kind.value_type if _is_list(kind) else kind
    single = _is_number(value) or pa.types.is_timestamp(value) or pa.types.is_date(value)
    if not single and (_is_list(kind) or not (_is_text(value) or _is_bytes(value))):
        raise ValueError(f"is {kind}, which is no array")


def _look(seen: _Seen, column: pa.Array) -> None:
    kind = column.type
    seen.nulls |= column.null_count > 0
    if _is_list(kind):
        seen.lengths |= frozenset(pc.unique(pc.list_value_length(column)).to_pylist())
        seen.nulls |= column.flatten().null_count > 0
    elif _is_text(kind) or _is_bytes(kind):
        column = column if _is_text(kind) else column.cast(pa.large_binary())
        length = pc.utf8_length(column) if _is_text(kind) else pc.binary_length(column)
        seen.width = max(seen.width, pc.max(length).as_py() or 0)
        seen.zero_ended |= bool(pc.any(pc.ends_with(column, pattern="\0")).as_py())


def _element(kind: pa.DataType, seen: _Seen) -> np.dtype:
    value = kind.value_type if _is_list(kind) else kind
    if _is_text(value) or _is_bytes(value):
        return np.dtype(f"{'<U' if _is_text(value) else 'S'}{seen.width}")
    if pa.types.is_timestamp(value) or pa.types.is_date(value):
        unit = value.unit if pa.types.is_timestamp(value) else "D" if pa.types.is_date32(value) else "ms"
        return np.dtype(f"<M8[{unit}]")
    plain = pa.types.is_floating(value) or not seen.nulls
    return np.dtype(value.to_pandas_dtype() if plain else np.float64).newbyteorder("<")


def _row(field: pa.Field, seen: _Seen) -> tuple[int, ...]:
    if not _is_list(field.type):
        return ()
    if len(seen.lengths) > 1 or None in seen.lengths:
        raise ValueError(f"column {field.name!r} has lists that are null or of several lengths")
    return tuple(length or 0 for length in seen.lengths) or (0,)


def _check_width(field: pa.Field, seen: _Seen, size: int) -> None:
    if seen.zero_ended:
        raise ValueError(f"column {field.name!r} has values that end in zeros, which NumPy would lose")
    if size > _WIDEST:
        raise ValueError(f"column {field.name!r} has values of up to {seen.width} characters, {size} bytes as an array")


def _values(column: pa.Array, dtype: np.dtype) -> Array:
    kind = column.type
    if _is_list(kind):
        return _values(column.flatten(), dtype)
    if dtype.kind in "US":
        return np.array([value or dtype.type() for value in column.to_pylist()], dtype)
    if pa.types.is_boolean(kind) and dtype.kind == "f":
        column = column.cast(pa.uint8())
    if dtype.kind == "f":
        column = column.cast(pa.from_numpy_dtype(dtype), safe=False)
    values: Array = column.to_numpy(zero_copy_only=False).astype(dtype, copy=False)
    return values


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))
