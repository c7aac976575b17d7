"""Headers of pages: how large a page is, what it holds, and its checksum.

See ``PageHeader`` of https://github.com/apache/parquet-format.
"""

from dataclasses import dataclass

import pyarrow as pa

from lake.formats.common.thrift import NUMBERS, STRUCT, Walk

DATA_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2 = 0, 2, 3  # kinds of pages
PLAIN = 0  # an encoding
_KIND, _UNPACKED, _PACKED, _CRC = 1, 2, 3, 4  # field ids in PageHeader
_OWN = {DATA_PAGE: 5, DICTIONARY_PAGE: 7, DATA_PAGE_V2: 8}  # field of PageHeader with more, by the kind of page
_VALUES, _ROWS = 1, 3  # field ids in that struct; only a DATA_PAGE_V2 has rows
_ENCODING = {DATA_PAGE: 2, DICTIONARY_PAGE: 2, DATA_PAGE_V2: 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class PageHeader:
    """What is read of a header.

    Attributes:
      size: bytes of the header itself.
      unpacked: bytes of the page, unpacked.
      packed: bytes of the page in the file.
      kind: such as ``DICTIONARY_PAGE``.
      crc: CRC-32 of the page in the file; None if it has none.
      values: how many the page holds, nulls too.
      rows: how many; None where the header does not say so.
      encoding: of the values.
    """

    size: int
    unpacked: int
    packed: int
    kind: int
    crc: int | None
    values: int
    rows: int | None
    encoding: int


def read_page_header(data: bytes) -> PageHeader:
    """Read a header.

    Args:
      data: begins with it.

    Raises:
      IndexError: the header goes on after these bytes.
      pa.ArrowInvalid: it is none.
    """
    walk, own, inner = Walk(data), dict[int, int](), dict[int, dict[int, int]]()
    for number, kind in walk.fields():
        if number in (_KIND, _UNPACKED, _PACKED, _CRC):
            own[number] = walk.integer(kind, 32)
        elif kind == STRUCT and number in _OWN.values():
            inner[number] = _numbers(walk)
        else:
            walk.value(kind, 1)
    sizes = own.get(_KIND, 0), own.get(_UNPACKED, 0), own.get(_PACKED, 0)
    if min(sizes) < 0:
        raise pa.ArrowInvalid(f"a page of {min(sizes)} bytes")
    kind, unpacked, packed = sizes
    more = inner.get(_OWN.get(kind, 0), {})
    return PageHeader(
        size=walk.at,
        unpacked=unpacked,
        packed=packed,
        kind=kind,
        crc=own[_CRC] & 0xFFFFFFFF if _CRC in own else None,
        values=more.get(_VALUES, 0),
        rows=more.get(_ROWS) if kind == DATA_PAGE_V2 else None,
        encoding=more.get(_ENCODING.get(kind, 0), -1),
    )


def _numbers(walk: Walk) -> dict[int, int]:
    """The fields of a struct that are numbers of 32 bits, by their number."""
    found = dict[int, int]()
    for number, kind in walk.fields():
        if kind == NUMBERS[1]:
            found[number] = walk.integer(kind, 32)
        else:
            walk.value(kind, 2)
    return found
