"""A plan as a person reads it. ``tests/pipeline/job/test_forecast.py`` has plans of real inputs."""

from typing import Any

from pipeline.cli.plan_text import describe_plan


def test_an_estimate_in_words() -> None:
    row = {"units": 1, "shards": 1, "records": 1200, "exact": False, "bytes": 12_000}
    none = {"units": 0, "shards": None, "records": 0, "exact": True, "bytes": None}
    table = dict.fromkeys(("new", "changed", "retried", "unchanged", "vanished", "dropped"), none)
    estimate = {"run": "x", "ended": 0.0, "startup": 3.04, "rate": 1234.5, "seconds": 301.0, "output_bytes": 5_000_000}
    value: dict[str, Any] = {
        "root": "in",
        "format": "tfrecord",
        "shards": 1,
        "passed_over": {},
        "todo": 1,
        "first": ["a"],
        "table": {**table, "changed": row, "todo": row, "all": row, "vanished": {**none, "units": 2, "records": 7}},
        "estimate": estimate,
        "probe": {"units": 0, "records": 0, "rejects": {}, "examples": {}},
    }
    lines = describe_plan(value).splitlines()
    assert lines[3] == "to do          1       1  about 1,200  12.0 kB"
    assert lines[4] == "  changed      1       1  about 1,200  12.0 kB  shards, model or options have changed"
    assert lines[7] == "vanished       2       -            7        -  kept; --prune drops them"
    assert lines[-2:] == [
        "time: about 5 min (3.0 s of start-up and 1,234 records a second, as in the run of 1970-01-01 00:00 UTC)",
        "output: about 5.0 MB",
    ]
