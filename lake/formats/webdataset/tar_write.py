"""Write tar members: ustar if name and size fit, else with a pax header (POSIX.1-2017, pax).

Mode is 0644, and there is no owner or time, so a member's bytes depend on its name and data alone.
"""

from itertools import count
from struct import Struct
from zlib import adler32

_BLOCK = 512
_NAME, _PREFIX = 100, 155  # bytes of the fields
_MOST = 0o77777777777  # the largest size that the size field can hold
_PADDING = tuple(bytes(-size % _BLOCK) for size in range(_BLOCK))
_IDS = b"0000644\0" + 2 * b"0000000\0"
_TIME = b"\0" + b"00000000000\0"
_MAGIC = bytes(100) + b"ustar\00000" + bytes(80)
_FIXED = sum(_IDS + _TIME + _MAGIC) + 8 * ord(" ")  # the checksum field counts as spaces in its own sum
_pack = Struct("<100s24s11s13s8s1s188s155s12x").pack

END = bytes(2 * _BLOCK)


def member(name: bytes, data: bytes) -> tuple[bytes, bytes, bytes]:
    """The header, data and padding of a regular file.

    >>> header, data, padding = member(b"0001.txt", b"cat")
    >>> len(header), len(data + padding)
    (512, 512)
    """
    size = len(data)
    return tar_header(name, size), data, _PADDING[size % _BLOCK]


def comment(text: bytes) -> bytes:
    """A global pax header with a comment on the whole archive: no member, so readers of samples do not meet it.

    Args:
      text: in UTF-8. Python has it as ``tarfile.open(path).pax_headers["comment"]``.

    >>> len(comment(b"made on Monday"))
    1024
    """
    record = _record(b"comment", text)
    return _block(b"././@PaxHeader", len(record), b"g") + record + _PADDING[len(record) % _BLOCK]


def tar_header(name: bytes, size: int) -> bytes:
    """The header of a regular file, after a pax header if one is needed.

    Args:
      name: of the file, any bytes.
      size: bytes of its data.
    """
    if size <= _MOST and b"\0" not in name:
        if len(name) <= _NAME:
            return _block(name, size)
        # Split at the first slash that leaves a short enough name. The prefix before it must not be empty.
        cut = name.find(b"/", len(name) - _NAME - 1)
        if 0 < cut <= _PREFIX and cut < len(name) - 1:
            return _block(name[cut + 1 :], size, prefix=name[:cut])
    return _pax(name, size)


def _block(name: bytes, size: int, kind: bytes = b"0", prefix: bytes = b"") -> bytes:
    digits = b"%011o" % size
    # The low half of adler32 is the sum of the bytes, at C speed; it cannot overflow for fields this short.
    total = _FIXED + (adler32(name + digits, 0) & 0xFFFF) + (adler32(prefix, 0) & 0xFFFF) + kind[0]
    return _pack(name, _IDS, digits, _TIME, b"%06o\0 " % total, kind, _MAGIC, prefix)


def _pax(name: bytes, size: int) -> bytes:
    records = [] if _is_utf8(name) else [_record(b"hdrcharset", b"BINARY")]
    records.append(_record(b"path", name))
    if size > _MOST:
        records.append(_record(b"size", b"%d" % size))
    pax = b"".join(records)
    # Readers that know no pax headers see a cut name.
    stand_in = _block(name[:_NAME], size if size <= _MOST else 0)
    return _block(b"././@PaxHeader", len(pax), b"x") + pax + _PADDING[len(pax) % _BLOCK] + stand_in


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" %b=%b\n" % (key, value)
    # The length includes its own digits.
    length = next(n for n in count(len(rest) + 1) if n == len(rest) + len(b"%d" % n))
    return b"%d%b" % (length, rest)


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
