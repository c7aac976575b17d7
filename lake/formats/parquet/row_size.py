"""How large a row can be: a dictionary has a value once, whatever number of rows refer to it.

The sizes in a footer therefore say nothing about the size of decoded rows: 900 bytes may hold 4,096 rows of 20 MiB.
Read a few at a time they fit into memory, but they still take the time of 80 GiB.
"""

from collections.abc import Sequence
from functools import cached_property
from io import SEEK_END
from itertools import accumulate
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake.formats.common.parquet_file import open_parquet, without_arrow_schema

_MOST = 64 << 30  # bytes of a row group that unpacks to more than _TIMES its file's size
_TIMES = 100_000


class RowSizes:
    """Upper bounds of the sizes of a file's rows, by their dictionaries.

    Nothing is read before the first question.

    Args:
      stream: the file.
      footer: the bytes of its footer.
    """

    def __init__(self, stream: BinaryIO, footer: bytes) -> None:
        self._stream, self._footer = stream, footer
        self._known = dict[tuple[int, tuple[str, ...] | None], int]()  # a row group is read twice to prove it first

    @cached_property
    def _dictionaries(self) -> pq.ParquetFile:
        """The file with columns of bytes and text as dictionaries."""
        plain = without_arrow_schema(self._footer)  # Arrow's types may be others than those of dictionaries
        files = [leaf.path for leaf in _leaves(plain.schema) if leaf.physical_type == "BYTE_ARRAY"]
        return open_parquet(self._stream, metadata=plain, read_dictionary=files)

    def check(self, group: int, rows: int, longest: int) -> None:
        """Refuse a row group that would take hours to unpack from almost nothing.

        Args:
          group: number of the row group.
          rows: its number of rows.
          longest: bytes of its longest row.

        Raises:
          pa.ArrowInvalid: it is such a group.
        """
        size, unpacked = self._stream.seek(0, SEEK_END), rows * longest
        if unpacked > max(_MOST, _TIMES * size):
            raise pa.ArrowInvalid(f"row group {group} unpacks to {unpacked:,} bytes, from a file of {size:,}")

    def longest(self, group: int, columns: Sequence[str] | None) -> int:
        """Bytes of a row whose values are all the longest ones of their dictionaries.

        Args:
          group: number of the row group.
          columns: paths of the columns; None for all.
        """
        key = group, None if columns is None else tuple(columns)
        if key not in self._known:
            self._known[key] = self._longest(group, columns)
        return self._known[key]

    def _longest(self, group: int, columns: Sequence[str] | None) -> int:
        chosen = None if columns is None else {*columns}
        leaves = [leaf for leaf in _leaves(self._dictionaries.schema) if _among(leaf.path, chosen)]
        fixed: int = sum(leaf.length for leaf in leaves if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY")
        files = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        if not files:
            return fixed
        # Reading one row reads the dictionaries.
        rows = self._dictionaries.iter_batches(1, row_groups=[group], columns=files, use_threads=False)
        first = next(rows, None)
        return fixed + (0 if first is None else sum(map(_longest, first.columns)))


def _leaves(schema: pq.ParquetSchema) -> list[pq.ColumnSchema]:
    return [schema.column(at) for at in range(len(schema))]


def _among(path: str, columns: set[str] | None) -> bool:
    """Whether a leaf is one of some columns, or below one."""
    return columns is None or not columns.isdisjoint(accumulate(path.split("."), "{}.{}".format))


def _longest(column: pa.Array) -> int:
    """Bytes of the longest values of a column's dictionaries."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return int(pc.max(pc.binary_length(column.dictionary)).as_py() or 0)
    if pa.types.is_struct(kind):
        return sum(map(_longest, column.flatten()))
    return max(len(column.values), 1) * _longest(column.values)  # a list, or a map, as long as the first one
