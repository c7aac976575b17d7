"""Examples of rejects: a few of each reason, the first ones."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.records import Reason, Reject, Stage
from pipeline.output.commit import reject_examples
from pipeline.output.commit.reject_examples import examples
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import Manifest
from pipeline.output.units.receipts import Receipt
from pipeline.output.units.tables import reject_rows
from tests.pipeline.values import make_receipt

BIG, CORRUPT = Reason.TOO_MANY_PIXELS, Reason.CORRUPT_IMAGE


def write(root: Path, unit: str, *reasons: Reason, text: str = "d") -> None:
    rows = [
        Reject(
            shard=f"{unit}.tar", index=i, key=f"k{i}{text}", stage=Stage.DECODE, reason=reason, detail=text, data=b"1"
        )
        for i, reason in enumerate(reasons)
    ]
    path = root / f"rejects/{unit}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_batches([reject_rows(rows, 10)]), path)


def found(root: Path, receipts: Iterable[Receipt], *reasons: Reason) -> Mapping[str, list[dict[str, Any]]]:
    layout = Layout(str(root))
    return examples(layout, Manifest(layout, sorted(receipts, key=lambda receipt: receipt.unit)), reasons)


def test_the_first_of_each_reason(tmp_path: Path) -> None:
    write(tmp_path, "b", CORRUPT, BIG, CORRUPT, CORRUPT)
    write(tmp_path, "a", CORRUPT)
    receipts = [
        make_receipt("b", rejects={BIG: 1, CORRUPT: 3}),
        make_receipt("c", read=9),
        make_receipt("a", rejects={CORRUPT: 1}),
    ]
    assert found(tmp_path, receipts, CORRUPT, BIG) == {
        "corrupt_image": [
            {"shard": "a.tar", "index": 0, "key": "k0d", "detail": "d"},
            {"shard": "b.tar", "index": 0, "key": "k0d", "detail": "d"},
            {"shard": "b.tar", "index": 2, "key": "k2d", "detail": "d"},
        ],
        "too_many_pixels": [{"shard": "b.tar", "index": 1, "key": "k1d", "detail": "d"}],
    }


def test_texts_are_cut_since_they_come_from_data(tmp_path: Path) -> None:
    write(tmp_path, "a", CORRUPT, text="é" * 300)
    (one,) = found(tmp_path, [make_receipt("a", rejects={CORRUPT: 1})], CORRUPT)[CORRUPT]
    assert (one["key"], one["detail"]) == ("k0" + "é" * 198, "é" * 200)
    assert one["index"] == 0


@pytest.mark.parametrize("data", [None, b"", b"no table at all"])
def test_a_table_that_cannot_be_read_ends_no_commit(tmp_path: Path, data: bytes | None) -> None:
    write(tmp_path, "b", CORRUPT)
    if data is not None:
        (tmp_path / "rejects/a.parquet").write_bytes(data)
    receipts = [make_receipt(unit, rejects={CORRUPT: 1}) for unit in "ab"]
    one, other = found(tmp_path, receipts, CORRUPT)[CORRUPT]
    assert list(one) == ["detail"]
    assert one["detail"].startswith("rejects/a.parquet cannot be read: ")
    assert len(one["detail"]) <= 200
    assert other["shard"] == "b.tar"


def test_only_as_many_rows_are_read_as_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a", *[CORRUPT] * 5)
    rows = reject_examples._rows(str(tmp_path / "rejects/a.parquet"), CORRUPT)
    assert next(rows)["index"] == 0
    assert len([*rows]) == 4
