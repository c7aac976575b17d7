"""The files of an output in an Iceberg table: one by one, and the entries that pyiceberg itself reads."""

import gc
import shutil
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("pyiceberg.catalog.sql")

from pyiceberg.manifest import DataFile

from lake.core.errors import VerifyError
from lake.core.records import OutputFile
from pipeline.tables.iceberg import IcebergTable
from pipeline.tables.iceberg_catalog import loaded, opened_catalog
from pipeline.tables.iceberg_files import files_of, files_of_all
from pipeline.tables.table import TableSpec

SPEC = TableSpec(kind="iceberg")
METADATA = ("00001-*.json", "*-m0.avro", "snap-*")
# What a flip does to SQLite's file depends on the place; a lost one is a table that is not there.
DAMAGE = [("catalog.db", "cut"), *product([f"table/metadata/{one}" for one in METADATA], ["gone", "cut", "flip"])]


def write(output: Path, numbers: Sequence[int]) -> list[OutputFile]:
    """Data files of a few rows, by days."""
    names = [f"latents/day={number % 3}/{number:03d}.parquet" for number in numbers]
    for name in names:
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"key": ["a", "b"], "value": [1.0, 2.0]}), output / name)
    return [OutputFile(name=name, size=(output / name).stat().st_size, rows=2, crc32c="0") for name in names]


def seen(file: DataFile) -> tuple[Any, ...]:
    return file.file_path, file.spec_id, file.partition, file.record_count, file.lower_bounds, file.column_sizes


def test_they_are_those_that_pyiceberg_reads(tmp_path: Path) -> None:
    table = IcebergTable(SPEC, str(tmp_path))
    nights = [write(tmp_path, numbers) for numbers in (range(30), range(31), range(5, 33))]
    for before, files in zip([[], *nights], nights, strict=False):
        table.publish(files, len(before), "r", lambda: None)
    with opened_catalog(SPEC, str(tmp_path)) as catalog:
        found = loaded(catalog, SPEC)
        assert found is not None
        head = found.current_snapshot()
        assert head is not None
        manifests = head.manifests(found.io)
        read = [entry.data_file for one in manifests for entry in one.fetch_manifest_entry(found.io)]
        assert len(manifests) > 1
        assert [seen(file) for _, file in files_of(found, head, SPEC, str(tmp_path))] == [seen(file) for file in read]
        assert {name for name, _ in files_of(found, head, SPEC, str(tmp_path))} == {file.name for file in nights[-1]}
        assert len(files_of_all(found, SPEC, str(tmp_path))) == 33
        assert [*table.problems(nights[-1])] == []


def test_few_are_held_of_many(tmp_path: Path) -> None:
    IcebergTable(SPEC, str(tmp_path)).publish(write(tmp_path, range(60)), 0, "r", lambda: None)
    with opened_catalog(SPEC, str(tmp_path)) as catalog:
        table = loaded(catalog, SPEC)
        assert table is not None
        gc.collect()
        before = held()
        for _ in files_of(table, table.current_snapshot(), SPEC, str(tmp_path)):
            assert held() - before <= 2


def held() -> int:
    return sum(type(one) is DataFile for one in gc.get_objects())


def test_each_difference_is_named(tmp_path: Path) -> None:
    table, files = IcebergTable(SPEC, str(tmp_path)), write(tmp_path, range(6))
    table.publish(files, 0, "r", lambda: None)
    *most, last = files
    changed = OutputFile(name=last.name, size=last.size, rows=5, crc32c="0")
    more = OutputFile(name="latents/day=0/new.parquet", size=1, rows=1, crc32c="0")
    said = [*table.problems([*most[1:], changed, more])]
    name = "table latentlake.latents"
    assert said[0].startswith("snapshot ")
    assert said[1:] == [
        f"{name} lacks {more.name}; run the job again",
        f"{name} also has {files[0].name}; run the job again",
        f"{name} has {last.name} as 2 rows in {last.size} bytes",
    ]
    shutil.rmtree(tmp_path / "_iceberg")
    assert [*table.problems(files)] == [f"{name} is not in its catalog; run the job again, which makes it anew"]


@pytest.mark.parametrize(("pattern", "damage"), DAMAGE)
def test_what_is_damaged_is_named_and_made_anew_as_the_message_says(tmp_path: Path, pattern: str, damage: str) -> None:
    table, files = IcebergTable(SPEC, str(tmp_path)), write(tmp_path, range(12))
    table.publish(files, 0, "r", lambda: None)
    (path,) = (tmp_path / "_iceberg").glob(pattern)
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        half = len(whole) // 2
        path.write_bytes(whole[:half] + (b"\xff" * 8 + whole[half + 8 :] if damage == "flip" else b""))
    for ask in (lambda: [*table.problems(files)], lambda: table.publish(files[:5], 12, "r", lambda: None)):
        with pytest.raises(VerifyError, match=rf"{path.name}\b.*; remove _iceberg/ and run the job again") as caught:
            ask()
        assert str(caught.value).startswith("table latentlake.latents cannot be read: ")
    shutil.rmtree(tmp_path / "_iceberg")
    table.publish(files[:5], 12, "r", lambda: None)
    assert [*table.problems(files[:5])] == []
