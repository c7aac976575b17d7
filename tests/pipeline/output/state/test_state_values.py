"""Forged files of state, with checksums that are right: they choose no file, and end no run with a trace."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import pytest

from lake.core import sealed_json
from lake.core.errors import LatentlakeError, VerifyError
from lake.core.records import OutputFile
from lake.storage import StoreOptions
from pipeline.output.commit.cleanup import clean_up, leftovers
from pipeline.output.commit.publish_state import nothing_done
from pipeline.output.commit.run import Run
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import read_manifest, write_manifest
from pipeline.output.state.job_file import read_job_file
from pipeline.output.state.plan_files import read_obsolete, read_units, unit_line
from pipeline.output.state.state_values import check_fields, data_name, natural, number, relative, sha256, utf8
from pipeline.output.units.receipts import Receipt, output_names, read_receipts, write_receipt
from tests.pipeline.values import guard_for, make_receipt, make_shard, make_unit

OUTSIDE = [
    "../victim",
    "latents/../../victim",
    "latents/./a",
    "latents//a",
    "/victim",
    "latents/",
    "latents",
    "_SUCCESS",
    "_model/d1/model.json",
    "",
    "latents/a\0b",
    "latents/..\\..\\victim",
    "latents/\ud800",
]
OURS = [
    "latents/a.parquet",
    "images/dt=1/_DSC0001.JPG",
    "rejects/é\n.parquet",
    "metrics/..a/b..",
    "images/a\\b.png",
    "images/%2e%2e%2fx",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_of_a_file_that_is_not_data(name: str) -> None:
    with pytest.raises(ValueError, match=r"output|below|text|surrogates"):
        data_name(name)


@pytest.mark.parametrize("name", OURS)
def test_a_name_of_a_data_file(name: str) -> None:
    data_name(name)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "victim").write_text("of somebody else")
    return Layout(str(tmp_path / "out"))


def forged(name: str) -> Receipt:
    return make_receipt("a", outputs=(OutputFile(name=name, size=3, rows=3, crc32c="00000000"),))


@pytest.mark.parametrize("name", ["../victim", "/victim", "_SUCCESS"])
def test_a_manifest_with_the_name_of_another_file_is_refused(layout: Layout, name: str) -> None:
    write_manifest(layout, [forged(name)])
    with pytest.raises(VerifyError, match=r"_manifest\.parquet: .* is no name below .*; remove it and run") as caught:
        read_manifest(layout)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", ["../victim", "latents/../../victim", "_SUCCESS"])
def test_a_receipt_with_the_name_of_another_file_is_of_a_unit_that_is_not_done(layout: Layout, name: str) -> None:
    write_receipt(layout, forged(name))
    (receipt,) = read_receipts(layout).values()
    assert receipt.error is not None
    assert repr(name) in receipt.error
    leftover = leftovers(layout, output_names([receipt]), set(), tidy=True)
    clean_up(layout, leftover, guard_for(layout.output))
    assert (Path(layout.output).parent / "victim").exists()


@pytest.mark.parametrize("unit", ["../a", "a/../../b", "/a", "a//b", "", "a\0"])
def test_a_unit_of_no_name(layout: Layout, unit: str) -> None:
    write_manifest(layout, [make_receipt(unit, outputs=())])
    with pytest.raises(VerifyError, match=r"unit: .* is no name below a directory"):
        read_manifest(layout)


ODD: list[Any] = [10**400, -1, 1.5, True, "3", None, [], {}]


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("field", ["read", "results", "rejects", "outputs", "unit", "fingerprint", "seconds"])
def test_values_of_no_use_are_damage(layout: Layout, field: str, value: object) -> None:
    fits = {"rejects": [{}], "outputs": [[]], "unit": [], "fingerprint": ["3"], "seconds": [-1, 1.5]}
    if any(value == fit and type(value) is type(fit) for fit in fits.get(field, [])):
        return
    Path(layout.receipts).mkdir(parents=True)
    path = Path(layout.receipt("a"))
    path.write_bytes(sealed_json.dumps({**make_receipt("a").to_dict(), field: value}))
    (receipt,) = read_receipts(layout).values()
    assert receipt.error is not None
    assert receipt.error.startswith("its receipt is damaged (")
    assert len(receipt.error) < 300


@pytest.mark.parametrize("line", [b'{"a": NaN}', b"[" * 100_000, b'{"read": 1e999}', b"1" * 10_000, b'"\xff"', b"null"])
def test_json_that_nobody_wrote_is_damage(layout: Layout, line: bytes) -> None:
    for uri in (layout.receipt("a"), layout.job, layout.success):
        Path(uri).parent.mkdir(parents=True, exist_ok=True)
        Path(uri).write_bytes(line)
    assert read_receipts(layout)["a"].error is not None
    for read in (lambda: read_job_file(layout.output), lambda: nothing_done(layout.output, RUN)):
        with pytest.raises(VerifyError, match=r"damaged \(.*\); remove it and run the job again") as caught:
            read()
        assert "\n" not in str(caught.value)


RUN = Run(units=1, todo=0, obsolete="", passed_over={}, started=0.0)
JOB = {"options_digest": "d", "options": {}, "request": {}, "columns": {}, "settings": {}}
SUMMARY = {
    "complete": True,
    "refused": [],
    "verb": "encode",
    "output": "out",
    "total": {"units": 1, "read": 1, "results": 1, "rejects": 0, "reasons": {}, "output_bytes": 1},
    "examples": {},
    "options": {},
}


@pytest.mark.parametrize("field", JOB)
def test_a_job_file_with_odd_values_is_damage(layout: Layout, field: str) -> None:
    Path(layout.output).mkdir()
    for value in (None, 3, "\ud800", [1]):
        Path(layout.job).write_bytes(sealed_json.dumps({**JOB, field: value}))
        with pytest.raises(VerifyError, match=r"_job\.json: damaged \(.*\); remove it and run the job again"):
            read_job_file(layout.output)


@pytest.mark.parametrize("carry", ["", "AAAA", "no base64!", 5])
def test_a_job_file_with_odd_columns_is_damage(layout: Layout, carry: object) -> None:
    columns = {"image": "x", "key": None, "numeric": False, "length": None, "max_record_bytes": 5, "carry": carry}
    Path(layout.output).mkdir()
    Path(layout.job).write_bytes(sealed_json.dumps({**JOB, "columns": columns}))
    with pytest.raises(VerifyError, match=r"_job\.json: damaged \(columns: carry: "):
        read_job_file(layout.output)


def test_a_summary_is_taken(layout: Layout) -> None:
    Path(layout.output).mkdir()
    Path(layout.success).write_bytes(sealed_json.dumps(SUMMARY))
    assert nothing_done(layout.output, RUN)["run"]["kept_units"] == 1


@pytest.mark.parametrize("field", SUMMARY)
def test_a_summary_with_odd_values_is_damage(layout: Layout, field: str) -> None:
    Path(layout.output).mkdir()
    for value in (3, [3], {"x": [3]} if field == "examples" else None):
        Path(layout.success).write_bytes(sealed_json.dumps({**SUMMARY, field: value}))
        with pytest.raises(VerifyError, match=r"_SUCCESS: damaged \(.*\); remove it and run the job again"):
            nothing_done(layout.output, RUN)


@pytest.mark.parametrize(
    "change",
    [
        {"examples": {"wrong_size": [{}]}},
        {"examples": {"wrong_size": [{"shard": "a", "detail": "d"}]}},
        {"options": {"images": {}}},
        {"options": {"images": 5}},
        {"total": {}},
    ],
)
def test_a_summary_without_what_is_printed_is_damage(layout: Layout, change: dict[str, Any]) -> None:
    Path(layout.output).mkdir()
    Path(layout.success).write_bytes(sealed_json.dumps({**SUMMARY, **change}))
    with pytest.raises(VerifyError, match=r"_SUCCESS: damaged \(.*\); remove it and run the job again"):
        nothing_done(layout.output, RUN)


def test_an_example_of_a_file_that_could_not_be_read_is_taken(layout: Layout) -> None:
    Path(layout.output).mkdir()
    Path(layout.success).write_bytes(sealed_json.dumps({**SUMMARY, "examples": {"x": [{"detail": "cannot be read"}]}}))
    assert nothing_done(layout.output, RUN)["complete"]


def line(value: object) -> bytes:
    """A line of a plan with the right checksum."""
    data = json.dumps(value).encode()
    return b"%08x %b\n" % (google_crc32c.value(data), data)


def plain() -> dict[str, Any]:
    value: dict[str, Any] = json.loads(unit_line(make_unit("a")).partition(b" ")[2])
    return value


@pytest.mark.parametrize(
    "change",
    [
        lambda unit: unit.update(id="../victim"),
        lambda unit: unit.update(id=7),
        lambda unit: unit.update(start=-1),
        lambda unit: unit.update(stop="x"),
        lambda unit: unit.update(shards=None),
        lambda unit: unit["shards"][0].update(path="../../victim"),
        lambda unit: unit["shards"][0].update(size=10**400),
        lambda unit: unit.pop("format"),
        lambda unit: unit.update(clean=[{"path": "x"}]),
    ],
)
def test_a_plan_with_odd_values_is_damage(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    unit = plain()
    change(unit)
    part = tmp_path / "part-00000.jsonl"
    part.write_bytes(line(plain()) + line(unit))
    units = read_units(str(part), StoreOptions())
    next(units)
    with pytest.raises(LatentlakeError, match=r"part-00000\.jsonl: the plan is damaged \(.*\); remove it and run"):
        next(units)


def test_a_unit_may_have_two_shards_and_a_slice(tmp_path: Path) -> None:
    part = tmp_path / "part-00000.jsonl"
    part.write_bytes(unit_line(make_unit("a", "b", "c", start=5, stop=9, clean=(make_shard("/d"),), expected=4)))
    assert len([*read_units(str(part), StoreOptions())]) == 1


@pytest.mark.parametrize("units", [None, "ab", [1], ["../x"], {}])
def test_a_list_of_what_goes_with_odd_values_is_damage(tmp_path: Path, units: object) -> None:
    path = tmp_path / "obsolete.json"
    path.write_bytes(sealed_json.dumps({"units": units}))
    with pytest.raises(VerifyError, match=r"obsolete\.json: damaged"):
        read_obsolete(str(path))


def test_what_is_named_is_short_and_on_one_line() -> None:
    with pytest.raises(ValueError, match=r"^read: a number with thousands of digits is no count$"):
        check_fields({"read": 10**5000}, {"read": natural})
    with pytest.raises(ValueError, match=r"^a: '.{70,80} is no name below a directory$"):
        check_fields({"a": "../" + "x\n" * 10_000}, {"a": relative})


@pytest.mark.parametrize(("rule", "value"), [(number, float("nan")), (number, 1e13), (utf8, b"x"), (sha256, "ab")])
def test_rules(rule: Callable[[object], None], value: object) -> None:
    with pytest.raises(ValueError, match="is no "):
        rule(value)
