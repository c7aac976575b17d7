"""A command-line option as a value, and the types of values that options take."""

import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from lake.core.choices import choose, quoted
from lake.core.quantities import parse_bytes, parse_count, parse_share, plain_bytes, plain_count, plain_share

N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of a command. Its default is that of the dataclass field that it sets, and is stated only there.

    Attributes:
      flag: the option as typed, such as ``--max-pixels``.
      field: name of the dataclass field that it sets.
      help: one line of help; ``{default}`` stands for the field's default.
      type: converts text, or a value of Python, to the field's value; raises ``ValueError`` for a bad one.
      choices: the allowed values.
      metavar: name of the value in the help.
      required: the command cannot run without it.
      many: takes any number of values and may be given several times.
      repeated: takes one value and may be given several times.
      switch: takes no value and sets the field to the opposite of its default.
      arity: takes exactly this number of values.
      group: heading below which the help lists it, one of ``lake.cli.parser.GROUPS``.
      takes: what a value is, for the text of an error; None where the type is one of this module, which says it.
    """

    flag: str
    field: str
    help: str
    type: Callable[[Any], Any] = str
    choices: tuple[str, ...] | None = None
    metavar: str | None = None
    required: bool = False
    many: bool = False
    repeated: bool = False
    switch: bool = False
    arity: int | None = None
    group: str = "options"
    takes: str | None = None

    def described(self, default: Any) -> str:
        """The help text with the default filled in.

        Args:
          default: of the option's field.

        >>> Option(flag="--n", field="n", help="how many (default {default})", type=size).described(1 << 27)
        'how many (default 128MiB)'
        """
        return self.help.format(default=self.plain(default))

    def plain(self, value: Any) -> Any:
        """A value as a user would write it, where that is another form than its own: a size, a share.

        Args:
          value: of the field; None where there is none.

        >>> Option(flag="--n", field="n", help="", type=fraction).plain(0.05)
        '5%'
        """
        return value if value is None or self.type not in _PLAIN else _PLAIN[self.type](value)

    @property
    def several(self) -> bool:
        """Whether the field has several values."""
        return self.many or self.repeated or bool(self.arity)

    def parse(self, value: Any) -> Any:
        """The field's value, from what a user gives: text, or a value of Python. A parsed value stays as it is.

        Args:
          value: of an option that takes several, one item or any iterable of items.

        Raises:
          ValueError: the option takes no such value; the text says what it takes.

        >>> Option(flag="--input", field="input", many=True, help="shards").parse("shards/")
        ('shards/',)
        """
        if not self.several:
            return self.parse_one(value)
        alone = isinstance(value, (str, bytes, os.PathLike)) or not isinstance(value, Iterable)
        items = [value] if alone else list(value)
        if self.arity and len(items) != self.arity:
            raise ValueError(f"takes {self.arity} values, and is given {len(items)}")
        return tuple(self.parse_one(item) for item in items)

    def parse_one(self, value: Any) -> Any:
        """One item of an option that takes several; of others, the value.

        Raises:
          ValueError: the option takes no such value; the text says what it takes.
        """
        if self.choices:
            return choose(value, self.choices)
        kind = switch if self.switch else word if self.type is str else self.type
        try:
            if isinstance(value, bool) and kind is not switch:  # which Python takes for the numbers 0 and 1
                raise ValueError(value)
            return kind(value)
        except (ValueError, TypeError, OverflowError) as error:
            takes = self.takes or _TAKES.get(kind)
            remedy = f"; give {takes}" if takes else ""
            raise ValueError(f"invalid {kind.__name__} value: {quoted(value)}{remedy}") from error


def size(value: Any) -> int:
    """Parse a positive number of bytes, with or without a unit.

    Raises:
      ValueError: the value is no such number.

    >>> size("10MB"), size("1.5GiB"), size("1.5K")
    (10000000, 1610612736, 1536)
    """
    return _within(parse_bytes(value) if isinstance(value, str) else _whole(value), 1)


def area(value: Any) -> int:
    """Parse a positive number of pixels, or height and width.

    Raises:
      ValueError: the value is no such number.

    >>> area("1024x1024"), area("1M")
    (1048576, 1048576)
    """
    if isinstance(value, str) and "x" in value:
        height, width = map(positive, value.split("x"))
        return height * width
    return _within(parse_count(value) if isinstance(value, str) else _whole(value), 1)


def level(value: Any) -> float:
    """Parse a positive finite number.

    Raises:
      ValueError: the value is no such number.

    >>> level("255")
    255.0
    """
    if (number := _finite(value)) <= 0:
        raise ValueError(value)
    return number


def finite_number(value: Any) -> float:
    """Parse a finite number.

    Raises:
      ValueError: the value is no such number.

    >>> finite_number("-0.5")
    -0.5
    """
    return _finite(value)


def sides(value: Any) -> tuple[int, int, int]:
    """Parse height, width and channels of an image; without channels it has one.

    Raises:
      ValueError: the value is no such numbers.

    >>> sides("28,28"), sides("32x32x3"), sides([28, 28, 1])
    ((28, 28, 1), (32, 32, 3), (28, 28, 1))
    """
    parts = value.replace("x", ",").split(",") if isinstance(value, str) else [*value]
    height, width, *channels = (positive(part) for part in parts)
    (depth,) = channels or (1,)
    return height, width, depth


def fraction(value: Any) -> float:
    """Parse a number from 0 to 1, or 0% to 100%.

    Raises:
      ValueError: the value is no such number.

    >>> fraction("5%"), fraction("0.05")
    (0.05, 0.05)
    """
    return _within(_finite(parse_share(value) if isinstance(value, str) else value), 0, 1)


def count(value: Any) -> int:
    """Parse an integer of at least 0.

    Raises:
      ValueError: the value is no such integer.
    """
    return _within(_whole(value), 0)


def positive(value: Any) -> int:
    """Parse an integer of at least 1.

    Raises:
      ValueError: the value is no such integer.
    """
    return _within(_whole(value), 1)


def percent(value: Any) -> int:
    """Parse an integer from 1 to 100.

    Raises:
      ValueError: the value is no such integer.

    >>> percent("95"), percent(95)
    (95, 95)
    """
    return _within(_whole(value), 1, 100)


def ensemble(value: Any) -> int:
    """Parse 1, 4 or 8: how many symmetries of a square an image is shown by.

    Raises:
      ValueError: the value is none of these.

    >>> ensemble("4"), ensemble(8)
    (4, 8)
    """
    if (number := _whole(value)) not in (1, 4, 8):
        raise ValueError(value)
    return number


def word(value: Any) -> str:
    """Parse a name, a URI or a path, which may be an ``os.PathLike``.

    Raises:
      ValueError: the value is no text, or empty.

    >>> from pathlib import Path
    >>> word(Path("shards"))
    'shards'
    """
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not text:
        raise ValueError(value)
    return text


def number_or_word(value: Any) -> str:
    """Parse text that may be a number, and keep it as text.

    Raises:
      ValueError: the value is neither.

    >>> number_or_word(25)
    '25'
    """
    if isinstance(value, (str, os.PathLike)):
        return word(value)
    return str(_whole(value) if hasattr(value, "__index__") else _finite(value))


def switch(value: Any) -> bool:
    """Parse true or false.

    Raises:
      ValueError: the value is neither.

    >>> switch("false"), switch(True)
    (False, True)
    """
    if isinstance(value, str):
        return {"true": True, "false": False}[choose(value.lower(), ("true", "false"))]
    if type(value).__name__ not in ("bool", "bool_"):  # NumPy's too, which need not be imported for this
        raise ValueError(value)
    return bool(value)


# What a value of each type is, for the text of an error.
_TAKES: Mapping[Callable[[Any], Any], str] = {
    size: "a number of bytes above 0, as 10MB, 1.5GiB or 4096",
    area: "height and width, as 1024x1024, or a number of pixels, as 64M",
    level: "a number above 0",
    finite_number: "a finite number",
    sides: "height, width and channels, as 28,28,1",
    fraction: "a number from 0 to 1, or a share as 5%",
    count: "a whole number of at least 0",
    positive: "a whole number above 0",
    percent: "a whole number from 1 to 100",
    ensemble: "1, 4 or 8",
    word: "some text",
    number_or_word: "a number or some text",
    switch: "true or false",
}
# How a value is written back.
_PLAIN: Mapping[Callable[[Any], Any], Callable[[Any], str]] = {
    size: plain_bytes,
    area: plain_count,
    fraction: plain_share,
}


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, str) else operator.index(value)


def _finite(value: Any) -> float:
    if not math.isfinite(number := float(value)):
        raise ValueError(value)
    return number


def _within(value: N, low: int, high: int | None = None) -> N:
    if value < low or (high is not None and value > high):
        raise ValueError(value)
    return value
