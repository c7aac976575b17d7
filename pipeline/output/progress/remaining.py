"""How much of a run is done, and how long the rest takes, told from its units that have ended and those that run."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

_NEARLY = 0.99  # most of a unit that has not ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """How far a run is.

    Attributes:
      share: part of the work that is done, 0 to 1.
      seconds: what is left, in seconds.
    """

    share: float
    seconds: float


def reckon(
    work: Mapping[str, float],
    ended: Collection[str],
    running: Mapping[str, tuple[float, float]],
    elapsed: float,
) -> Remaining | None:
    """Reckon how far a run is.

    The rest takes as long as all workers need for all of it, or as long as the unit that runs longest needs by itself:
    a worker that has nothing more to do does not help with it. While other units run in its process, it is slower.

    Args:
      work: all units of the run, each with its work.
      ended: those that have finished or failed.
      running: those that are under way: the work that is done of each, and the seconds that it would have taken alone.
      elapsed: seconds since there are results.

    Returns:
      None before there is anything to tell by.

    >>> units = {"large": 100.0, **{f"small {number}": 10.0 for number in range(10)}}
    >>> reckon(units, [f"small {number}" for number in range(5)], {"large": (50.0, 10.0)}, elapsed=10.0)
    Remaining(share=0.5, seconds=10.0)
    >>> reckon(units, [f"small {number}" for number in range(10)], {"large": (75.0, 20.0)}, elapsed=20.0).seconds
    6.666666666666667
    """
    total = sum(work.values())
    under_way = {unit: (min(done, _NEARLY * work[unit]), took) for unit, (done, took) in running.items()}
    done = sum(work[unit] for unit in ended) + sum(part for part, _ in under_way.values())
    if done <= 0 or elapsed <= 0:
        return None
    longest = max(((work[unit] - part) * took / part for unit, (part, took) in under_way.items() if part), default=0.0)
    return Remaining(share=done / total, seconds=max(elapsed * (total - done) / done, longest))
