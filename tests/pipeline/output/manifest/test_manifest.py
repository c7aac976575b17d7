"""The manifest: what is written comes back, and no other bytes are taken for it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import VerifyError
from lake.storage import StoreOptions
from pipeline.output.commit.recovery import find_leavings, known_state
from pipeline.output.layout import Layout
from pipeline.output.manifest import manifest_rows as module
from pipeline.output.manifest.manifest import read_manifest, write_manifest
from pipeline.output.units.receipts import Receipt, write_receipt
from tests.pipeline.values import make_file, make_receipt

RECEIPTS = [
    make_receipt("b/two", retried='{"a": 1}', rejects={"wrong_size": 1, "corrupt_image": 2}),
    make_receipt("a/one", outputs=(make_file("latents/a/one.parquet"), make_file("images/a/one.tar", rows=2))),
    Receipt(unit="c", fingerprint="empty"),
]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path))


def path(layout: Layout) -> Path:
    return Path(layout.manifest)


def rewrite(layout: Layout, change: Callable[[list[dict[str, Any]]], None], units: int | None = None) -> None:
    """The manifest with other rows: a valid Parquet file, as a flipped bit in its footer may leave one."""
    table = pq.read_table(layout.manifest)
    rows = table.to_pylist()
    change(rows)
    metadata = table.schema.metadata if units is None else {b"latentlake.units": str(units).encode()}
    pq.write_table(pa.Table.from_pylist(rows, table.schema).replace_schema_metadata(metadata), layout.manifest)


def test_what_is_written_comes_back(layout: Layout) -> None:
    written = write_manifest(layout, iter(RECEIPTS))
    assert read_manifest(layout) == {receipt.unit: receipt for receipt in RECEIPTS}
    data = path(layout).read_bytes()
    assert written == make_file("_manifest.parquet", size=len(data), rows=3, crc32c=f"{google_crc32c.value(data):08x}")
    assert [row["unit"] for row in pq.read_table(layout.manifest).to_pylist()] == ["a/one", "b/two", "c"]


def test_of_none_there_is_nothing(layout: Layout) -> None:
    assert read_manifest(layout) == {}
    write_manifest(layout, [])
    assert read_manifest(layout) == {}


def test_equal_states_have_equal_bytes(layout: Layout) -> None:
    """In whatever order their units came, and however long they took."""
    write_manifest(layout, RECEIPTS)
    before = path(layout).read_bytes()
    timed = [replace(receipt, seconds=9.0, first=5.0, store_retries=7) for receipt in reversed(RECEIPTS)]
    timed[1] = replace(timed[1], rejects=dict(reversed(timed[1].rejects.items())))
    write_manifest(layout, timed)
    assert path(layout).read_bytes() == before


def test_it_is_compressed_and_each_page_has_a_checksum(layout: Layout) -> None:
    write_manifest(layout, [make_receipt(f"{number:06d}") for number in range(2500)])
    column = pq.read_metadata(layout.manifest).row_group(0).column(0)
    assert column.compression == "ZSTD"
    assert read_manifest(layout).keys() == {f"{number:06d}" for number in range(2500)}
    data = bytearray(path(layout).read_bytes())
    start = column.data_page_offset if column.dictionary_page_offset is None else column.dictionary_page_offset
    data[start + column.total_compressed_size - 5] ^= 1
    path(layout).write_bytes(data)
    with pytest.raises(VerifyError, match="CRC checksum"):
        read_manifest(layout)


def test_the_check_of_a_row_never_changes(layout: Layout) -> None:
    """Manifests of every output that exists hold it."""
    write_manifest(layout, [replace(RECEIPTS[0], seconds=9.0, first=5.0, store_retries=7)])
    assert pq.read_table(layout.manifest)["check"].to_pylist() == ["9f0086db"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("unit", "other"),
        ("fingerprint", "other"),
        ("options", "other"),
        ("retried", "other"),
        ("read", 4),
        ("results", 4),
        ("rejects", [("wrong_size", 3)]),
        ("rejects", []),
        ("outputs", []),
        ("check", "00000000"),
    ],
)
def test_a_row_that_was_changed_is_found(layout: Layout, name: str, value: object) -> None:
    write_manifest(layout, RECEIPTS)
    rewrite(layout, lambda rows: rows[1].__setitem__(name, value))
    with pytest.raises(VerifyError, match=r"_manifest\.parquet: the manifest is damaged \(the row of unit"):
        read_manifest(layout)


@pytest.mark.parametrize(("name", "value"), [("name", "latents/x"), ("size", 1), ("rows", 1), ("crc32c", "0")])
def test_an_output_that_was_changed_is_found(layout: Layout, name: str, value: object) -> None:
    write_manifest(layout, RECEIPTS)
    rewrite(layout, lambda rows: rows[0]["outputs"][0].__setitem__(name, value))
    with pytest.raises(VerifyError, match="the row of unit 'a/one' is not the one that was written"):
        read_manifest(layout)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_rows_that_are_missing_are_found(layout: Layout, count: int) -> None:
    """Each that is left is right by itself: only their number says it."""
    write_manifest(layout, RECEIPTS)
    rewrite(layout, lambda rows: rows.__delitem__(slice(count, None)))
    with pytest.raises(VerifyError, match="its footer is not the one that was written"):
        read_manifest(layout)


def test_rows_that_are_double_are_found(layout: Layout) -> None:
    write_manifest(layout, RECEIPTS)
    rewrite(layout, lambda rows: rows.append(rows[0]))
    with pytest.raises(VerifyError, match="its footer is not the one"):
        read_manifest(layout)


def test_the_same_rows_written_by_another_hand_are_taken(layout: Layout) -> None:
    """So that the tests above find what they change, and not that it was written again."""
    write_manifest(layout, RECEIPTS)
    rewrite(layout, lambda rows: None)
    assert len(read_manifest(layout)) == 3


@pytest.mark.parametrize("metadata", [{}, {b"latentlake.units": b"x"}])
def test_a_footer_without_a_number_is_damage(layout: Layout, metadata: dict[bytes, bytes]) -> None:
    write_manifest(layout, RECEIPTS)
    pq.write_table(pq.read_table(layout.manifest).replace_schema_metadata(metadata), layout.manifest)
    with pytest.raises(VerifyError, match="damaged"):
        read_manifest(layout)


def test_other_columns_are_damage(layout: Layout) -> None:
    write_manifest(layout, RECEIPTS)
    table = pq.read_table(layout.manifest)
    pq.write_table(table.rename_columns(["UNIT", *table.schema.names[1:]]), layout.manifest)
    with pytest.raises(VerifyError, match="its footer is not the one"):
        read_manifest(layout)


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1 something else PAR1"])
def test_what_is_no_table_is_damage(layout: Layout, data: bytes) -> None:
    path(layout).write_bytes(data)
    with pytest.raises(VerifyError, match=r"remove it and run the job again") as caught:
        read_manifest(layout)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_rows_are_made_a_few_at_a_time(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    receipts = [make_receipt(f"{number}") for number in range(5)]
    write_manifest(layout, receipts)
    assert read_manifest(layout) == {receipt.unit: receipt for receipt in receipts}
    assert [batch.num_rows for batch in module._batches(receipts)] == [2, 2, 1]
    assert pq.read_metadata(layout.manifest).num_row_groups == 1


def test_the_state_is_the_manifests_and_what_was_left_since(layout: Layout) -> None:
    write_manifest(layout, [make_receipt("a"), make_receipt("b"), make_receipt("c")])
    newer = make_receipt("b", read=9)
    for receipt in (newer, make_receipt("d"), Receipt(unit="c", fingerprint="", error="to be done again")):
        write_receipt(layout, receipt)
    assert known_state(layout, find_leavings(layout), StoreOptions())[0] == {
        "a": make_receipt("a"),
        "b": newer,
        "d": make_receipt("d"),
    }
