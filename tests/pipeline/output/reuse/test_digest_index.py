"""An index of digests against a plain dictionary, over several parts."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.output.reuse import digest_index
from pipeline.output.reuse.digest_index import DigestIndex, keys_of, write_index
from pipeline.output.reuse.reusable import ReusableTable


def digests_of(numbers: range) -> list[bytes]:
    return [hashlib.sha256(f"{number}".encode()).digest() for number in numbers]


def write_table(path: Path, digests: list[bytes], fingerprint: str) -> ReusableTable:
    table = pa.table({"sha256": pa.array(digests, pa.binary(32))})
    pq.write_table(table.replace_schema_metadata({"latentlake.fingerprint": fingerprint}), path, row_group_size=37)
    return ReusableTable(uri=str(path), fingerprint=fingerprint, rows=len(digests))


@pytest.mark.parametrize("part", [1 << 22, 64])
def test_every_record_is_found_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    monkeypatch.setattr(digest_index, "_PART", part)
    kept = [digests_of(range(start, start + 250)) for start in (0, 1000, 200)]
    tables = [write_table(tmp_path / f"{at}.parquet", some, f"{at}") for at, some in enumerate(kept)]
    lost = ReusableTable(uri=str(tmp_path / "gone.parquet"), fingerprint="x", rows=9)
    write_index(str(tmp_path / "index"), [lost, *tables])
    assert len([*(tmp_path / "index").glob("part-*")]) == (1 if part > 64 else 16)
    index = DigestIndex(str(tmp_path / "index"))
    asked = digests_of(range(1500))
    found = zip(asked, *index.find(keys_of(np.frombuffer(b"".join(asked), np.uint8).reshape(-1, 32))), strict=True)
    wanted = {digest: (1 + at, row) for at, some in reversed([*enumerate(kept)]) for row, digest in enumerate(some)}
    assert {digest: (table, row) for digest, table, row in found if table >= 0} == wanted


def test_an_index_of_nothing(tmp_path: Path) -> None:
    write_index(str(tmp_path), [])
    tables, _ = DigestIndex(str(tmp_path)).find(np.array([0, 1 << 63], np.uint64))
    assert tables.tolist() == [-1, -1]


def test_places_of_no_table_are_not_followed(tmp_path: Path) -> None:
    """As a damaged part would have them."""
    write_index(str(tmp_path), [])
    (tmp_path / "part-00000").write_bytes(np.array([7, 5 << 32], np.uint64).tobytes())
    assert DigestIndex(str(tmp_path)).find(np.array([7], np.uint64))[0].tolist() == [-1]
