"""Sizes and shares as people write them, ``10MB``, ``1.5GiB``, ``5%``, read and written; and numbers of things."""

import math
import re

_SIZE = re.compile(r"\s*([0-9.eE+-]+?)\s*([KMGT]?)(i?)(B?)\s*", re.IGNORECASE)
_LETTERS = "KMGT"
_SIZES = ((10**3, "kB"), (10**6, "MB"), (10**9, "GB"))  # bytes
_BINARY = {letter: 1 << 10 * (power + 1) for power, letter in enumerate(_LETTERS)}
_DECIMAL = {letter: 1000 ** (power + 1) for power, letter in enumerate(_LETTERS)}


def parse_bytes(text: str) -> int:
    """A number of bytes: ``KB``, ``MB``, ``GB`` and ``TB`` are powers of 1,000, ``KiB`` and ``K`` alone of 1,024.

    Args:
      text: a number with or without a unit.

    Raises:
      ValueError: the text is none.

    >>> parse_bytes("10MB"), parse_bytes("1.5GiB"), parse_bytes("64k"), parse_bytes("512")
    (10000000, 1610612736, 65536, 512)
    """
    number, letter, binary, of_bytes = _parts(text)
    if binary and not (letter and of_bytes):
        raise ValueError(text)
    units = _DECIMAL if of_bytes and not binary else _BINARY
    return _whole(number, units[letter]) if letter else int(number)


def parse_count(text: str) -> int:
    """A number of pixels or other things: ``K``, ``M``, ``G`` and ``T`` are powers of 1,024, as of bytes.

    Args:
      text: a number with or without a unit.

    Raises:
      ValueError: the text is none.

    >>> parse_count("1.5K"), parse_count("7")
    (1536, 7)
    """
    number, letter, binary, of_bytes = _parts(text)
    if binary or of_bytes:
        raise ValueError(text)
    return _whole(number, _BINARY[letter]) if letter else int(number)


def parse_share(text: str) -> float:
    """A share, as a number or in percent. ``"0.7%"`` is the same number as ``"0.007"``, to the last bit.

    Args:
      text: a number, or one with ``%``.

    Raises:
      ValueError: the text is none.

    >>> parse_share("5%"), parse_share("0.05"), parse_share("0.7 %")
    (0.05, 0.05, 0.007)
    """
    percent = text.rstrip()
    return float(f"{percent[:-1].rstrip()}e-2") if percent.endswith("%") else float(text)


def plain_bytes(count: int) -> str:
    """A number of bytes as ``parse_bytes`` takes it, in the unit that needs the fewest digits.

    Args:
      count: of bytes.

    >>> plain_bytes(256 << 20), plain_bytes(3 << 29), plain_bytes(10_000_000), plain_bytes(12_345)
    ('256MiB', '1.5GiB', '10MB', '12345B')
    """
    return min(_forms(count, _BINARY, "iB") + _forms(count, _DECIMAL, "B") + [f"{count}B"], key=len)


def plain_count(count: int) -> str:
    """A number of pixels or other things as ``parse_count`` takes it.

    Args:
      count: of these.

    >>> plain_count(128 << 20), plain_count(12_345)
    ('128M', '12345')
    """
    return min([*_forms(count, _BINARY, ""), str(count)], key=len)


def plain_share(share: float) -> str:
    """A share in percent.

    Args:
      share: 0 to 1.

    >>> plain_share(0.05), plain_share(0.007), plain_share(1)
    ('5%', '0.7%', '100%')
    """
    return f"{share * 100:.10g}%"


def _parts(text: str) -> tuple[str, str, str, str]:
    if not (found := _SIZE.fullmatch(text)):
        raise ValueError(text)
    number, letter, binary, of_bytes = found.groups()
    return number, letter.upper(), binary, of_bytes


def _whole(number: str, unit: int) -> int:
    if not math.isfinite(size := float(number) * unit):
        raise ValueError(number)
    return round(size)


def _forms(count: int, units: dict[str, int], end: str) -> list[str]:
    """The count in each unit of which it is a whole number of tenths."""
    whole = ((name, unit) for name, unit in units.items() if count and count * 10 % unit == 0)
    return [f"{count / unit:.1f}".removesuffix(".0") + name + end for name, unit in whole]


def counted(count: int, what: str) -> str:
    """Return a number of things.

    >>> counted(1, "shard"), counted(1200, "shard")
    ('1 shard', '1,200 shards')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def size_text(count: int) -> str:
    """Return a number of bytes in the largest unit that leaves 1 or more, up to GB.

    >>> size_text(999), size_text(73_400_000)
    ('999 bytes', '73.4 MB')
    """
    if count < 1000:
        return counted(count, "byte")
    unit, name = next(((unit, name) for unit, name in _SIZES if round(count / unit, 1) < 1000), _SIZES[-1])
    return f"{count / unit:,.1f} {name}"
