"""What a summary keeps of its run's receipts, which go with the commit: where the time went, and a sample of units."""

import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from pipeline.output.units.receipts import Receipt

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """Where the time of some finished units went.

    Attributes:
      start: when the first batch of all was finished, in seconds after the run began; None if no unit says so.
      end: when the last unit ended.
      slowest: ``unit``, ``seconds`` and records ``read`` of those that took longest.
      spent: seconds of threads by what they did.
      sample: the first units in the order of ``unit_order``.
    """

    start: float | None = None
    end: float = 0.0
    slowest: Sequence[Mapping[str, Any]] = ()
    spent: Mapping[str, float] = field(default_factory=dict)
    sample: Sequence[str] = ()

    @classmethod
    def of(cls, receipts: Collection[Receipt], spans: np.ndarray) -> "Busy":
        """Of these units.

        Args:
          receipts: of finished units.
          spans: what ``spans_of`` says of them.
        """
        spent = Counter[str]()
        for receipt in receipts:
            spent.update(receipt.spent)
        slowest = ({"unit": r.unit[:_NAME], "seconds": r.seconds, "read": r.read} for r in receipts)
        return cls(
            start=float(spans[0].min()) if spans.size else None,
            end=float((spans[0] + spans[1]).max()) if spans.size else 0.0,
            slowest=_slowest(slowest),
            spent=spent,
            sample=_sampled(receipt.unit for receipt in receipts if len(receipt.unit) <= _NAME),
        )

    @classmethod
    def join(cls, parts: Sequence["Busy"]) -> "Busy":
        """Of the units of all parts."""
        spent = Counter[str]()
        for part in parts:
            spent.update(part.spent)
        return cls(
            start=min((part.start for part in parts if part.start is not None), default=None),
            end=max((part.end for part in parts if part.start is not None), default=0.0),
            slowest=_slowest(chain.from_iterable(part.slowest for part in parts)),
            spent=spent,
            sample=_sampled(chain.from_iterable(part.sample for part in parts)),
        )


def _slowest(units: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(units, key=lambda unit: (-unit["seconds"], unit["unit"]))[:_SLOWEST]


def _sampled(units: Iterable[str]) -> list[str]:
    return sorted(units, key=unit_order)[:_SAMPLE]


def spans_of(receipts: Iterable[Receipt], started: float) -> np.ndarray:
    """When units were at work.

    Args:
      receipts: of finished units.
      started: when the run began, in seconds since the epoch.

    Returns:
      float64 ``[3, n]`` of those that say so: seconds from there to the first batch, seconds that the unit took, and
      records read.
    """
    known = [(r.first - started, max(r.seconds, 1e-3), r.read) for r in receipts if r.first is not None]
    return np.array(known, np.float64).reshape(-1, 3).T


def timing_of(busy: Busy, spans: Iterable[np.ndarray]) -> dict[str, Any]:
    """Fields of a summary that say where the time of a run went; none for a run that did nothing.

    Args:
      busy: of its finished units.
      spans: what ``spans_of`` said of them; may be read one after the other.

    Returns:
      ``timing``: ``records`` finished in each of 20 intervals of ``step`` seconds, the first of which begins ``start``
      seconds after the run; the ``slowest`` units; and seconds of threads by what they ``spent`` them on. ``sample``:
      the first of its units in the order of ``unit_order``, so that it can be told of others whether they were kept.
    """
    if busy.start is None:
        return {}
    return {
        "timing": {
            **_rates(spans, busy.start, busy.end),
            "slowest": [*busy.slowest],
            "spent": {part: round(seconds, 3) for part, seconds in sorted(busy.spent.items())},
        },
        "sample": [*busy.sample],
    }


def _rates(spans: Iterable[np.ndarray], start: float, end: float) -> Mapping[str, Any]:
    """Records by interval. Those of a unit are spread evenly from its first batch to its end."""
    step = (end - start) / _INTERVALS
    edges = start + step * np.arange(_INTERVALS + 1)
    records = np.zeros(_INTERVALS)
    for first, seconds, read in spans:
        for at in range(_INTERVALS):
            within = np.minimum(first + seconds, edges[at + 1]) - np.maximum(first, edges[at])
            records[at] += (read * np.clip(within / seconds, 0, 1)).sum()
    return {"start": round(start, 3), "step": round(step, 6), "records": records.round(1).tolist()}
