"""What a command says on a terminal. Names and texts of data may hold escapes, line breaks and keys of stores."""

import logging
import sys
import traceback

from lake.core.printable import printable
from lake.storage.redact import without_users

_MOST = 2000  # characters of an error or of a line


def line_of(text: str) -> str:
    r"""Return a text as one line without control characters and without users and passwords of URLs.

    >>> line_of("s3://KEY:SECRET@bucket/a\n: no such key")
    's3://bucket/a\\n: no such key'
    """
    return printable(without_users(text), _MOST)


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


def log_in_lines() -> None:
    """Let the records of a process that has set up no logging be written as one line each."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LineFormatter())
