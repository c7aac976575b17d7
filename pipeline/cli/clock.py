"""Times as a person reads them."""


def clock(seconds: float) -> str:
    """Return a time as hours, minutes and seconds, without hours below one.

    >>> clock(83.6), clock(3600)
    ('1:24', '1:00:00')
    """
    minutes, hours = round(seconds) // 60, round(seconds) // 3600
    return f"{hours}:{minutes % 60:02d}:{round(seconds) % 60:02d}" if hours else f"{minutes}:{round(seconds) % 60:02d}"
