"""Rows of earlier tables, at any place and of any condition, against the tables themselves."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.output.reuse.reusable import ReusableTable
from pipeline.worker import reused_latents
from pipeline.worker.reused_latents import TableRows

LATENT = pa.list_(pa.field("element", pa.float32(), nullable=False), 3)
SCHEMA = pa.schema([("sha256", pa.binary(32)), ("phash", pa.int64()), ("latent", LATENT)])
COUNT, GROUP = 230, 50


def write_table(path: Path, seed: int, said: dict[str, str] | None = None) -> tuple[ReusableTable, np.ndarray]:
    rng = np.random.default_rng(seed)
    latents = rng.normal(size=(COUNT, 3)).astype(np.float32)
    columns = [
        pa.array([rng.bytes(32) for _ in range(COUNT)], pa.binary(32)),
        pa.array([None if row % 7 == 0 else row for row in range(COUNT)], pa.int64()),
        pa.FixedSizeListArray.from_arrays(pa.array(latents.reshape(-1)), type=LATENT),
    ]
    metadata = {"latentlake.fingerprint": path.name, **(said or {})}
    pq.write_table(
        pa.table(columns, schema=SCHEMA.with_metadata(metadata)), path, row_group_size=GROUP, write_page_checksum=True
    )
    return ReusableTable(uri=str(path), fingerprint=path.name), latents


@pytest.mark.parametrize("spool", [1 << 30, 4000], ids=["all fits", "a row group fits"])
def test_rows_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spool: int) -> None:
    monkeypatch.setattr(reused_latents, "_SPOOL", spool)
    (one, first), (other, second) = write_table(tmp_path / "one", 1), write_table(tmp_path / "other", 2)
    reader, rng = TableRows([one, other], SCHEMA, ["latent"]), np.random.default_rng(3)
    for _ in range(4):
        tables, rows = rng.integers(0, 2, 90), rng.integers(0, COUNT, 90)
        found = reader.read(tables, rows)
        wanted = np.where((tables == 0)[:, None], first[rows], second[rows])
        np.testing.assert_array_equal(found["latent"], wanted)
        np.testing.assert_array_equal(found["has_phash"], rows % 7 != 0)
        np.testing.assert_array_equal(found["phash"], np.where(rows % 7 != 0, rows, 0))


def test_no_table_is_opened_without_a_row_to_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody sees that the other one is gone."""
    good, latents = write_table(tmp_path / "good", 1)
    gone = ReusableTable(uri=str(tmp_path / "gone"), fingerprint="gone")
    found = TableRows([gone, good], SCHEMA, ["latent"]).read(np.array([1, 1]), np.array([7, COUNT - 1]))
    np.testing.assert_array_equal(found["latent"], latents[[7, COUNT - 1]])
    assert not caplog.text


def test_rows_that_are_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of a table that is gone, replaced, of other columns, tried again or damaged, and beyond the end of one."""
    good, latents = write_table(tmp_path / "good", 1)
    gone = ReusableTable(uri=str(tmp_path / "gone"), fingerprint="gone")
    replaced = ReusableTable(uri=good.uri, fingerprint="another")
    retried, _ = write_table(tmp_path / "retried", 2, {"latentlake.retried": "{}"})
    damaged, _ = write_table(tmp_path / "damaged", 4)
    data = bytearray((tmp_path / "damaged").read_bytes())
    data[200] ^= 1  # in the first row group
    (tmp_path / "damaged").write_bytes(data)
    tables = [good, gone, replaced, retried, damaged]
    wider = SCHEMA.set(2, pa.field("latent", pa.list_(pa.field("element", pa.float32(), nullable=False), 4)))
    assert not TableRows([good], wider, ["latent"]).read(np.array([0]), np.array([3]))["sha256"].any()
    found = TableRows(tables, SCHEMA, ["latent"]).read(np.array([0, 0, 1, 2, 3, 4]), np.array([3, COUNT, 3, 3, 3, 3]))
    np.testing.assert_array_equal(found["latent"][0], latents[3])
    assert not found["sha256"][1:].any(), "no record has such a digest"
    for what in ("gone is gone", "good was written again since", "retried was written again", "damaged is damaged"):
        assert what in caplog.text
