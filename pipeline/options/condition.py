"""What a conditional model is told of each record: where a job reads it, and values that a user gives."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lake.core.choices import quoted
from lake.core.printable import printable
from model.condition import Condition

_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,19}\s*")
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionSource:
    """Where a job reads what the model is told.

    Attributes:
      condition: what the model is told.
      column: the carried column with it.
      field: field of the JSON that the column holds; None where the column holds the condition itself.
    """

    condition: Condition
    column: str
    field: str | None = None

    @property
    def name(self) -> str:
        """Of the column, and the field in it, as a user gives it."""
        return self.column if self.field is None else f"{self.column}.{self.field}"


def class_of(value: object, condition: Condition) -> int:
    """The number of a class.

    Args:
      value: a number, its text, or the name of a class; one of a list of one.
      condition: what the model is told.

    Raises:
      ValueError: it is no class of the model; the text says what it takes.

    >>> three = Condition(input="y", column="y", length=1, classes=3, names=("cat", "dog", "eel"))
    >>> class_of("dog", three), class_of(2.0, three), class_of(b"0", three)
    (1, 2, 0)
    """
    assert condition.classes is not None
    found = value[0] if isinstance(value, list) and len(value) == 1 else value
    text = found.decode(errors="replace") if isinstance(found, bytes) else found
    if isinstance(text, str):
        if text in condition.names:
            return condition.names.index(text)
        number = int(text) if _INTEGER.fullmatch(text) else None
    elif isinstance(text, (float, np.floating)):
        number = int(text) if np.isfinite(text) and text == int(text) else None
    else:
        number = int(text) if isinstance(text, (int, np.integer)) else None
    if number is None or not 0 <= number < condition.classes:
        names = f", {printable(', '.join(condition.names[:5]), 100)}" if condition.names else ""
        raise ValueError(f"{quoted(value)}, no class from 0 to {condition.classes - 1}{names}")
    return number


def numbers_of(value: object, condition: Condition) -> tuple[float, ...]:
    """The numbers that a model is told.

    Args:
      value: a list of them, or one where the model takes one.
      condition: what the model is told.

    Raises:
      ValueError: they are not as many as the model takes, or not finite.

    >>> numbers_of([0.5, 1], Condition(input="y", column="y", length=2))
    (0.5, 1.0)
    """
    found: Sequence[Any] = value if isinstance(value, (list, tuple)) else [value]
    numbers = all(isinstance(one, (int, float)) and abs(one) <= _LARGEST for one in found)
    if not numbers or len(found) != condition.length:
        what = "a finite number" if condition.length == 1 else f"a list of {condition.length} finite numbers"
        raise ValueError(f"{quoted(value)}, not {what}")
    return tuple(float(one) for one in found)


def condition_of_text(text: str, condition: Condition) -> Any:
    """A condition as a user types it: a class, or numbers with a colon between them.

    Args:
      text: as typed.
      condition: what the model is told.

    Raises:
      ValueError: the model takes no such condition.

    >>> condition_of_text("0.5:-1", Condition(input="y", column="y", length=2))
    (0.5, -1.0)
    """
    if condition.classes is not None:
        return class_of(text, condition)
    try:
        numbers = [float(part) for part in text.split(":")]
    except ValueError:
        raise ValueError(f"{quoted(text)}, not numbers with a colon between them") from None
    return numbers_of(numbers, condition)
