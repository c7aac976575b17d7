"""A stream of a Parquet file that looks at the headers of pages as Arrow reads them, before it unpacks the pages.

The sizes in a footer decide how many rows are read at once, and nothing in Arrow compares them with those of the pages,
by which memory is taken. See https://github.com/apache/parquet-format.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import BinaryIO

import pyarrow as pa

from lake.formats.common.parquet_footer import RowGroup, scan_footer
from lake.formats.parquet.page_header import read_page_header

_SLACK = 1 << 30  # bytes by which pages may exceed a footer: some writers state 0, or compressed sizes


@dataclass(slots=True)
class _Group:
    """A row group: bytes of its pages by the footer, and by the headers that were seen."""

    stated: int
    seen: int = 0


@dataclass(slots=True)
class _Chunk:
    """The pages of one column in one row group.

    Attributes:
      group: its row group.
      start: its first byte in the file.
      end: the byte after its last one.
      following: where the next header begins.
      begun: the first bytes of a header that a read has cut.
      seen: bytes of its pages so far.
    """

    group: _Group
    start: int
    end: int
    following: int
    begun: bytes = b""
    seen: int = 0


class PageWatch:
    """Reads a file, and refuses a row group whose pages unpack to a GiB more than its footer says.

    Args:
      stream: the file.
      footer: the bytes of its footer, which Arrow has parsed.
    """

    closed, mode = False, "rb"

    def __init__(self, stream: BinaryIO, footer: bytes) -> None:
        self._stream, self._footer = stream, footer

    @cached_property
    def _chunks(self) -> list[_Chunk]:
        """By their places. Nothing is looked for before something is read."""
        chunks = chain.from_iterable(map(_of_group, scan_footer(self._footer).groups))
        found = sorted(chunks, key=lambda chunk: chunk.start)
        if any(one.end > other.start for one, other in pairwise(found)):
            raise pa.ArrowInvalid("its columns overlap")
        return found

    @cached_property
    def _starts(self) -> list[int]:
        return [chunk.start for chunk in self._chunks]

    def read(self, size: int = -1) -> bytes:
        """The next bytes.

        Raises:
          pa.ArrowInvalid: they begin pages that unpack to far more than the footer says.
        """
        start = self._stream.tell()
        data = self._stream.read(size)
        for at in range(max(bisect_right(self._starts, start) - 1, 0), len(self._chunks)):
            if self._chunks[at].start >= start + len(data):
                break
            _look(self._chunks[at], start, data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of the stream."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """As of the stream."""
        return self._stream.tell()


def _look(chunk: _Chunk, start: int, data: bytes) -> None:
    """Follow the headers of a chunk through bytes of the file that begin at a place."""
    end = min(start + len(data), chunk.end)
    if start <= chunk.start < end:  # from its beginning, maybe again
        chunk.group.seen -= chunk.seen
        chunk.following, chunk.begun, chunk.seen = chunk.start, b"", 0
    while start <= chunk.following + len(chunk.begun) < end:
        head = chunk.begun + data[chunk.following + len(chunk.begun) - start : end - start]
        try:
            header = read_page_header(head)
        except IndexError:  # it goes on in the next read
            chunk.begun = head
            return
        chunk.following, chunk.begun = chunk.following + header.size + header.packed, b""
        chunk.seen += header.size + header.unpacked
        chunk.group.seen += header.size + header.unpacked
        if chunk.group.seen > chunk.group.stated + _SLACK:
            stated, seen = chunk.group.stated, chunk.group.seen
            raise pa.ArrowInvalid(f"its pages unpack to {seen:,} bytes and more, and its footer says {stated:,}")


def _of_group(group: RowGroup) -> Iterator[_Chunk]:
    # Of no rows there are no pages, and Arrow writes 0 for their places. Nobody reads such a group.
    pages = _Group(max(group.size, 0))
    return (_Chunk(pages, start, end, start) for start, end in group.chunks if group.rows and end > start)
