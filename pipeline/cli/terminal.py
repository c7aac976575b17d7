"""What a command says on a terminal. Names and texts of data may hold escapes, line breaks and keys of stores."""

import logging
import sys
import traceback

from lake.core.printable import printable
from lake.storage.redact import without_users

_MOST = 2000  # characters of an error or of a line
_SIZES = ((10**3, "kB"), (10**6, "MB"), (10**9, "GB"))  # bytes


def line_of(text: str) -> str:
    r"""Return a text as one line without control characters and without users and passwords of URLs.

    >>> line_of("s3://KEY:SECRET@bucket/a\n: no such key")
    's3://bucket/a\\n: no such key'
    """
    return printable(without_users(text), _MOST)


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


def clock(seconds: float) -> str:
    """Return a time as hours, minutes and seconds, without hours below one.

    >>> clock(83.6), clock(3600)
    ('1:24', '1:00:00')
    """
    minutes, hours = round(seconds) // 60, round(seconds) // 3600
    return f"{hours}:{minutes % 60:02d}:{round(seconds) % 60:02d}" if hours else f"{minutes}:{round(seconds) % 60:02d}"


def print_error(error: BaseException, *, trace: bool) -> None:
    """Print an error on stderr, as one line.

    Args:
      error: the error.
      trace: whether its trace comes before it.
    """
    if trace:
        for part in traceback.format_exception(error):
            print("\n".join(map(line_of, part.rstrip("\n").split("\n"))), file=sys.stderr)
    print(f"error: {line_of(str(error))}", file=sys.stderr)


class LineFormatter(logging.Formatter):
    """Log messages as one line each. A trace keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return line_of(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802
        return "\n".join(map(line_of, super().formatException(ei).split("\n")))  # type: ignore[arg-type]
