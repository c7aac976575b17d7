"""What a summary keeps of its run's receipts, which go with the commit: where the time went, and a sample of units."""

import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pipeline.output.receipts import Receipt

_INTERVALS = 20
_SLOWEST = 3
_SAMPLE = 16  # units that are named
_NAME = 200  # most characters of a unit that is named: a summary is read by people


def unit_order(unit: str) -> tuple[int, str]:
    """Where a unit is in an order that has nothing to do with its name: the first ones are a sample of all.

    >>> sorted(["a", "b", "c"], key=unit_order)
    ['c', 'b', 'a']
    """
    return zlib.crc32(unit.encode()), unit


def timing_of(receipts: Collection[Receipt], started: float) -> dict[str, Any]:
    """Fields of a summary that say where the time of a run went; none for a run that did nothing.

    Args:
      receipts: of its finished units.
      started: when it began, in seconds since the epoch.

    Returns:
      ``timing``: ``records`` finished in each of 20 intervals of ``step`` seconds, the first of which begins ``start``
      seconds after the run; the ``slowest`` units; and seconds of threads by what they ``spent`` them on. ``sample``:
      the first of its units in the order of ``unit_order``, so that it can be told of others whether they were kept.
    """
    known = [receipt for receipt in receipts if receipt.first is not None]
    if not known:
        return {}
    spent = Counter[str]()
    for receipt in receipts:
        spent.update(receipt.spent)
    slowest = sorted(receipts, key=lambda receipt: (-receipt.seconds, receipt.unit))[:_SLOWEST]
    named = [receipt.unit for receipt in receipts if len(receipt.unit) <= _NAME]
    return {
        "timing": {
            **_rates(known, started),
            "slowest": [
                {"unit": receipt.unit[:_NAME], "seconds": receipt.seconds, "read": receipt.read} for receipt in slowest
            ],
            "spent": {part: round(seconds, 3) for part, seconds in sorted(spent.items())},
        },
        "sample": sorted(named, key=unit_order)[:_SAMPLE],
    }


def _rates(receipts: Sequence[Receipt], started: float) -> Mapping[str, Any]:
    """Records by interval. Those of a unit are spread evenly from its first batch to its end."""
    import numpy as np

    first = np.array([receipt.first for receipt in receipts], np.float64) - started
    seconds = np.maximum([receipt.seconds for receipt in receipts], 1e-3)
    read = np.array([receipt.read for receipt in receipts], np.float64)
    start, end = float(first.min()), float((first + seconds).max())
    step = (end - start) / _INTERVALS
    edges = start + step * np.arange(_INTERVALS + 1)
    records = np.zeros(_INTERVALS)
    for at in range(_INTERVALS):
        within = np.minimum(first + seconds, edges[at + 1]) - np.maximum(first, edges[at])
        records[at] = (read * np.clip(within / seconds, 0, 1)).sum()
    return {"start": round(start, 3), "step": round(step, 6), "records": records.round(1).tolist()}
