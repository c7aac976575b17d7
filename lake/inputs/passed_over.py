"""What a listing met and a job does not read: how many, and some by name."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_NAMED = 5  # most names for each reason


class Why(StrEnum):
    """Why something in an input is not read. Only the last one is a failure."""

    UNKNOWN_FORMAT = "unknown_format"  # neither its name nor its content tells a format
    DESCRIPTION = "description"  # img2dataset's table of what is in another shard
    HIDDEN = "hidden"  # its name begins with a dot or an underscore; a directory counts once
    LINK_OUTSIDE = "link_outside"  # a link that leads out of the input, and no --follow-links
    LINK_LOOP = "link_loop"  # a link to a directory above it
    LINK_MISSING = "link_missing"  # a link whose target does not exist: a shard or record that fails


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """What has one reason.

    Attributes:
      count: of files, links and hidden directories.
      examples: some of their paths below the input that was named; of directories with a slash at the end.
    """

    count: int
    examples: tuple[str, ...]

    def value(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {"count": self.count, "examples": list(self.examples)}


class PassedOverTally:
    """Counts what is passed over, and keeps the first names.

    >>> tally = PassedOverTally()
    >>> tally.add(Why.HIDDEN, ".git/")
    >>> tally.found()
    {<Why.HIDDEN: 'hidden'>: PassedOver(count=1, examples=('.git/',))}
    """

    def __init__(self) -> None:
        self._counts = Counter[Why]()
        self._names = defaultdict[Why, list[str]](list)
        self._last = ""

    def add(self, why: Why, path: str) -> None:
        """Count one more."""
        # A store lists what is in a hidden directory, one after the other; the directory counts once.
        if path.endswith("/") and path == self._last:
            return
        self._last = path
        self._counts[why] += 1
        if len(self._names[why]) < _NAMED:
            self._names[why].append(path)

    @property
    def total(self) -> int:
        """Number of all that was counted."""
        return self._counts.total()

    def found(self) -> Mapping[Why, PassedOver]:
        """What was counted, by reason."""
        return {
            why: PassedOver(count=self._counts[why], examples=tuple(self._names[why])) for why in sorted(self._counts)
        }


def values(found: Mapping[Why, PassedOver], others: Iterable[str] = ()) -> dict[str, Any]:
    """What was counted as JSON values, by reason.

    Args:
      found: what was counted.
      others: paths of further files of no known format.
    """
    others = list(others)
    made = {str(why): met.value() for why, met in found.items()}
    if others:
        unknown = made.setdefault(str(Why.UNKNOWN_FORMAT), {"count": 0, "examples": []})
        unknown["count"] += len(others)
        unknown["examples"] = [*unknown["examples"], *others][:_NAMED]
    return made


def listed(names: Iterable[str], count: int) -> str:
    """Some names in words.

    >>> listed(["a", "b"], 2), listed(["a", "b"], 9)
    ('a, b', 'a, b and 7 more')
    """
    names = list(names)
    return ", ".join(names) + (f" and {count - len(names):,} more" if count > len(names) else "")
