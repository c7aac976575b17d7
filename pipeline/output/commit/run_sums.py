"""What a summary says of its run, summed over the receipts of all units, or over sums of some of them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from pipeline.output.commit.run_timing import Busy
from pipeline.output.units.receipts import Receipt, sum_counts, sum_files

_NAMED = 20  # most failed units that the summary names
_RARE = ("several_pages", "clipped", "noise_below", "noise_above", "reused")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSums:
    """Sums over receipts of a run.

    Attributes:
      failed_units: number of units that failed.
      failed: ``unit`` and ``error`` of the first ones.
      counts: of finished units, as ``sum_counts`` gives them.
      written: files of finished units by directory, as ``sum_files`` gives them.
      rare: results of files with several images, of noise that was not learned, or reused, and clipped numbers; no
        zeros.
      store_retries: requests to stores that were repeated.
      first: when the first batch was finished, in seconds since the epoch; None for none.
      busy: where the time of finished units went.
    """

    failed_units: int
    failed: Sequence[Mapping[str, Any]]
    counts: Mapping[str, Any]
    written: Mapping[str, Mapping[str, int]]
    rare: Mapping[str, int]
    store_retries: int
    first: float | None
    busy: Busy

    @classmethod
    def of(cls, receipts: Sequence[Receipt], spans: np.ndarray) -> "RunSums":
        """Of these receipts.

        Args:
          receipts: of units that have finished or failed.
          spans: what ``spans_of`` says of the finished ones.
        """
        failed = [{"unit": r.unit, "error": r.error} for r in receipts if r.error is not None]
        done = [receipt for receipt in receipts if receipt.error is None]
        rare = {name: sum(getattr(receipt, name) for receipt in receipts) for name in _RARE}
        return cls(
            failed_units=len(failed),
            failed=_named(failed),
            counts=sum_counts(done),
            written=sum_files(done),
            rare={name: count for name, count in rare.items() if count},
            store_retries=sum(receipt.store_retries for receipt in receipts),
            first=min((receipt.first for receipt in receipts if receipt.first), default=None),
            busy=Busy.of(done, spans),
        )

    @classmethod
    def join(cls, parts: Sequence["RunSums"]) -> "RunSums":
        """The sums over all parts."""
        rare = _added(part.rare for part in parts)
        return cls(
            failed_units=sum(part.failed_units for part in parts),
            failed=_named(chain.from_iterable(part.failed for part in parts)),
            counts=_join_counts([part.counts for part in parts]),
            written=_join_files([part.written for part in parts]),
            rare={name: rare[name] for name in _RARE if name in rare},
            store_retries=sum(part.store_retries for part in parts),
            first=min((part.first for part in parts if part.first is not None), default=None),
            busy=Busy.join([part.busy for part in parts]),
        )


def _named(failed: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    # Limited: the summary is read by people and travels through the engine.
    return sorted(failed, key=lambda one: str(one["unit"]))[:_NAMED]


def _join_counts(counts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of what ``sum_counts`` gave of parts, with its names in its order."""
    reasons = _added(each["reasons"] for each in counts)
    sums = {name: sum(each[name] for each in counts) for name in ("read", "results", "rejects", "output_bytes")}
    size = sums.pop("output_bytes")
    return {**sums, "reasons": dict(reasons.most_common()), "output_bytes": size}


def _join_files(files: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    names = sorted({name for each in files for name in each})
    found = {name: [each[name] for each in files if name in each] for name in names}
    return {name: {key: sum(one[key] for one in some) for key in some[0]} for name, some in found.items()}


def _added(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total = Counter[str]()
    for each in counts:
        total.update(each)
    return total
