"""What a terminal can show: whether it moves its cursor, how wide it is, and what a bar is made of."""

import locale
import os
from typing import TextIO

COLUMNS = 80  # of a terminal that does not say how many it has
BLOCKS, ASCII = "█░", "#-"
_DUMB = ("", "dumb", "unknown")  # terminals that know no escapes, by $TERM
_OLD = ("vt", "ansi", "cons", "sun")  # beginnings of $TERM of terminals that show ASCII only


def moves_cursor(stream: TextIO) -> bool:
    """Whether a line can be replaced by the next one.

    Args:
      stream: what is written to.
    """
    return stream.isatty() and os.environ.get("TERM", "") not in _DUMB


def columns_of(descriptor: int) -> int:
    """Width of a terminal, which changes while it is used.

    Args:
      descriptor: of the open terminal.
    """
    try:
        return os.get_terminal_size(descriptor).columns or COLUMNS
    except OSError:
        return COLUMNS


def blocks_of_terminal() -> str:
    """What a bar is made of: blocks, or ASCII where the encoding or ``$TERM`` asks for it."""
    # Not the encoding of stderr: Python writes UTF-8 also where the terminal is told to show ASCII only (LC_ALL=C).
    unicode = locale.getencoding().lower().replace("-", "") == "utf8" and _told() not in ("", "C", "POSIX")
    return BLOCKS if unicode and not os.environ.get("TERM", "").startswith(_OLD) else ASCII


def bar(share: float, size: int, blocks: str) -> str:
    """A bar.

    Args:
      share: what is done, 0 to 1.
      size: characters.
      blocks: what stands for work that is done, and for the rest.

    >>> bar(0.3, 10, ASCII)
    '###-------'
    """
    filled = int(share * size)
    return blocks[0] * filled + blocks[1] * (size - filled)


def _told() -> str:
    """The locale that the environment names. Python itself sets LC_CTYPE where that is C (PEP 538)."""
    names = {name: os.environ.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG")}
    set_by_python = names["LC_CTYPE"] in ("C.UTF-8", "C.utf8", "UTF-8")
    return names["LC_ALL"] or ("" if set_by_python else names["LC_CTYPE"]) or names["LANG"]
