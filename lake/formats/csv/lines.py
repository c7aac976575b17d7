"""The lines of one shard, plain or compressed, in order and in bounded memory."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from lake.core.errors import ShardError
from lake.core.records import Shard
from lake.formats.common.byte_stream import Window


class Line(NamedTuple):
    """One line that is not blank.

    Attributes:
      number: counted from 1, with blank lines.
      text: without its end; its first bytes if it is too long.
      size: bytes.
    """

    number: int
    text: bytes
    size: int


class Lines:
    """Reads lines.

    Args:
      shard: the file.
      limit: bytes of a line that are held.
      salvage: give nothing that a gzip checksum contradicts.
    """

    def __init__(self, shard: Shard, limit: int, *, salvage: bool = False) -> None:
        self._window, self._limit = Window(shard, proven=salvage), limit
        self._lines: Iterator[Line] = self._read()

    def give_back(self, lines: Sequence[Line]) -> None:
        """Lines that were taken and come first again."""
        self._lines = chain(lines, self._lines)

    def take(self, count: int, room: int) -> tuple[list[Line], ShardError | None]:
        """The next lines, and the damage that follows them, if any.

        Args:
          count: the most lines.
          room: bytes at which to stop.
        """
        taken, total = list[Line](), 0
        try:
            while len(taken) < count and total < room and (line := next(self._lines, None)):
                taken.append(line)
                total += len(line.text)
        except ShardError as damage:
            return taken, damage
        return taken, None

    def close(self) -> None:
        """Close the shard."""
        self._window.close()

    def _read(self) -> Iterator[Line]:
        number = 0
        while (found := self._next()) is not None:
            number += 1
            text, size = found
            if text := text.strip(b"\r\n \xef\xbb\xbf" if number == 1 else b"\r\n "):
                yield Line(number, text, size)

    def _next(self) -> tuple[bytes, int] | None:
        """The first bytes of the next line, and how many it has; None at the end."""
        window, text, size = self._window, b"", 0
        while window.need(1):  # no more: damage that follows must not cost lines before it
            end = window.data.find(b"\n", window.pos)
            stop = len(window.data) if end < 0 else end + 1
            size += stop - window.pos
            text += window.data[window.pos : min(stop, window.pos + self._limit + 1 - len(text))]
            window.pos = stop
            if end >= 0:
                break
        return (text, size) if size else None
