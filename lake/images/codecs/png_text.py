"""Texts in PNG chunks: tEXt, zTXt and iTXt (PNG specification, third edition, section 11.3.3)."""

import zlib
from collections.abc import Iterable

TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
XMP = b"XML:com.adobe.xmp"  # the keyword of its packet
_MOST_BYTES = 1 << 20  # of a text that is inflated


def last_text(data: bytes, chunks: Iterable[tuple[bytes, int, int]], keyword: bytes) -> bytes:
    """The last text under a keyword, its first MiB; empty if there is none or it is damaged.

    Args:
      data: the whole file.
      chunks: type, start of the content and length of some chunks, in order.
      keyword: of the text.
    """
    mark = keyword + b"\x00"
    found = [place for place in chunks if place[0] in TEXTS and data.startswith(mark, place[1])]
    if not found:
        return b""
    kind, start, length = found[-1]
    content = data[start + len(mark) : start + length]
    if kind == b"tEXt":
        return content
    return _inflated(content[1:]) if kind == b"zTXt" else _international(content)


def raw_profile(text: bytes) -> bytes:
    """The bytes of a profile that ImageMagick writes as text: a name, a length and hexadecimal digits.

    Args:
      text: the text; what is none gives no bytes.
    """
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""


def _international(content: bytes) -> bytes:
    """The text of an iTXt chunk after its keyword: flag, method, language, translated keyword."""
    _, _, rest = content[2:].partition(b"\x00")
    _, _, text = rest.partition(b"\x00")
    return _inflated(text) if content[:1] == b"\x01" else text


def _inflated(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, _MOST_BYTES)
    except zlib.error:
        return b""
