"""The members of a tar archive in one pass: ustar and pax (POSIX.1-2017, pax), GNU long names and large sizes.

Every header's checksum is checked. Names stay bytes and are only data; nothing is ever extracted or followed.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TypeAlias
from zlib import adler32

from pipeline.readers.stream import Window

BLOCK = 512
_ZEROS = bytes(BLOCK)
_MODULUS = 65521  # of adler32
_EXTENSION_LIMIT = 1 << 20  # bytes of a pax or long-name header; real ones have some hundred
_NUMBER = re.compile(rb" *([0-7]+)[ \0]*")
_TIMES = re.compile(rb"(?:[0-9]+ [acm]time=[0-9.]+\n)+")
_FILE, _PAX = ord("0"), ord("x")
_REGULAR = (b"0", b"\0", b"7")  # 7: contiguous, treated as regular
_DIRECTORY = (b"5", b"D")
_EXTENSIONS = (b"x", b"X", b"g", b"L", b"K", b"V")  # say something of what follows, or (V) of the archive
_EMPTY = (b"1", b"2", b"3", b"4", b"6")  # no data follows, whatever their size field says
_SPARSE, _SPARSE_NAME = b"GNU.sparse", b"GNU.sparse.name"
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
    b"S": "a sparse file",
}

# Name, size, data, and what a member that is no regular file is, in words ("" for a file). Data is None for these,
# and where the size is over the limit. A plain tuple: one is made for every member.
Member: TypeAlias = tuple[bytes, int, bytes | None, str]


def members(window: Window, limit: int) -> Iterator[Member]:
    """All members but directories, to the end of the archive; the data of those over ``limit`` bytes is passed over.

    Raises:
      ShardError: a header's checksum or a size does not hold, the archive is cut (its end is marked by a block of
        zeros), or something follows the end.
      UnreadableError: the store failed.
    """
    told: dict[bytes, bytes] = {}  # what extension headers have said of the next member
    always: dict[bytes, bytes] = {}  # and global ones of all that follow
    while header := _header(window):
        data, start = window.data, window.pos + BLOCK
        kind, size = header[156], _number(header[124:136])
        end = len(data) + 1 if size is None or size > limit else start + size + -size % BLOCK
        # The common cases first, where all is in the window: a file whose header says all, and times of the next one.
        if end <= len(data) and kind == _FILE and not (told or always):
            window.pos = end
            yield _name(header), size or 0, data[start : start + (size or 0)], ""
        elif end <= len(data) and kind == _PAX and _TIMES.fullmatch(data, start, start + (size or 0)):
            window.pos = end
        else:
            window.pos = start
            if member := _member(window, header, limit, told, always):
                yield member


def _member(
    window: Window, header: bytes, limit: int, told: dict[bytes, bytes], always: dict[bytes, bytes]
) -> Member | None:
    """The member whose header was read; None for a directory or an extension header."""
    kind, size = header[156:157], _size(window, header[124:136])
    if kind in _EXTENSIONS:
        _hear(window, kind, _extension(window, size), told, always)
        return None
    said = always | told
    told.clear()
    name = said.get(_SPARSE_NAME) or said.get(b"path") or _name(header)
    size = _size(window, said[b"size"], decimal=True) if b"size" in said else size
    if kind in _REGULAR and _SPARSE not in said:
        data = _data(window, size, limit)
        return None if kind == b"\0" and name.endswith(b"/") else (name, size, data, "")
    _pass_over(window, header, kind, size)
    if kind in _DIRECTORY:
        return None
    return name, size, None, _KINDS.get(b"S" if kind in _REGULAR else kind, f"of type {kind!r}")


def _hear(window: Window, kind: bytes, data: bytes, told: dict[bytes, bytes], always: dict[bytes, bytes]) -> None:
    if kind == b"L":
        told.setdefault(b"path", data.partition(b"\0")[0])
    elif kind in (b"x", b"X", b"g"):
        (always if kind == b"g" else told).update(_pax(window, data))


def is_header(header: bytes) -> bool:
    """Whether 512 bytes are a tar header: their sum is the one that they state."""
    # The low half of adler32 is the sum of the bytes plus one: at C speed.
    return adler32(header) & 0xFFFF == _expected(header[148:156]) and len(header) == BLOCK


@lru_cache(maxsize=1 << 14)
def _expected(field: bytes) -> int | None:
    """What adler32's low half must be where this is the checksum field, which counts as 8 spaces in its own sum."""
    stored = _number(field)
    return None if stored is None else (1 + stored - 8 * 32 + sum(field)) % _MODULUS


