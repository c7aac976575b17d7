"""The pages of a column in one row group, each compared with its checksum; and a file without some of its pages.

See https://github.com/apache/parquet-format. Arrow reads a column from its first page to its last and cannot be told
to pass one over. It does so with pages of a kind that it has no use for (``INDEX_PAGE``), so it is shown such a page
instead of a damaged one.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from lake.formats.parquet.page_header import DATA_PAGE, DATA_PAGE_V2, DICTIONARY_PAGE, PageHeader, read_page_header

_HEAD, _MOST_HEAD = 4 << 10, 16 << 20  # bytes that are read of a page to find its header: at first, and at most
_OF_DICTIONARIES = (2, 8)  # encodings: PLAIN_DICTIONARY, RLE_DICTIONARY
_BLOCK = 1 << 20  # bytes whose checksum is computed at once
_INDEX_PAGE, _PASSED_OVER = 1, 15  # kind of a page, and bytes of the header that ``_passed_over`` makes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPage:
    """One page.

    Attributes:
      start: its first byte in the file, that of its header.
      header: as it stands there.
      sound: its checksum is right, or it has none.
    """

    start: int
    header: PageHeader
    sound: bool

    @property
    def end(self) -> int:
        """The byte after its last one."""
        return self.start + self.header.size + self.header.packed

    @property
    def is_dictionary(self) -> bool:
        """Whether it holds the values that other pages refer to."""
        return self.header.kind == DICTIONARY_PAGE

    @property
    def needs_dictionary(self) -> bool:
        """Whether its values are numbers of those in the dictionary."""
        return not self.is_dictionary and self.header.encoding in _OF_DICTIONARIES


def pages_of(stream: BinaryIO, chunk: tuple[int, int]) -> list[StoredPage]:
    """The pages of one column in one row group.

    Args:
      stream: the file.
      chunk: their first byte in it, and the byte after their last one.

    Raises:
      pa.ArrowInvalid: their headers, which have no checksum, do not lead from the first page to the last one.
    """
    found, at = list[StoredPage](), chunk[0]
    while at < chunk[1]:
        header = _header(stream, at, chunk[1])
        sound = header.crc is None or header.crc == _crc(stream, at + header.size, header.packed)
        found.append(StoredPage(start=at, header=header, sound=sound))
        at = found[-1].end
    if at != chunk[1]:
        raise pa.ArrowInvalid(f"its pages end at byte {at}, and its footer says {chunk[1]}")
    return found


def rows_of(pages: Sequence[StoredPage], leaf: pq.ColumnSchema, rows: int) -> list[tuple[int, int]]:
    """The rows of each page: the first one in the row group, and the one after the last; none of a dictionary.

    Args:
      pages: all of the column in a row group.
      leaf: the column.
      rows: of the row group.

    Raises:
      pa.ArrowInvalid: they do not add up, or are not told, as of pages of the first version with lists.
    """
    edges = [0, *accumulate(0 if page.is_dictionary else _rows(page.header, leaf) for page in pages)]
    if edges[-1] != rows:
        raise pa.ArrowInvalid(f"its pages have {edges[-1]} rows, and the row group {rows}")
    return list(pairwise(edges))


def _header(stream: BinaryIO, at: int, end: int) -> PageHeader:
    size = _HEAD
    while True:
        stream.seek(at)
        data = stream.read(min(size, end - at))
        try:
            return read_page_header(data)
        except IndexError as error:
            if len(data) < size or size >= _MOST_HEAD:
                raise pa.ArrowInvalid(f"no header of a page at byte {at}") from error
            size *= 16


def _rows(header: PageHeader, leaf: pq.ColumnSchema) -> int:
    rows = header.rows if leaf.max_repetition_level else header.values
    if header.kind not in (DATA_PAGE, DATA_PAGE_V2) or rows is None or rows <= 0:
        raise pa.ArrowInvalid("a page that does not tell its rows")
    return rows


def _crc(stream: BinaryIO, at: int, size: int) -> int:
    stream.seek(at)
    crc = 0
    while size and (data := stream.read(min(size, _BLOCK))):
        crc, size = zlib.crc32(data, crc), size - len(data)
    return crc


class WithoutPages:
    """A file in which some pages are such as Arrow passes over; everything else stands where it stood.

    Args:
      stream: the file.
      pages: to be passed over.
    """

    closed, mode = False, "rb"

    def __init__(self, stream: BinaryIO, pages: Sequence[StoredPage]) -> None:
        self._stream = stream
        self._heads = [(page.start, _passed_over(page.end - page.start)) for page in pages]

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        start = self._stream.tell()
        data = self._stream.read(size)
        for at, head in self._heads:
            if start - len(head) < at < start + len(data):
                changed = bytearray(data)
                first, stop = max(at, start), min(at + len(head), start + len(data))
                changed[first - start : stop - start] = head[first - at : stop - at]
                data = bytes(changed)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of the stream."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """As of the stream."""
        return self._stream.tell()


def _passed_over(size: int) -> bytes:
    """The header of an ``INDEX_PAGE`` that takes so many bytes with its page. No header with a checksum is shorter."""
    number = _number((size - _PASSED_OVER) << 1)
    return b"\x15" + bytes([_INDEX_PAGE << 1]) + b"\x15" + number + b"\x15" + number + b"\0"


def _number(value: int) -> bytes:
    """A number of Thrift's compact protocol in five bytes, which is the most of one of 32 bits."""
    return bytes(value >> 7 * at & 127 | (128 if at < 4 else 0) for at in range(5))
