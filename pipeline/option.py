"""What an option of the command line is, and the kinds of values that options take."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of the job. ``field`` names the field of ``Settings`` that it sets."""

    flag: str
    field: str
    help: str
    type: Callable[[str], Any] = str
    default: Any = None
    choices: tuple[str, ...] | None = None
    metavar: str | None = None
    required: bool = False
    many: bool = False
    switch: bool = False  # sets the field to the opposite of its default
    arity: int | None = None  # exactly so many values


def size(text: str) -> int:
    """A number of bytes or pixels, with an optional K, M or G (powers of 1,024).

    Raises:
      ValueError: the text is not such a number, or not positive.
    """
    scale = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:].upper(), 1)
    value = int(float(text[:-1]) * scale) if scale > 1 else int(text)
    if value <= 0:
        raise ValueError(text)
    return value


def fraction(text: str) -> float:
    """A number from 0 to 1.

    Raises:
      ValueError: it is not.
    """
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value


def count(text: str) -> int:
    """A number from 0 on.

    Raises:
      ValueError: it is not.
    """
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def positive(text: str) -> int:
    """A number from 1 on.

    Raises:
      ValueError: it is not.
    """
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def percent(text: str) -> int:
    """A number from 1 to 100.

    Raises:
      ValueError: it is not.
    """
    value = int(text)
    if not 1 <= value <= 100:
        raise ValueError(text)
    return value
