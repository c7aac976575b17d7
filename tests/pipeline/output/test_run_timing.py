"""Where the time of a run went, and the sample of its units."""

import pytest

from pipeline.output.run_timing import timing_of, unit_order
from tests.pipeline.values import make_receipt


def test_records_are_spread_over_the_time_of_their_unit() -> None:
    receipts = [
        make_receipt("a", read=1000, first=110.0, seconds=10.0, spent={"read": 1.0, "model": 8.0}),
        make_receipt("b", read=500, first=120.0, seconds=10.0, spent={"model": 9.0}),
    ]
    timing = timing_of(receipts, 100.0)["timing"]
    assert (timing["start"], timing["step"]) == (10.0, 1.0)
    assert timing["records"] == [100.0] * 10 + [50.0] * 10
    assert timing["spent"] == {"model": 17.0, "read": 1.0}
    assert [unit["unit"] for unit in timing["slowest"]] == ["a", "b"]
    assert sum(timing["records"]) == 1500


def test_a_sample_of_the_units_is_named() -> None:
    receipts = [make_receipt(f"u{number}", first=1.0) for number in range(200)]
    sample = timing_of(receipts, 0.0)["sample"]
    assert sample == sorted((receipt.unit for receipt in receipts), key=unit_order)[:16]
    assert len(timing_of(receipts, 0.0)["timing"]["slowest"]) == 3


@pytest.mark.parametrize("receipts", [[], [make_receipt("a", read=0)]])
def test_a_run_that_did_nothing(receipts: list[object]) -> None:
    assert timing_of(receipts, 0.0) == {}  # type: ignore[arg-type]
