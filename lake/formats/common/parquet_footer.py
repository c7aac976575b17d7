"""The bytes of a Parquet footer, looked at before Arrow parses them.

A footer is one struct, ``FileMetaData`` of https://github.com/apache/parquet-format. Arrow descends into a schema by
recursion, so one that is very deep would end the process. One pass over the bytes tells its depth, and which names the
footer holds.
"""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from lake.formats.common.thrift import LISTS, NUMBERS, Walk

MOST_LEVELS = 100  # of nested groups; a list has two
_SCHEMA, _CHILDREN = 2, 5  # field ids in FileMetaData and in SchemaElement


@dataclass(frozen=True, slots=True, kw_only=True)
class FooterScan:
    """What one pass over a footer tells.

    Attributes:
      levels: of nested groups in the schema, without its root.
      strings: how often each string occurs: in the schema once for each column and group, and in each row group once
        for each column below it.
    """

    levels: int
    strings: Counter[bytes]


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
        levels = walk.file()
    except IndexError as error:
        raise pa.ArrowInvalid("its footer is cut") from error
    return FooterScan(levels=levels, strings=walk.strings)


class _Walk(Walk):
    """A position in a footer that moves on field by field."""

    def file(self) -> int:
        """Pass over the whole struct; the levels of its schema."""
        levels, last = 0, 0
        for number, kind in self.fields():
            if number <= last:  # a second schema would replace the first one
                raise pa.ArrowInvalid("its footer has fields that are not in order")
            last = number
            if number == _SCHEMA and kind in LISTS:
                levels = self._schema()
            else:
                self.value(kind, 1)
        return levels

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
            if number == _CHILDREN and kind in NUMBERS:
                children = self.signed()
            else:
                self.value(kind, 2)
        return children
