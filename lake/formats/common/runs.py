"""Runs of consecutive records, as the readers of streams take them from a shard, and the damage that may end them."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import TypeVar

from lake.core.records import Fault

_Run = TypeVar("_Run", bound=Sized)


@dataclass(frozen=True, slots=True)
class RecordRun:
    """Consecutive records of a shard.

    Attributes:
      records: their data; empty for a record with a fault.
      faults: by position in ``records``.
    """

    records: Sequence[bytes]
    faults: Mapping[int, Fault]

    def __len__(self) -> int:
        return len(self.records)


def up_to_damage(take: Callable[[], tuple[_Run, Exception | None]]) -> Iterator[_Run]:
    """All runs of a shard that have records. Damage is raised once those before it have been yielded.

    Args:
      take: the next run, which is empty at the end of the shard, and the damage that follows it, if any.

    Raises:
      Exception: the damage.

    >>> runs = iter([([1, 2], None), ([3], ValueError("damaged"))])
    >>> found = up_to_damage(lambda: next(runs))
    >>> next(found), next(found)
    ([1, 2], [3])
    >>> next(found)
    Traceback (most recent call last):
    ValueError: damaged
    """
    damage = None
    while damage is None:
        run, damage = take()
        if len(run):
            yield run
        elif damage is None:
            return
    raise damage
