"""Sizes and times as a person reads them."""

from lake.core.quantities import counted

_SIZES = ((10**3, "kB"), (10**6, "MB"), (10**9, "GB"))  # bytes


def size_text(count: int) -> str:
    """Return a number of bytes in the largest unit that leaves 1 or more, up to GB.

    >>> size_text(999), size_text(73_400_000)
    ('999 bytes', '73.4 MB')
    """
    if count < 1000:
        return counted(count, "byte")
    unit, name = next(((unit, name) for unit, name in _SIZES if round(count / unit, 1) < 1000), _SIZES[-1])
    return f"{count / unit:,.1f} {name}"


def clock(seconds: float) -> str:
    """Return a time as hours, minutes and seconds, without hours below one.

    >>> clock(83.6), clock(3600)
    ('1:24', '1:00:00')
    """
    minutes, hours = round(seconds) // 60, round(seconds) // 3600
    return f"{hours}:{minutes % 60:02d}:{round(seconds) % 60:02d}" if hours else f"{minutes}:{round(seconds) % 60:02d}"
