"""Who gets which unit, so that no worker is left with a large one when the others are done."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heapreplace
from itertools import zip_longest
from tempfile import SpooledTemporaryFile

import numpy as np

from lake.core.records import Unit
from lake.inputs.units import OWN_BYTES, input_bytes
from pipeline.output.state.plan_files import unit_line

_IN_MEMORY = 16 << 20  # bytes of a plan that need no file


def work_of(unit: Unit) -> int:
    """The work that a unit is, in bytes of input.

    Args:
      unit: the unit.
    """
    return OWN_BYTES + input_bytes(unit)


def lines_largest_first(units: Iterable[Unit]) -> Iterator[bytes]:
    """Yield the lines of units, as a plan has them, by their work. Equal ones keep their order in every run.

    Args:
      units: the units. There may be millions, so they wait in a temporary file.
    """
    work, edges = array("q"), array("q", [0])
    with SpooledTemporaryFile(_IN_MEMORY) as spool:
        for unit in units:
            work.append(work_of(unit))
            edges.append(edges[-1] + spool.write(unit_line(unit)))
        for at in np.argsort(np.negative(work), kind="stable"):
            spool.seek(edges[at])
            yield spool.read(edges[at + 1] - edges[at])


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
