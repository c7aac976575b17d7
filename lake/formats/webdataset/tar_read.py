"""Read the members of a tar archive in one pass: ustar and pax (POSIX.1-2017, pax), GNU long names and large sizes.

The checksum of every header is verified. Names stay bytes and are only data: nothing is ever extracted or followed.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeAlias
from zlib import adler32

from lake.core.records import Fault
from lake.formats.common.byte_stream import Window

TAR_BLOCK = 512
WRONG_CHECKSUM = "the checksum of a member's header does not match"
MALFORMED_PAX = "a pax header is malformed"
_ZEROS = bytes(TAR_BLOCK)
_MODULUS = 65521  # modulus of adler32
_EXTENSION_LIMIT = 1 << 20  # most bytes of a pax or long-name header; real ones have some hundred
_COMMENT_LIMIT = 64 << 20  # most bytes of a global one: its comment may have a scale for each number of a latent
_NUMBER = re.compile(rb" *([0-7]+)[ \0]*")
TIMES = re.compile(rb"(?:[0-9]+ [acm]time=[0-9.]+\n)+")
_FILE, _PAX = ord("0"), ord("x")
# Type flags of headers.
_REGULAR = (b"0", b"\0", b"7")  # 7: contiguous, treated as regular
_DIRECTORY = (b"5", b"D")
_EXTENSIONS = (b"x", b"X", b"g", b"L", b"K", b"V")  # describe the members that follow, or (V) the archive
_EMPTY = (b"1", b"2", b"3", b"4", b"6")  # no data follows, whatever the size field says
_SPARSE, _SPARSE_NAME = b"GNU.sparse", b"GNU.sparse.name"
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
    b"S": "a sparse file",
}

# Name, size, data, and in words what a member is that is no regular file ("" for a file), or the fault of one whose
# header is damaged. Data is None for such members, and if the size is over the limit. A plain tuple, since one is made
# for every member.
TarMember: TypeAlias = tuple[bytes, int, bytes | None, str | Fault]


def tar_members(
    window: Window,
    limit: int,
    reads: Callable[[bytes], bool] = lambda _: True,
    lasting: dict[bytes, bytes] | None = None,
) -> Iterator[TarMember]:
    """All members except directories, to the end of the archive, or of the window's slice of it.

    Args:
      window: over the archive, at its start.
      limit: the data of a member with more bytes is skipped.
      reads: whether the data of a member with this name is of use; of any other one it may be empty.
      lasting: receives the fields that global headers set for all members that follow.

    Raises:
      ShardError: the checksum or size of a header is wrong, the archive is truncated (a block of zeros marks its end),
        or something follows the end.
      UnreadableError: the store failed.
    """
    next_fields: dict[bytes, bytes] = {}  # fields that extension headers set for the next member
    global_fields = {} if lasting is None else lasting
    while header := _header(window):
        data, start = window.data, window.pos + TAR_BLOCK
        kind, size = header[156], stated_number(header[124:136])
        end = len(data) + 1 if size is None or size > limit else start + size + -size % TAR_BLOCK
        # The two common cases are handled here, if all is in the window: a plain file, and a pax header that only has
        # times. The others take the slower path.
        if end <= len(data) and kind == _FILE and not (next_fields or global_fields):
            window.pos = end
            yield _name(header), size or 0, data[start : start + (size or 0)], ""
        elif end <= len(data) and kind == _PAX and TIMES.fullmatch(data, start, start + (size or 0)):
            window.pos = end
        else:
            window.pos = start
            if member := _member(window, header, limit, reads, next_fields, global_fields):
                yield member


def _member(
    window: Window,
    header: bytes,
    limit: int,
    reads: Callable[[bytes], bool],
    next_fields: dict[bytes, bytes],
    global_fields: dict[bytes, bytes],
) -> TarMember | None:
    """The member of a header that was read; None for a directory or an extension header."""
    kind, size = header[156:157], _size(window, header[124:136])
    if kind in _EXTENSIONS:
        limit = _COMMENT_LIMIT if kind == b"g" else _EXTENSION_LIMIT
        _apply_extension(window, kind, _extension(window, size, limit), next_fields, global_fields)
        return None
    fields = global_fields | next_fields
    next_fields.clear()
    name = fields.get(_SPARSE_NAME) or fields.get(b"path") or _name(header)
    size = _size(window, fields[b"size"], decimal=True) if b"size" in fields else size
    if kind in _REGULAR and _SPARSE not in fields:
        data = _data(window, size, limit) if size > limit or reads(name) else _passed(window, size)
        # Archives older than ustar mark a directory by a slash at the end of its name.
        return None if kind == b"\0" and name.endswith(b"/") else (name, size, data, "")
    _pass_over(window, header, kind, size)
    if kind in _DIRECTORY:
        return None
    return name, size, None, _KINDS.get(b"S" if kind in _REGULAR else kind, f"of type {kind!r}")


def _apply_extension(
    window: Window, kind: bytes, data: bytes, next_fields: dict[bytes, bytes], global_fields: dict[bytes, bytes]
) -> None:
    """Apply an extension header to the fields of the next member, or of all that follow."""
    if kind == b"L":
        next_fields.setdefault(b"path", data.partition(b"\0")[0])
    elif kind in (b"x", b"X", b"g"):
        (global_fields if kind == b"g" else next_fields).update(_pax(window, data))


def is_header(header: bytes) -> bool:
    """Whether a block is a tar header, by its checksum.

    Args:
      header: 512 bytes.
    """
    # The low half of adler32 is the sum of the bytes plus one, modulo a prime, computed at C speed.
    return adler32(header) & 0xFFFF == _expected(header[148:156]) and len(header) == TAR_BLOCK


@lru_cache(maxsize=1 << 14)
def _expected(field: bytes) -> int | None:
    """The low half of adler32 of a header with this checksum field, which counts as 8 spaces in its own sum."""
    stored = stated_number(field)
    return None if stored is None else (1 + stored - 8 * 32 + sum(field)) % _MODULUS


def _is_signed_header(header: bytes) -> bool:
    # Some old programs summed their bytes as signed.
    rest = header[:148] + b" " * 8 + header[156:]
    return sum(rest) - 256 * sum(byte > 127 for byte in rest) == stated_number(header[148:156])


def _header(window: Window) -> bytes | None:
    """The next header, at the window's position; None at the archive's end, and of an archive of 0 bytes."""
    pos = window.pos
    header = window.data[pos : pos + TAR_BLOCK]
    if len(header) < TAR_BLOCK:
        if not window.need(TAR_BLOCK):
            if window.at_edge:
                return None
            if (
                not window.offset and not window.data
            ):  # a file of 0 bytes, or a packed one of nothing, is an archive to tar
                return None
            raise window.damage("the archive is cut: no block of zeros marks its end")
        header = window.data[:TAR_BLOCK]
    if adler32(header) & 0xFFFF == _expected(header[148:156]) or _is_signed_header(header):
        return header
    if header != _ZEROS:
        raise window.damage(WRONG_CHECKSUM)
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
    # GNU's old format ("ustar  ") has times where POSIX has the prefix.
    if header[345] and header[257:263] == b"ustar\0":
        return header[345:500].partition(b"\0")[0] + b"/" + name
    return name


def _size(window: Window, field: bytes, *, decimal: bool = False) -> int:
    size = (int(field) if field.isdigit() and len(field) <= 20 else None) if decimal else stated_number(field)
    if size is None:
        raise window.damage(f"the size of a member is no number ({field!r})", window.offset - TAR_BLOCK)
    return size


@lru_cache(maxsize=1 << 14)
def stated_number(field: bytes) -> int | None:
    r"""The number in a field of a header, in octal digits, or in base 256 if the first bit is set (GNU); None for none.

    >>> stated_number(b"0000644\0"), stated_number(b"644x")
    (420, None)
    """
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    match = _NUMBER.fullmatch(field)
    return int(match[1], 8) if match else None


def _data(window: Window, size: int, limit: int) -> bytes | None:
    """The data of a member, skipped if it is too large (None). The window is then at the next header."""
    if size > limit:
        _skip(window, size)
        return None
    padded = size + -size % TAR_BLOCK
    if not window.need(padded):
        raise window.damage(f"truncated within a member of {size} bytes")
    pos = window.pos
    window.pos = pos + padded
    return window.data[pos : pos + size]


def _passed(window: Window, size: int) -> bytes:
    """Pass over the data of a member that is of no use."""
    _skip(window, size)
    return b""


def _skip(window: Window, size: int) -> None:
    start = window.offset
    if not window.skip(size + -size % TAR_BLOCK):
        raise window.damage(f"truncated within a member of {size} bytes", start)


def _pass_over(window: Window, header: bytes, kind: bytes, size: int) -> None:
    if kind == b"S":  # GNU: the map of a sparse file may continue in further blocks
        more = header[482]
        while more:
            block = _data(window, TAR_BLOCK, TAR_BLOCK) or b""
            more = block[504]
    _skip(window, 0 if kind in _EMPTY else size)


def _extension(window: Window, size: int, limit: int) -> bytes:
    start = window.offset
    data = _data(window, size, limit)
    if data is None:
        raise window.damage(f"a pax or long-name header of {size} bytes", start)
    return data


def archive_comment(window: Window) -> bytes | None:
    """The comment of the archive's first header, if that is a global pax header; else None.

    Args:
      window: over the archive, at its start.

    Raises:
      ShardError: the header is damaged.
      UnreadableError: the store failed.
    """
    header = _header(window)
    if header is None or header[156:157] != b"g":
        return None
    window.pos += TAR_BLOCK
    data = _extension(window, _size(window, header[124:136]), _COMMENT_LIMIT)
    return dict(_records(window, data)).get(b"comment")


def _pax(window: Window, data: bytes) -> dict[bytes, bytes]:
    """The records of a pax header that affect a member's name, size or kind."""
    found = dict[bytes, bytes]()
    for key, value in _records(window, data):
        if key in (b"path", b"size", _SPARSE_NAME):
            found[key] = value
        if key.startswith(_SPARSE):
            found[_SPARSE] = b""
    return found


def _records(window: Window, data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The records "length key=value" of a pax header."""
    pos = 0
    while pos < len(data):
        digits = data[pos : pos + 20].partition(b" ")[0]
        end = pos + int(digits) if digits.isdigit() else 0
        key, equals, value = data[pos + len(digits) + 1 : end].partition(b"=")
        if not equals or end > len(data) or data[end - 1] != ord("\n"):
            raise window.damage(MALFORMED_PAX)
        yield key, value[:-1]
        pos = end
