"""Receipts: what is written comes back, sums are right, and a damaged one says nothing."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from lake.core import sealed_json
from pipeline.output.layout import Layout
from pipeline.output.units.receipts import (
    Receipt,
    output_names,
    read_receipts,
    read_receipts_of,
    sum_counts,
    sum_files,
    write_receipt,
)
from tests.pipeline.values import make_file, make_receipt

FULL = make_receipt(
    "dt=1/a",
    read=9,
    rejects={"wrong_size": 2},
    retried="{}",
    seconds=1.5,
    first=2.5,
    store_retries=3,
    clipped=4,
    noise_below=5,
    noise_above=6,
    reused=7,
    spent={"model": 0.5, "read": 1.25},
    outputs=(make_file("latents/dt=1/a.parquet"), make_file("images/dt=1/a.tar")),
)
FAILED = Receipt(unit="b", fingerprint="f", error="of no use: é")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path))


@pytest.mark.parametrize("receipt", [FULL, FAILED])
def test_as_json_it_comes_back(receipt: Receipt) -> None:
    text = receipt.to_json()
    assert "\n" not in text
    assert Receipt.from_json(text) == Receipt.from_json(text.encode()) == receipt
    rare = ("clipped", "noise_below", "noise_above", "reused", "spent")
    wanted = {name: value for name, value in asdict(receipt).items() if name not in rare or value}
    assert json.loads(text) == json.loads(json.dumps(wanted))
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert receipt.to_dict() == {**wanted, "outputs": [asdict(output) for output in receipt.outputs]}


def test_what_is_left_out_is_nothing() -> None:
    plain = Receipt(unit="u", fingerprint="f")
    assert plain == Receipt(
        unit="u",
        fingerprint="f",
        options="",
        retried="",
        read=0,
        results=0,
        rejects={},
        outputs=(),
        seconds=0.0,
        first=None,
        store_retries=0,
        error=None,
    )


def test_sums() -> None:
    one = make_receipt("a", read=9, rejects={"x": 2, "y": 1})
    other = make_receipt("b", read=5, rejects={"y": 3}, outputs=(make_file("a", size=7), make_file("b", size=8)))
    total = sum_counts(iter([one, other]))
    assert total == {
        "read": 14,
        "results": 8,
        "rejects": 6,
        "reasons": {"y": 4, "x": 2},
        "output_bytes": 115,
    }
    assert list(total["reasons"]) == ["y", "x"], "the most first"
    assert one.rejected == 3
    assert sum_counts([]) == {"read": 0, "results": 0, "rejects": 0, "reasons": {}, "output_bytes": 0}


def test_files_are_summed_by_directory() -> None:
    images = (make_file("images/b/1.png", size=7, rows=1), make_file("images/b/2.png", size=5, rows=1))
    receipts = [
        make_receipt("b", outputs=(*images, make_file("latents/b.parquet", size=90, rows=2))),
        make_receipt("a"),
    ]
    assert sum_files(receipts) == {
        "images": {"files": 2, "rows": 2, "bytes": 12},
        "latents": {"files": 2, "rows": 5, "bytes": 190},
    }
    assert sum_files([]) == {}


def test_names_of_files() -> None:
    assert output_names([FULL, FAILED, make_receipt("b")]) == {
        "latents/dt=1/a.parquet",
        "images/dt=1/a.tar",
        "latents/b.parquet",
    }


def test_what_is_left_is_found(layout: Layout) -> None:
    assert read_receipts(layout) == {}
    for receipt in (FULL, FAILED):
        write_receipt(layout, receipt)
    assert read_receipts(layout) == {"dt=1/a": FULL, "b": FAILED}
    assert (Path(layout.receipts) / "dt=1/a.json").exists()


def test_those_of_some_units(layout: Layout) -> None:
    for unit in ("dt=1/a", "b", "b.json"):
        write_receipt(layout, make_receipt(unit))
    assert sorted(read_receipts_of(layout, ["b.json", "none"])) == ["b.json"]
    assert read_receipts_of(layout, ["dt=1/a", "b"]) == {unit: make_receipt(unit) for unit in ("dt=1/a", "b")}
    assert sorted(read_receipts(layout)) == ["b", "b.json", "dt=1/a"]


def test_the_later_one_counts(layout: Layout) -> None:
    write_receipt(layout, make_receipt("a"))
    write_receipt(layout, make_receipt("a", read=8))
    assert read_receipts(layout)["a"].read == 8


def test_a_damaged_one_is_of_a_unit_that_is_not_done(layout: Layout) -> None:
    write_receipt(layout, make_receipt("a"))
    write_receipt(layout, make_receipt("b"))
    path = Path(layout.receipt("a"))
    whole = path.read_bytes()
    foreign = sealed_json.dumps(make_receipt("c").to_dict())
    other = sealed_json.dumps({**make_receipt("a").to_dict(), "more": 1})
    lacking = {name: value for name, value in make_receipt("a").to_dict().items() if name != "outputs"}
    for data in (b"", whole[:-9], whole.replace(b"3", b"4"), foreign, other, sealed_json.dumps(lacking)):
        path.write_bytes(data)
        found = read_receipts(layout)
        assert found["a"].error is not None
        assert found["a"].error.startswith("its receipt is damaged (")
        assert "None" not in found["a"].error
        assert (found["a"].unit, found["a"].fingerprint, found["a"].read, found["a"].outputs) == ("a", "", 0, ())
        assert found["b"] == make_receipt("b")
