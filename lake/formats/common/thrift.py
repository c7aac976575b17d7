"""Values of Thrift's compact protocol, passed over one by one: the structs of a Parquet file.

See https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

import re
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

_MOST_FIELD = 2**15 - 1  # number of a field
_MOST_STRUCTS = 64  # of nested structs, as in Thrift's own reader
_BOOLS, _BYTE, NUMBERS, _DOUBLE, _BINARY, LISTS, _MAP, STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, (9, 10), 11, 12

_VARINT = re.compile(rb"[\x80-\xff]{0,9}+[\x00-\x7f]")
# A run of fields that are numbers or booleans, which are most fields of a footer.
_NUMBER_FIELD = b"".join(re.escape(bytes([delta << 4 | kind])) for delta in range(1, 16) for kind in NUMBERS)
_BOOL_FIELD = b"".join(re.escape(bytes([delta << 4 | kind])) for delta in range(1, 16) for kind in _BOOLS)
_RUN = re.compile(rb"(?:[%b][\x80-\xff]*+[\x00-\x7f]|[%b])*+" % (_NUMBER_FIELD, _BOOL_FIELD), re.DOTALL)


class Walk:
    """A position in bytes that moves on value by value. It raises ``IndexError`` at their end.

    Args:
      data: the bytes; a struct begins at the first one.

    Attributes:
      at: the position.
      strings: how often each string was passed.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0
        self.strings: Counter[bytes] = Counter()

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and type of each field up to the end of a struct; the caller passes over its value.

        Raises:
          pa.ArrowInvalid: they are not in order, as every writer has them, or are beyond 16 bits, of which Arrow takes
            the lower ones. It takes the last one of a number and the right type.
        """
        number = 0
        while head := self._data[self.at]:
            self.at += 1
            last, number = number, number + (head >> 4) if head >> 4 else self.signed()
            if not last < number <= _MOST_FIELD:
                raise pa.ArrowInvalid("it has fields that are not in order")
            yield number, head & 15
        self.at += 1

    def items(self, kind: int) -> Iterator[None]:
        """Each item of a list of structs; the caller passes over it.

        Args:
          kind: type of the field.
        """
        count, item = self.list_header() if kind in LISTS else (0, STRUCT)
        if count and item != STRUCT:
            raise pa.ArrowInvalid("it has a list of other values than structs")
        for _ in range(count):
            yield

    def integer(self, kind: int, bits: int = 64) -> int:
        """The value of a field of a whole number.

        Args:
          kind: type of the field.
          bits: of the number, 32 or 64.

        Raises:
          pa.ArrowInvalid: it has another type, so that Arrow passes over it, or more bits, of which Arrow takes some.
        """
        if kind != NUMBERS[bits // 32]:
            raise pa.ArrowInvalid(f"it has a field of the type {kind} in place of a number of {bits} bits")
        if not -(1 << bits - 1) <= (value := self.signed()) < 1 << bits - 1:
            raise pa.ArrowInvalid(f"it has a number of more than {bits} bits")
        return value

    def signed(self) -> int:
        """A number in zigzag."""
        zigzag = self._number()
        return zigzag >> 1 ^ -(zigzag & 1)

    def value(self, kind: int, depth: int) -> None:
        """Pass over a value.

        Args:
          kind: its type.
          depth: structs around it.
        """
        if kind in NUMBERS:
            self._number()
        elif kind == _BINARY:
            self._string()
        elif kind == STRUCT:
            self._struct(depth)
        elif kind in LISTS:
            count, item = self.list_header()
            self._items(count, (item,), depth)
        elif kind == _MAP:
            if count := self._number():
                kinds = self._byte()
                self._items(count, (kinds >> 4, kinds & 15), depth)
        elif kind in (_BYTE, _DOUBLE):
            self.at += 1 if kind == _BYTE else 8
        elif kind not in _BOOLS:
            raise pa.ArrowInvalid(f"it has a field of the unknown type {kind}")

    def list_header(self) -> tuple[int, int]:
        """Number and type of the items of a list."""
        head = self._byte()
        return (self._number() if head >> 4 == 15 else head >> 4), head & 15

    def _struct(self, depth: int) -> None:
        if depth > _MOST_STRUCTS:
            raise pa.ArrowInvalid("it is nested too deeply")
        while True:
            if run := _RUN.match(self._data, self.at):
                self.at = run.end()
            if not (head := self._byte()):
                return
            if not head >> 4:
                self._number()
            self.value(head & 15, depth + 1)

    def _items(self, count: int, kinds: tuple[int, ...], depth: int) -> None:
        for _ in range(count):
            for kind in kinds:
                if kind in _BOOLS:
                    self.at += 1
                else:
                    self.value(kind, depth)
            if self.at > len(self._data):
                raise IndexError

    def _string(self) -> None:
        size = self._number()
        end = self.at + size
        if end > len(self._data):
            raise IndexError
        self.strings[self._data[self.at : end]] += 1
        self.at = end

    def _byte(self) -> int:
        byte = self._data[self.at]
        self.at += 1
        return byte

    def _number(self) -> int:
        if (byte := self._data[self.at]) < 128:  # as most are
            self.at += 1
            return byte
        if (found := _VARINT.match(self._data, self.at)) is None:
            raise IndexError
        value = 0
        for byte in reversed(found[0]):
            value = value << 7 | byte & 127
        self.at = found.end()
        return value
