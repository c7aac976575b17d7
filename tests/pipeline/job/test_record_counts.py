"""How many records there are, before any is read: by footers, headers and indexes of real files."""

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pytest

from lake.inputs.discover import find_shards
from lake.inputs.units import make_units
from pipeline.job import record_counts
from pipeline.job.record_counts import count_records, total_records
from tests.conftest import write_parquet
from tests.pipeline.values import make_shard, make_unit

ROWS = 2500
TABLE = pa.table({"image": pa.array([b"x" * (number % 50) for number in range(ROWS)], pa.binary())})


def write_stream(path: Path) -> None:
    with pa.ipc.new_stream(path, TABLE.schema) as stream:
        stream.write_table(TABLE, max_chunksize=100)


def write_dictionary(path: Path) -> None:
    labels = pa.array(["cat", "dog"] * (ROWS // 2)).dictionary_encode()
    table = TABLE.append_column("label", labels)
    with pa.ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table, max_chunksize=1000)


def write_file(path: Path) -> None:
    with pa.ipc.new_file(path, TABLE.schema) as file:
        file.write_table(TABLE, max_chunksize=100)


WRITERS = {
    "a.parquet": lambda path: write_parquet(path, TABLE["image"].to_pylist(), range(ROWS)),
    "stream.arrow": write_stream,
    "dictionary.arrow": write_dictionary,
    "file.arrow": write_file,
    "packed.feather": lambda path: feather.write_feather(TABLE, path, compression="zstd", chunksize=300),
    "a.npy": lambda path: np.save(path, np.zeros((ROWS, 2, 2), np.uint8)),
    "a.npz": lambda path: np.savez_compressed(path, x=np.zeros((ROWS, 2, 2), np.uint8), y=np.zeros(ROWS, np.int64)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_footer_a_header_or_an_index_tells_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    (unit,) = make_units(find_shards([str(path)]))
    assert count_records(unit) == ROWS
    assert count_records(unit, footers=False) is None
    data = path.read_bytes()
    for end in (len(data) * 2 // 3, 20, 0):  # what is cut tells nothing, or what it did have
        path.write_bytes(data[:end])
        assert count_records(unit) in (None, *range(ROWS + 1))


def test_an_arrow_stream_of_very_many_messages_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lake.formats.arrow import reader

    write_stream(tmp_path / "stream.arrow")
    (unit,) = make_units(find_shards([str(tmp_path / "stream.arrow")]))
    monkeypatch.setattr(reader, "_COUNTED", 26)
    assert count_records(unit) == ROWS
    monkeypatch.setattr(reader, "_COUNTED", 25)
    assert count_records(unit) is None


def test_what_tells_no_number(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.tfrecord.gz", "wb"):
        pass
    (unit,) = make_units(find_shards([str(tmp_path / "a.tfrecord.gz")], "tfrecord"))
    assert count_records(unit) is None
    for uri in ("/none/a.parquet", "gs://b/a.parquet"):
        shards = (make_shard("a.parquet", uri=uri),)
        assert count_records(make_unit("a", shards=shards, format="parquet")) is None


def test_the_number_of_several_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        write_parquet(tmp_path / f"{number}.parquet", [b"x"] * (number + 1), range(number + 1))
    units = [*make_units(find_shards([str(tmp_path)]))]
    known = make_unit("slice", stop=100)
    assert total_records([*units, known]) == 106
    assert total_records([*units, make_unit("tfrecord")]) is None
    assert total_records([make_unit("slice", stop=100, retry_rejects=True)]) is None
    monkeypatch.setattr(record_counts, "FOOTERS", 2)
    assert total_records(units) is None
    assert total_records([known, *units[:2]]) == 103
