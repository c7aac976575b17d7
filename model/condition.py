"""What a conditional model is told of each record besides its image: a class, or some numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from lake.core.choices import quoted
from lake.core.errors import UsageError
from model.names import MAX_NAME, is_name
from model.pixels import Floats, Pixels

MAX_CLASSES = 1 << 20
MAX_NUMBERS = 1 << 20  # of a condition that is no class


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a conditional model is told, as it was in its training.

    Attributes:
      input: name of the model's second input.
      column: column of the records with the condition. ``json.label`` is the field ``label`` of the JSON in the column
        ``json``.
      length: how many numbers the input takes for a record.
      classes: number of classes, which are counted from 0; None where the condition is numbers.
      names: of the classes, in their order; none where records have their numbers.

    >>> Condition(input="label", column="label", length=10, classes=10).one_hot
    True
    """

    input: str
    column: str
    length: int
    classes: int | None = None
    names: tuple[str, ...] = ()

    @property
    def one_hot(self) -> bool:
        """Whether the input takes 0 for every class but the record's, which is 1; else it takes the class's number."""
        return self.classes is not None and self.length > 1

    @property
    def dtype(self) -> str:
        """Of the condition of a record: int64 for a class, float32 for numbers."""
        return "float32" if self.classes is None else "int64"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the condition of a record: () for a class, (k,) for numbers."""
        return (self.length,) if self.classes is None else ()

    def told(self, values: Pixels) -> Floats:
        """Conditions as the model's functions take them.

        Args:
          values: int64 ``[n]``, the classes; or float32 ``[n, length]``.

        Returns:
          float32 ``[n, length]``.

        >>> Condition(input="label", column="label", length=3, classes=3).told(np.array([2, 0])).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
        """
        if self.classes is None:
            return np.asarray(values, np.float32).reshape(-1, self.length)
        column = np.asarray(values).reshape(-1, 1)
        return np.asarray(column == np.arange(self.classes) if self.one_hot else column, np.float32)


def golden_conditions(condition: Condition, count: int, seed: int) -> Pixels:
    """Return the conditions of ``count`` golden inputs: classes from the first to the last, or seeded normal numbers.

    Args:
      condition: what the model is told.
      count: of the golden inputs.
      seed: of the numbers.

    >>> golden_conditions(Condition(input="y", column="y", length=1, classes=10), 4, 0).tolist()
    [0, 3, 6, 9]
    """
    if condition.classes is None:
        return np.random.default_rng(seed).standard_normal((count, condition.length), np.float32)
    return np.arange(count) * (condition.classes - 1) // max(count - 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionRequest:
    """What a person says of a condition: ``--condition INPUT=COLUMN`` and ``--condition-classes``.

    Attributes:
      input: name of the model's second input.
      column: column of the records.
      classes: number of classes; None for numbers.
      names: of the classes.
    """

    input: str
    column: str
    classes: int | None = None
    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, condition: str, classes: Sequence[str] | None) -> "ConditionRequest":
        """Read the two options.

        Args:
          condition: name of the input, and after a ``=`` that of the column where it is another.
          classes: the number of classes, or their names; None for a condition that is no class.

        Raises:
          UsageError: a name is empty, or there are no two classes.

        >>> ConditionRequest.parse("y=label", ["10"])
        ConditionRequest(input='y', column='label', classes=10, names=())
        """
        name, equals, column = condition.partition("=")
        if not name or (equals and not column):
            raise UsageError(f"--condition {quoted(condition)}: give the name of the input, or INPUT=COLUMN")
        request = cls(input=name, column=column or name)
        # The bundle is read back once it is written, and that would be late.
        if wrong := next((text for text in (name, column or name) if not is_name(text)), None):
            raise UsageError(
                f"--condition: {quoted(wrong)} is no name that a bundle can have; give one of at most {MAX_NAME} "
                "characters that can be printed"
            )
        if wrong := next((text for text in classes or () if len(text) > MAX_NAME), None):
            raise UsageError(f"--condition-classes {quoted(wrong)}: at most {MAX_NAME} characters for a class")
        if classes is None:
            return request
        if len(classes) == 1 and classes[0].isdecimal():
            if not 2 <= (count := int(classes[0])) <= MAX_CLASSES:
                raise UsageError(f"--condition-classes {count}: give a number of classes from 2 to {MAX_CLASSES}")
            return replace(request, classes=count)
        if len(classes) < 2 or len({*classes}) < len(classes) or not all(classes):
            shown = quoted(" ".join(classes))
            raise UsageError(f"--condition-classes {shown}: give the number of classes, or the name of each in order")
        return replace(request, classes=len(classes), names=tuple(classes))

    def settle(self, sides: Sequence[int | None], *, whole: bool) -> Condition:
        """Tell what the model's input takes.

        Args:
          sides: of the input for one record.
          whole: it takes integers.

        Raises:
          UsageError: the input has no fixed size, or does not take what the request says.
        """
        shown = f"--condition {quoted(self.input)}: the input takes {' '.join(str(side or '?') for side in sides) or 1}"
        if None in sides or not 0 < (length := prod(side or 0 for side in sides)) <= MAX_NUMBERS:
            raise UsageError(f"{shown}; only a class, or numbers of a fixed length, can be a condition")
        if self.classes is None and whole:
            raise UsageError(f"{shown} integers; give their number with --condition-classes N")
        if self.classes is not None and length not in (1, self.classes):
            raise UsageError(
                f"{shown} numbers, neither a class nor one number for each of {self.classes}; correct or leave out "
                "--condition-classes"
            )
        return Condition(input=self.input, column=self.column, length=length, classes=self.classes, names=self.names)
