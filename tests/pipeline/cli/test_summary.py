"""What a person is told at the end of a run."""

from typing import Any

import pytest

from pipeline.cli.summary import describe


def summary(*, total: dict[str, Any] | None = None, **run: Any) -> dict[str, Any]:
    """Of a run over one unit of one record, but for what is given."""
    counts = {"units": 1, "read": 1, "results": 1, "rejects": 0}
    ran = {"kept_units": 0, "failed_units": 0, "passed_over": {}, "store_retries": 0, "first_result": None}
    return {
        "output": "out",
        "verb": "encode",
        "complete": True,
        "run": {**counts, **ran, "retry": False, "seconds": 2.0, **run},
        "total": {**counts, "reasons": {}, "output_bytes": 1, **(total or {})},
        "options": {},
        "failed": [],
        "examples": {},
    }


def lines(*, total: dict[str, Any] | None = None, **run: Any) -> list[str]:
    return describe(summary(total=total, **run)).splitlines()


@pytest.mark.parametrize(
    ("run", "says"),
    [
        ({}, "1 record in 1 unit: 1 result, 0 rejects, in 2.0 s"),
        ({"results": 0, "rejects": 1, "kept_units": 1}, "1 record in 1 unit, 1 kept: 0 results, 1 reject, in 2.0 s"),
        (
            {"units": 2, "read": 3000, "results": 2998, "rejects": 2},
            "3,000 records in 2 units: 2,998 results, 2 rejects, in 2.0 s",
        ),
        ({"units": 0, "kept_units": 1}, "nothing to do: the one unit is done and unchanged"),
        ({"units": 0, "kept_units": 1200}, "nothing to do: all 1,200 units are done and unchanged"),
    ],
)
def test_one_is_no_plural(run: dict[str, Any], says: str) -> None:
    assert lines(**run)[1] == says


def test_a_retry_does_not_claim_the_records_that_it_did_not_do() -> None:
    run = {"units": 2, "read": 600, "results": 600, "first_result": 5.0, "started": 0.0, "ended": 10.0}
    assert (
        lines(**run)[1]
        == "600 records in 2 units: 600 results, 0 rejects, in 2.0 s (120 records/s after 5.0 s of start-up)"
    )
    assert lines(**run, retry=True)[1] == "tried again: 2 units of 600 records: 600 results, 0 rejects, in 2.0 s"


@pytest.mark.parametrize(
    ("size", "says"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (49_949, "49.9 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (73_400_000, "73.4 MB"),
        (1_260_000_000, "1.3 GB"),
        (4_321_000_000_000, "4,321.0 GB"),
    ],
)
def test_the_size_of_the_output_has_a_unit_that_fits(size: int, says: str) -> None:
    assert lines(total={"output_bytes": size})[2] == f"out: complete, 1 unit, 1 result, {says}"


def test_what_else_is_counted() -> None:
    met = {"unknown_format": {"count": 1, "examples": ["a\x1b.txt"]}, "hidden": {"count": 9, "examples": ["_a/", ".b"]}}
    few = lines(passed_over=met, store_retries=1, failed_units=1)
    assert few[3:7] == [
        "  and 1 more failed unit",
        "  passed over, since they are of no known format: 1, a\\x1b.txt",
        "  passed over, since their names begin with '.' or '_': 9, _a/, .b and 7 more",
        "  made again, since they failed: 1 request to the stores",
    ]
    assert lines(failed_units=2)[3] == "  and 2 more failed units"


@pytest.mark.parametrize(
    ("total", "run", "says"),
    [
        ({}, {}, "1 record, none rejected: complete"),
        ({"read": 0, "results": 0}, {}, "0 records, none rejected: complete"),
        ({"read": 999_999, "rejects": 1}, {}, "999,999 records, less than 0.1% rejected: complete"),
        ({"read": 2_500_000_000, "rejects": 500_000_000}, {}, "2.5 G records, 20.0% rejected: complete"),
        ({"read": 1000}, {"failed_units": 1}, "1,000 records, none rejected, 1 unit failed: complete"),
    ],
)
def test_the_first_line_says_it_all(total: dict[str, Any], run: dict[str, Any], says: str) -> None:
    assert lines(total=total, **run)[0] == says
    assert describe({**summary(total=total, **run), "complete": False}).startswith(says.replace("comp", "NOT comp"))


@pytest.mark.parametrize(("options", "latents"), [({}, "out/latents'"), ({"latents": {"format": "mds"}}, "(mds)")])
def test_the_commands_that_look_at_an_output_are_named(options: dict[str, Any], latents: str) -> None:
    said = describe({**summary(), "first_result": 1.0, "options": options})
    assert latents in said and "latentlake report out" in said and "latentlake verify out" in said
