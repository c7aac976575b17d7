"""The bytes of a Parquet footer, looked at before Arrow parses them.

A footer is one struct, ``FileMetaData`` of https://github.com/apache/parquet-format. Arrow descends into a schema by
recursion, so one that is very deep would end the process. One pass over the bytes tells its depth, which names the
footer holds, and where it says that pages are.
"""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from lake.formats.common.thrift import LISTS, STRUCT, Walk

MOST_LEVELS = 100  # of nested groups; a list has two
_SCHEMA, _ROW_GROUPS, _CHILDREN = 2, 4, 5  # field ids in FileMetaData and in SchemaElement
_COLUMNS, _TOTAL, _ROWS, _COLUMN = 1, 2, 3, 3  # in RowGroup and in ColumnChunk
_PACKED, _DATA, _DICTIONARY = 7, 9, 11  # in ColumnMetaData


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group, as the footer has it.

    Attributes:
      rows: number of rows.
      size: bytes of its pages, unpacked.
      chunks: first byte in the file of each column's pages, in the order of the schema's leaves, and the byte after the
        last one.
    """

    rows: int
    size: int
    chunks: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FooterScan:
    """What one pass over a footer tells.

    Attributes:
      levels: of nested groups in the schema, without its root.
      strings: how often each string occurs: in the schema once for each column and group, and in each row group once
        for each column below it.
      groups: the row groups.
    """

    levels: int
    strings: Counter[bytes]
    groups: tuple[RowGroup, ...]


# A file is opened several times, and its footer may have tens of thousands of columns.
@lru_cache(maxsize=2)
def scan_footer(footer: bytes) -> FooterScan:
    """Look at a footer, in time that grows with its size.

    Args:
      footer: the bytes of ``FileMetaData``.

    Raises:
      pa.ArrowInvalid: it is no such struct, or its schema has more than ``MOST_LEVELS`` levels.
    """
    walk = _Walk(footer)
    try:
        levels, groups = walk.file()
    except IndexError as error:
        raise pa.ArrowInvalid("its footer is cut") from error
    return FooterScan(levels=levels, strings=walk.strings, groups=groups)


class _Walk(Walk):
    """A position in a footer that moves on field by field."""

    def file(self) -> tuple[int, tuple[RowGroup, ...]]:
        """Pass over the whole struct; the levels of its schema, and its row groups."""
        levels, groups = 0, tuple[RowGroup, ...]()
        for number, kind in self.fields():
            if number == _SCHEMA and kind in LISTS:
                levels = self._schema()
            elif number == _ROW_GROUPS and kind in LISTS:
                groups = tuple(self._group() for _ in self.items(kind))
            else:
                self.value(kind, 1)
        return levels, groups

    def _group(self) -> RowGroup:
        chunks, size, rows = tuple[tuple[int, int], ...](), 0, 0
        for number, kind in self.fields():
            if number == _COLUMNS and kind in LISTS:
                chunks = tuple(self._chunk() for _ in self.items(kind))
            elif number == _TOTAL:
                size = self.integer(kind)
            elif number == _ROWS:
                rows = self.integer(kind)
            else:
                self.value(kind, 2)
        return RowGroup(rows, size, chunks)

    def _chunk(self) -> tuple[int, int]:
        known = {_PACKED: 0, _DATA: 0, _DICTIONARY: 0}
        for number, kind in self.fields():
            if number != _COLUMN or kind != STRUCT:
                self.value(kind, 3)
                continue
            for inner, kind_of_inner in self.fields():
                if inner in known:
                    known[inner] = self.integer(kind_of_inner)
                else:
                    self.value(kind_of_inner, 4)
        # A place of 0 is none, and some writers state the dictionary's after that of the data.
        start = min(known[_DATA], known[_DICTIONARY] or known[_DATA])
        return start, start + known[_PACKED]

    def _schema(self) -> int:
        count, _ = self.list_header()
        deepest, open_groups = 0, list[int]()  # children that are still to come, of each group around the position
        for _ in range(count):
            children = self._element()
            while open_groups and not open_groups[-1]:
                open_groups.pop()
            if open_groups:
                open_groups[-1] -= 1
            if children > 0:
                open_groups.append(children)
                deepest = max(deepest, len(open_groups) - 1)
            if deepest > MOST_LEVELS:
                raise pa.ArrowInvalid(f"its schema has more than {MOST_LEVELS} levels of groups")
        return deepest

    def _element(self) -> int:
        """Pass over one element of the schema; the number of its children."""
        children = 0
        for number, kind in self.fields():
            if number == _CHILDREN:
                children = self.integer(kind, 32)
            else:
                self.value(kind, 2)
        return children
