"""Who gets which unit, so that no worker is left with a large one when the others are done."""

from collections.abc import Iterator, Sequence
from heapq import heapify, heapreplace
from itertools import zip_longest

from lake.core.records import Unit
from lake.inputs.units import OWN_BYTES, input_bytes


def work_of(unit: Unit) -> int:
    """The work that a unit is, in bytes of input.

    Args:
      unit: the unit.
    """
    return OWN_BYTES + input_bytes(unit)


def largest_first(units: Sequence[Unit]) -> list[Unit]:
    """Order units by their work. Equal ones keep their order, so it is the same in every run.

    Args:
      units: the units.
    """
    return sorted(units, key=lambda unit: -work_of(unit))


def in_turns(work: Sequence[int], workers: int) -> Iterator[int | None]:
    """Yield positions of units for an engine that gives what it is given to its workers in turn.

    Each unit is for the worker that has the least to do by then. With the largest first, the work of the busiest worker
    is at most 4/3 - 1 / (3 ``workers``) of what is possible (R. L. Graham, Bounds on multiprocessing timing anomalies,
    1969). A worker that has no more units while others do is given None.

    Args:
      work: the work of each unit.
      workers: how many there are.

    >>> list(in_turns([9, 3, 3, 3], 2))
    [0, 1, None, 2, None, 3]
    """
    dealt: list[list[int]] = [[] for _ in range(workers)]
    loads = [(0, worker) for worker in range(workers)]
    heapify(loads)
    for position, size in enumerate(work):
        load, worker = loads[0]
        dealt[worker].append(position)
        heapreplace(loads, (load + size, worker))
    for turn in zip_longest(*dealt):
        yield from turn
