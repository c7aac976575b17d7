"""How large a row can be: a dictionary has a value once, whatever number of rows refer to it.

The sizes in a footer therefore say nothing about the size of decoded rows: 900 bytes may hold 4,096 rows of 20 MiB.
Read a few at a time they fit into memory, but they still take the time of 80 GiB.

No value is longer than the dictionary that it is in, which is a column's first page. Where those pages are small their
headers tell enough, and nothing is unpacked. Other pages tell nothing of those after them.

Values that are written as differences from the one before (``DELTA_BYTE_ARRAY``) may be as much larger than the file,
and Arrow makes no dictionaries of them. Such a row group is read row by row first.
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
from lake.formats.common.parquet_footer import scan_footer
from lake.formats.parquet.page_header import DICTIONARY_PAGE, read_page_header

_HEAD = 4 << 10  # bytes that are read of a page to find its header, which may hold two of the values
MOST = 64 << 30  # bytes of a row group that unpacks to more than _TIMES its file's size
_TIMES = 100_000


class RowSizes:
    """Upper bounds of the sizes of a file's rows, by their dictionaries.

    Nothing is read before the first question.

    Args:
      stream: the file.
      footer: the bytes of its footer.
      schema: its columns.
    """

    def __init__(self, stream: BinaryIO, footer: bytes, schema: pq.ParquetSchema) -> None:
        self._stream, self._footer, self._schema = stream, footer, schema
        self._known = dict[tuple[int, tuple[str, ...] | None], int]()  # a row group is read twice to prove it first

    @cached_property
    def _leaves(self) -> list[pq.ColumnSchema]:
        return [self._schema.column(at) for at in range(len(self._schema))]

    @cached_property
    def _dictionaries(self) -> pq.ParquetFile:
        """The file with columns of bytes and text as dictionaries."""
        plain = without_arrow_schema(self._footer)  # Arrow's types may be others than those of dictionaries
        files = [leaf.path for leaf in self._leaves if leaf.physical_type == "BYTE_ARRAY"]
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
        if unpacked > max(MOST, _TIMES * size):
            raise pa.ArrowInvalid(f"row group {group} unpacks to {unpacked:,} bytes, from a file of {size:,}")

    def longest(self, group: int, columns: Sequence[str] | None, enough: int = 0) -> int:
        """Bytes of a row whose values are all the longest ones of their dictionaries.

        Args:
          group: number of the row group.
          columns: paths of the columns; None for all.
          enough: a number of bytes up to which an upper bound will do; it takes a tenth of the time.
        """
        if enough and (bound := self._bound(group, columns)) is not None and bound <= enough:
            return bound
        key = group, None if columns is None else tuple(columns)
        if key not in self._known:
            self._known[key] = self._longest(group, columns)
        return self._known[key]

    def _bound(self, group: int, columns: Sequence[str] | None) -> int | None:
        """Bytes of the dictionaries of columns; None where there is none, or rows are lists, which none bounds."""
        chosen, chunks = None if columns is None else {*columns}, scan_footer(self._footer).groups[group].chunks
        if len(chunks) != len(self._leaves):
            return None  # Arrow says what is wrong with it
        total = 0
        for leaf, chunk in zip(self._leaves, chunks, strict=True):
            if among(leaf.path, chosen):
                if (size := self._first_page(leaf, *chunk)) is None:
                    return None
                total += size
        return total

    def _first_page(self, leaf: pq.ColumnSchema, start: int, end: int) -> int | None:
        """Bytes that bound a column's values; None if they are not known from the header of its first page."""
        if leaf.physical_type != "BYTE_ARRAY":
            return leaf.length if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY" else 0
        if leaf.max_repetition_level or not 0 <= start < end:
            return None
        self._stream.seek(start)
        try:
            header = read_page_header(self._stream.read(min(_HEAD, end - start)))
        except IndexError:
            return None
        if header.kind != DICTIONARY_PAGE:
            return None
        return max(header.unpacked, header.packed)  # what is not packed is as large as it is in the file

    def _longest(self, group: int, columns: Sequence[str] | None) -> int:
        chosen = None if columns is None else {*columns}
        leaves = [leaf for leaf in self._leaves if among(leaf.path, chosen)]
        fixed: int = sum(leaf.length for leaf in leaves if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY")
        files = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        if not files:
            return fixed
        # Reading one row reads the dictionaries.
        rows = self._dictionaries.iter_batches(1, row_groups=[group], columns=files, use_threads=False)
        try:
            first = next(rows, None)
        except (OSError, pa.ArrowException):  # of damage as well, and then this says the same
            return fixed + self._longest_read(group, files)
        return fixed + (0 if first is None else sum(map(_longest, first.columns)))

    def _longest_read(self, group: int, columns: list[str]) -> int:
        """Bytes of the longest row of some columns. One is in memory at a time."""
        file, longest, total = open_parquet(self._stream, metadata=without_arrow_schema(self._footer)), 0, 0
        for row in file.iter_batches(1, row_groups=[group], columns=columns, use_threads=False):
            longest, total = max(longest, row.nbytes), total + row.nbytes
            self.check(group, 1, total)
        return longest


def among(path: str, columns: set[str] | None) -> bool:
    """Whether a leaf is one of some columns, or below one.

    Args:
      path: of the leaf.
      columns: their paths; None for all.

    >>> among("image.bytes", {"image"}), among("image", {"image.bytes"})
    (True, False)
    """
    return columns is None or not columns.isdisjoint(accumulate(path.split("."), "{}.{}".format))


def _longest(column: pa.Array) -> int:
    """Bytes of the longest values of a column's dictionaries."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return int(pc.max(pc.binary_length(column.dictionary)).as_py() or 0)
    if pa.types.is_struct(kind):
        return sum(map(_longest, column.flatten()))
    return max(len(column.values), 1) * _longest(column.values)  # a list, or a map, as long as the first one
