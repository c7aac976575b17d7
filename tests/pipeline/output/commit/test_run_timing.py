"""Where the time of a run went, and the sample of its units."""

from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.output.commit import run_timing
from pipeline.output.commit.run_timing import Busy, spans_of, unit_order
from pipeline.output.units.receipts import Receipt
from tests.pipeline.values import make_receipt


def timing_of(*parts: Sequence[Receipt], started: float) -> dict[str, Any]:
    """Of receipts in one or several parts."""
    spans = [spans_of(receipts, started) for receipts in parts]
    busy = Busy.join([Busy.of(receipts, span) for receipts, span in zip(parts, spans, strict=True)])
    return run_timing.timing_of(busy, spans)


def test_records_are_spread_over_the_time_of_their_unit() -> None:
    receipts = [
        make_receipt("a", read=1000, first=110.0, seconds=10.0, spent={"read": 1.0, "model": 8.0}),
        make_receipt("b", read=500, first=120.0, seconds=10.0, spent={"model": 9.0}),
    ]
    timing = timing_of(receipts, started=100.0)["timing"]
    assert (timing["start"], timing["step"]) == (10.0, 1.0)
    assert timing["records"] == [100.0] * 10 + [50.0] * 10
    assert timing["spent"] == {"model": 17.0, "read": 1.0}
    assert [unit["unit"] for unit in timing["slowest"]] == ["a", "b"]
    assert sum(timing["records"]) == 1500


def test_a_sample_of_the_units_is_named() -> None:
    receipts = [make_receipt(f"u{number}", first=1.0) for number in range(200)]
    sample = timing_of(receipts, started=0.0)["sample"]
    assert sample == sorted((receipt.unit for receipt in receipts), key=unit_order)[:16]
    assert len(timing_of(receipts, started=0.0)["timing"]["slowest"]) == 3


def test_of_units_in_parts_it_is_that_of_all() -> None:
    receipts = [
        make_receipt(f"u{n}", read=n, first=None if n % 7 == 0 else 3.0 * n % 50, seconds=n / 3, spent={"read": n / 4})
        for n in range(60)
    ]
    assert timing_of(receipts[:9], [], receipts[9:], started=0.0) == timing_of(receipts, started=0.0)


@pytest.mark.parametrize("receipts", [[], [make_receipt("a", read=0)]])
def test_a_run_that_did_nothing(receipts: list[Receipt]) -> None:
    assert timing_of(receipts, started=0.0) == {}
