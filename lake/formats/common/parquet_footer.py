"""The bytes of a Parquet footer, looked at before Arrow parses them.

A footer is one struct of Thrift's compact protocol
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md), ``FileMetaData`` of
https://github.com/apache/parquet-format. Arrow descends into a schema by recursion, so one that is very deep would end
the process. One pass over the bytes tells its depth, and which names the footer holds.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

MOST_LEVELS = 100  # of nested groups; a list has two
_MOST_STRUCTS = 64  # of nested Thrift structs, as in Thrift's own reader
_SCHEMA, _CHILDREN = 2, 5  # field ids in FileMetaData and in SchemaElement
_BOOLS, _BYTE, _NUMBERS, _DOUBLE, _BINARY, _LISTS, _MAP, _STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, (9, 10), 11, 12

_VARINT = re.compile(rb"[\x80-\xff]{0,9}+[\x00-\x7f]")
# A run of fields that are numbers or booleans, which are most fields of a footer.
_NUMBER_FIELD = b"".join(re.escape(bytes([delta << 4 | kind])) for delta in range(1, 16) for kind in _NUMBERS)
_BOOL_FIELD = b"".join(re.escape(bytes([delta << 4 | kind])) for delta in range(1, 16) for kind in _BOOLS)
_RUN = re.compile(rb"(?:[%b][\x80-\xff]*+[\x00-\x7f]|[%b])*+" % (_NUMBER_FIELD, _BOOL_FIELD), re.DOTALL)


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


class _Walk:
    """A position in a footer that moves on field by field."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self.strings: Counter[bytes] = Counter()

    def file(self) -> int:
        """Pass over the whole struct; the levels of its schema."""
        levels, last = 0, 0
        for number, kind in self._fields():
            if number <= last:  # a second schema would replace the first one
                raise pa.ArrowInvalid("its footer has fields that are not in order")
            last = number
            if number == _SCHEMA and kind in _LISTS:
                levels = self._schema()
            else:
                self._value(kind, 1)
        return levels

    def _schema(self) -> int:
        count, _ = self._list_header()
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
        for number, kind in self._fields():
            if number == _CHILDREN and kind in _NUMBERS:
                zigzag = self._number()
                children = zigzag >> 1 ^ -(zigzag & 1)
            else:
                self._value(kind, 2)
        return children

    def _fields(self) -> Iterator[tuple[int, int]]:
        """Number and type of each field up to the end of a struct; the caller passes over its value."""
        number = 0
        while head := self._byte():
            if head >> 4:
                number += head >> 4
            else:
                zigzag = self._number()
                number = zigzag >> 1 ^ -(zigzag & 1)
            yield number, head & 15

    def _struct(self, depth: int) -> None:
        if depth > _MOST_STRUCTS:
            raise pa.ArrowInvalid("its footer is nested too deeply")
        while True:
            if run := _RUN.match(self._data, self._at):
                self._at = run.end()
            if not (head := self._byte()):
                return
            if not head >> 4:
                self._number()
            self._value(head & 15, depth + 1)

    def _value(self, kind: int, depth: int) -> None:
        if kind in _NUMBERS:
            self._number()
        elif kind == _BINARY:
            self._string()
        elif kind == _STRUCT:
            self._struct(depth)
        elif kind in _LISTS:
            count, item = self._list_header()
            self._items(count, (item,), depth)
        elif kind == _MAP:
            if count := self._number():
                kinds = self._byte()
                self._items(count, (kinds >> 4, kinds & 15), depth)
        elif kind in (_BYTE, _DOUBLE):
            self._at += 1 if kind == _BYTE else 8
        elif kind not in _BOOLS:
            raise pa.ArrowInvalid(f"its footer has a field of the unknown type {kind}")

    def _items(self, count: int, kinds: tuple[int, ...], depth: int) -> None:
        for _ in range(count):
            for kind in kinds:
                if kind in _BOOLS:
                    self._at += 1
                else:
                    self._value(kind, depth)
            if self._at > len(self._data):
                raise IndexError

    def _list_header(self) -> tuple[int, int]:
        head = self._byte()
        return (self._number() if head >> 4 == 15 else head >> 4), head & 15

    def _string(self) -> None:
        size = self._number()
        end = self._at + size
        if end > len(self._data):
            raise IndexError
        self.strings[self._data[self._at : end]] += 1
        self._at = end

    def _byte(self) -> int:
        byte = self._data[self._at]
        self._at += 1
        return byte

    def _number(self) -> int:
        if (found := _VARINT.match(self._data, self._at)) is None:
            raise IndexError
        value = 0
        for byte in reversed(found[0]):
            value = value << 7 | byte & 127
        self._at = found.end()
        return value
