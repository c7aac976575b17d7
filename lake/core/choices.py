"""Values that are one of a few, and the advice for those that are not."""

import difflib
from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T", bound=str)

_SHOWN = 80  # characters of a wrong value that a message shows


def choose(value: Any, choices: Iterable[T]) -> T:
    """The choice that a text names.

    Args:
      value: the text, or the choice itself.
      choices: what is allowed: texts, or members of a ``StrEnum``.

    Raises:
      ValueError: the value is none of them; the text names the nearest.

    >>> choose("crop", ("fit", "crop"))
    'crop'
    >>> choose("corp", ("fit", "crop"))
    Traceback (most recent call last):
    ...
    ValueError: invalid choice: 'corp' (choose from fit, crop); did you mean crop?
    """
    known = list(choices)
    for choice in known:
        if isinstance(value, str) and choice == value:
            return choice
    near = did_you_mean(value, known) if isinstance(value, str) else ""
    raise ValueError(f"invalid choice: {quoted(value)} (choose from {', '.join(known)}){near}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error's text: the nearest of the known words, or nothing if none is near.

    >>> did_you_mean("--inptu", ["--input", "--output"])
    '; did you mean --input?'
    >>> did_you_mean("rezise", ["resize", "reuse"])
    '; did you mean resize?'
    """
    said, words = word[:_SHOWN].lower(), list(known)
    # Letters that are swapped are the commonest slip, but far apart for what compares sequences.
    near = [one for one in words if sorted(one) == sorted(said)] or difflib.get_close_matches(said, words, 1, 0.5)
    return f"; did you mean {near[0]}?" if near else ""


def quoted(value: object) -> str:
    r"""A value as messages show it: on one line, and not all of a long one.

    >>> quoted("a\nb")
    "'a\\nb'"
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