def _is_signed_header(header: bytes) -> bool:
    # Some old programs summed their bytes as signed.
    rest = header[:148] + b" " * 8 + header[156:]
    return sum(rest) - 256 * sum(byte > 127 for byte in rest) == _number(header[148:156])


def _header(window: Window) -> bytes | None:
    """The next header, where the window stands; None at the archive's end."""
    pos = window.pos
    header = window.data[pos : pos + BLOCK]
    if len(header) < BLOCK:
        if not window.need(BLOCK):
            raise window.damage("the archive is cut: no block of zeros marks its end")
        header = window.data[:BLOCK]
    if adler32(header) & 0xFFFF == _expected(header[148:156]) or _is_signed_header(header):
        return header
    if header != _ZEROS:
        raise window.damage("the checksum of a member's header does not match")
    _end(window)
    return None


def _end(window: Window) -> None:
    while window.need(1):
        rest = window.data[window.pos :]
        if rest.strip(b"\0"):
            window.pos += len(rest) - len(rest.lstrip(b"\0"))
            raise window.damage("data after the archive's end (archives are joined with tar --concatenate, not cat)")
        window.pos += len(rest)


def _name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    # GNU's own format ("ustar  ") keeps times where POSIX keeps the prefix.
    if header[345] and header[257:263] == b"ustar\0":
        return header[345:500].partition(b"\0")[0] + b"/" + name
    return name


def _size(window: Window, field: bytes, *, decimal: bool = False) -> int:
    size = (int(field) if field.isdigit() and len(field) <= 20 else None) if decimal else _number(field)
    if size is None:
        raise window.damage(f"the size of a member is no number ({field!r})", window.offset - BLOCK)
    return size


@lru_cache(maxsize=1 << 14)
def _number(field: bytes) -> int | None:
    """A number in octal digits, or in base 256 where the first bit is set (GNU)."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    match = _NUMBER.fullmatch(field)
    return int(match[1], 8) if match else None


def _data(window: Window, size: int, limit: int) -> bytes | None:
    """The data of a member, passed over where it is too much; the window then stands at the next header."""
    if size > limit:
        _skip(window, size)
        return None
    padded = size + -size % BLOCK
    if not window.need(padded):
        raise window.damage(f"truncated within a member of {size} bytes")
    pos = window.pos
    window.pos = pos + padded
    return window.data[pos : pos + size]


def _skip(window: Window, size: int) -> None:
    start = window.offset
    if not window.skip(size + -size % BLOCK):
        raise window.damage(f"truncated within a member of {size} bytes", start)


def _pass_over(window: Window, header: bytes, kind: bytes, size: int) -> None:
    if kind == b"S":  # GNU: the map of a sparse file may go on in further blocks
        more = header[482]
        while more:
            block = _data(window, BLOCK, BLOCK) or b""
            more = block[504]
    _skip(window, 0 if kind in _EMPTY else size)


def _extension(window: Window, size: int) -> bytes:
    start = window.offset
    data = _data(window, size, _EXTENSION_LIMIT)
    if data is None:
        raise window.damage(f"a pax or long-name header of {size} bytes", start)
    return data


def _pax(window: Window, data: bytes) -> dict[bytes, bytes]:
    """The records "length key=value" of a pax header that say something of where a member is; others may be many."""
    found, pos = dict[bytes, bytes](), 0
    while pos < len(data):
        digits = data[pos : pos + 20].partition(b" ")[0]
        end = pos + int(digits) if digits.isdigit() else 0
        key, equals, value = data[pos + len(digits) + 1 : end].partition(b"=")
        if not equals or end > len(data) or data[end - 1] != ord("\n"):
            raise window.damage("a pax header is malformed")
        if key in (b"path", b"size", _SPARSE_NAME):
            found[key] = value[:-1]
        if key.startswith(_SPARSE):
            found[_SPARSE] = b""
        pos = end
    return found
