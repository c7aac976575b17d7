"""A DuckLake table of the files of an output, read by a DuckDB of its own, which has the extension."""

import json
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.engines.machines import ENGINES
from lake.core.errors import HeldError, LatentlakeError, UsageError
from lake.core.records import OutputFile
from lake.core.retry import Backoff
from pipeline.explore.output import Output
from pipeline.options.job_options import Scope
from pipeline.output.verify import verify
from pipeline.tables import ducklake_catalog
from pipeline.tables.ducklake import DuckLakeTable
from pipeline.tables.ducklake_lake import Lake
from pipeline.tables.table import TableSpec, files_digest
from tests.conftest import write_parquet
from tests.pipeline.conftest import run_job
from tests.pipeline.tables.test_lance import rows_of_files, write

NAME = "lake.latentlake.latents"
SIGNED = ducklake_catalog._QUIET
LOADED = dict[str, ModuleType]()  # of the engines' DuckDB, whose native code a process can load only once


@pytest.fixture(scope="module", autouse=True)
def duckdb_with_extensions() -> Iterator[None]:
    """The DuckDB of the engines: the newest one has no wheel of its extension."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _of_duckdb():
            patch.delitem(sys.modules, name)
        for name, module in LOADED.items():
            patch.setitem(sys.modules, name, module)
        patch.syspath_prepend(ENGINES / "duckdb")
        # To check the signatures of two extensions takes 0.3 s, each time.
        patch.setattr(ducklake_catalog, "_QUIET", {**SIGNED, "allow_unsigned_extensions": "true"})
        yield
        LOADED.update({name: sys.modules[name] for name in _of_duckdb()})


def _of_duckdb() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in {"duckdb", "_duckdb"}]


def catalog_of(output: Path) -> Path:
    return output / "_ducklake/catalog.db"


def query(catalog: Path, *statements: str) -> list[dict[str, Any]]:
    """Ask a catalog as its readers do."""
    with closing(ducklake_catalog.connect()) as connection:
        connection.execute(f"ATTACH 'ducklake:sqlite:{catalog}' AS lake")
        return answered(connection, *statements)


def answered(connection: Any, *statements: str) -> list[dict[str, Any]]:
    """The rows of the last of some statements."""
    for statement in statements:
        found = connection.execute(statement)
    return [dict(zip((name for name, *_ in found.description), row, strict=True)) for row in found.fetchall()]


class Lakes:
    """The table of an output.

    Args:
      output: its directory.
      catalog: the SQLite file; None for the one within.
    """

    def __init__(self, output: Path, catalog: Path | None = None) -> None:
        self.output, self.catalog = output, catalog or catalog_of(output)
        self.spec = TableSpec(kind="ducklake", catalog=str(catalog or ""))

    @property
    def table(self) -> DuckLakeTable:
        return DuckLakeTable(self.spec, str(self.output))

    def publish(self, files: list[OutputFile], run: str = "r", hold: Callable[[], None] = lambda: None) -> int:
        """The snapshot that is the output's last one then."""
        made = self.table.publish(files, 0, run, hold)
        assert made is not None and made == self.table.current()
        assert made.digest == files_digest(files)
        assert [*self.table.problems(files)] == []
        return int(made.id)

    def rows(self, then: str = "") -> list[dict[str, Any]]:
        return query(self.catalog, f"SELECT key, shard, index, latent FROM {NAME} {then} ORDER BY shard, index")


def late(monkeypatch: pytest.MonkeyPatch, *races: Callable[[], Any]) -> None:
    """Let something happen between the look at a table and the commit that follows from it, each time."""
    plain, left = Lake.change, [*races]

    def change(*given: Any) -> Any:
        if left:
            left.pop(0)()
        return plain(*given)

    monkeypatch.setattr(Lake, "change", change)
    monkeypatch.setattr(ducklake_catalog, "_CONFLICT", Backoff(first=0.01, most=0.01, attempts=4))


def test_a_snapshot_for_each_change(tmp_path: Path) -> None:
    lakes = Lakes(tmp_path)
    a, b, c = (write(tmp_path, f"latents/{name}.parquet", 5 + seed, seed) for seed, name in enumerate("abc"))
    empty = write(tmp_path, "latents/empty.parquet", 0, 3)
    assert lakes.table.publish([], 0, "r", lambda: None) is lakes.table.publish([empty], 0, "r", lambda: None) is None
    assert not lakes.catalog.exists() and lakes.table.current() is None
    assert lakes.publish([a, b, empty], "monday") == 1
    assert lakes.publish([a, b, empty], "monday") == 1  # a commit that is repeated
    assert lakes.publish([a, b, c], "tuesday") == 2
    # Catalogs may keep what few rows are deleted in themselves, and then the file would stay.
    query(lakes.catalog, "CALL lake.set_option('data_inlining_row_limit', 1000)")
    again = write(tmp_path, "latents/a[1]*{x,y}.parquet", 9, 7)
    assert lakes.publish([again, c], "wednesday") == 3
    assert lakes.rows() == rows_of_files(tmp_path, [again, c])
    assert lakes.rows("AT (VERSION => 2)") == rows_of_files(tmp_path, [a, b, c])
    assert lakes.table.named() == {file.name for file in (a, b, c, again)}
    query(lakes.catalog, "CALL ducklake_expire_snapshots('lake', versions => [1, 2])")
    assert lakes.table.named() == {file.name for file in (again, c)}
    assert lakes.publish([], "friday") == 4
    assert lakes.rows() == []
    shutil.rmtree(lakes.catalog.parent)
    assert "is not in its catalog" in next(lakes.table.problems([c]))
    assert lakes.publish([c], "saturday") == 1


def test_another_writer_is_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run, another output and a user write to one table: nothing is lost, and nothing is there twice."""
    one, two = (Lakes(tmp_path / name, tmp_path / "lake.db") for name in ("one", "two"))
    a, b = (write(one.output, f"latents/{name}.parquet", 6, seed) for seed, name in enumerate("ab"))
    x = write(two.output, "latents/x.parquet", 6, 9)
    one.publish([a])
    late(
        monkeypatch,
        lambda: query(one.catalog, f"INSERT INTO {NAME} (shard, index) VALUES ('zz', 7)"),
        lambda: two.publish([x]),
        lambda: None,  # of the output two
        lambda: one.publish([b], "another run"),
    )
    one.publish([b])
    rows = [*rows_of_files(one.output, [b]), *rows_of_files(two.output, [x])]
    by_hand = {"key": None, "shard": "zz", "index": 7, "latent": None}
    assert one.rows() == [*sorted(rows, key=lambda row: (row["shard"], row["index"])), by_hand]
    assert [*one.table.problems([b]), *two.table.problems([x])] == []


def test_a_run_that_has_lost_the_output_publishes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has looked at the table and at its lease; then another run took both."""
    lakes = Lakes(tmp_path)
    a, b, c = (write(tmp_path, f"latents/{name}.parquet", 6, seed) for seed, name in enumerate("abc"))
    lakes.publish([a])
    lost = list[str]()

    def hold() -> None:
        if lost:
            raise HeldError("lost")

    late(monkeypatch, lambda: lost.append("the lease") or lakes.publish([a, c], "another run"))
    with pytest.raises(HeldError):
        lakes.publish([a, b], hold=hold)
    assert lakes.rows() == rows_of_files(tmp_path, [a, c])


def test_a_run_that_dies_within_the_snapshot_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lakes = Lakes(tmp_path)
    a, b = (write(tmp_path, f"latents/{name}.parquet", 6, seed) for seed, name in enumerate("ab"))
    lakes.publish([a])

    def add(*_: Any, **__: Any) -> None:
        raise RuntimeError("the end")

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "add", add)
        with pytest.raises(LatentlakeError, match=r"the end.* run the job again"):
            lakes.publish([b])
    assert lakes.rows() == rows_of_files(tmp_path, [a])
    assert lakes.publish([b]) == 2


def test_who_rewrites_the_files_is_named(tmp_path: Path) -> None:
    lakes = Lakes(tmp_path)
    a, b = (write(tmp_path, f"latents/{name}.parquet", 20, seed) for seed, name in enumerate("ab"))
    lakes.publish([a])
    query(lakes.catalog, f"DELETE FROM {NAME} WHERE index > 10")
    assert [*lakes.table.problems([a])] == [
        f"table latentlake.latents has latents/a.parquet as 11 of 20 rows in {a.size} bytes"
    ]
    query(lakes.catalog, "CALL ducklake_rewrite_data_files('lake', delete_threshold => 0)")
    assert "lacks latents/a.parquet; run the job again" in str([*lakes.table.problems([a])])
    with pytest.raises(LatentlakeError, match=r"has lost latents/a.parquet of .* keep compaction off this table"):
        lakes.publish([a, b])
    query(lakes.catalog, "CALL ducklake_expire_snapshots('lake', versions => [1])")
    with pytest.raises(LatentlakeError, match="has lost 1 files of"):
        lakes.table.publish([a, b], 1, "r", lambda: None)


def test_a_snapshot_that_has_expired_and_an_output_that_was_moved(tmp_path: Path) -> None:
    lakes = Lakes(tmp_path / "out")
    a = write(lakes.output, "latents/a.parquet", 6, 1)
    lakes.publish([a])
    query(lakes.catalog, "CREATE SCHEMA lake.other")
    query(lakes.catalog, "CALL ducklake_expire_snapshots('lake', versions => [1])")
    assert lakes.table.current() is None
    assert lakes.publish([a]) == 3
    moved = Lakes(lakes.output.rename(tmp_path / "moved"))
    with pytest.raises(UsageError, match=r"the output was moved.* remove _ducklake/ and _table.json"):
        moved.table.current()


def test_directories_and_later_columns(tmp_path: Path) -> None:
    lakes = Lakes(tmp_path)
    days = ("2026-11-28", "a%20b", "__HIVE_DEFAULT_PARTITION__")
    files = [write(tmp_path, f"latents/dt={day}/x.parquet", 3, seed) for seed, day in enumerate(days)]
    lakes.publish(files)
    later = write(tmp_path, "latents/dt=2026-11-28/y.parquet", 3, 8)
    table = pq.read_table(tmp_path / later.name, partitioning=None)
    pq.write_table(table.append_column("caption", pa.array(["one", "two", None])), tmp_path / later.name)
    later = OutputFile(name=later.name, size=(tmp_path / later.name).stat().st_size, rows=3, crc32c="8")
    lakes.publish([*files, later])
    found = query(lakes.catalog, f"SELECT dt, count(*) AS n, count(caption) AS c FROM {NAME} GROUP BY dt ORDER BY dt")
    assert [(*row.values(),) for row in found] == [("2026-11-28", 6, 2), ("a b", 3, 0), (None, 3, 0)]
    lakes.table.check(pa.schema([("key", pa.string())]), [])  # of an output that has no units any more
    mixed = r"'latents/z.parquet' is not in directories dt= as others are, and DuckLake misreads such tables"
    with pytest.raises(UsageError, match=mixed):
        lakes.table.check(pa.schema([]), [later.name, "latents/z.parquet"])
    with pytest.raises(UsageError, match=r"is partitioned by \['dt'\], and the directories of the files say \[\]"):
        lakes.table.check(pa.schema([("key", pa.string())]), ["latents/z.parquet"])
    with pytest.raises(UsageError, match="cannot take these rows: its column 'key' is VARCHAR, and theirs BIGINT"):
        lakes.table.check(pa.schema([("key", pa.int64())]), [later.name])


def test_a_catalog_that_a_secret_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    where = f"METADATA_PATH 'sqlite:{tmp_path}/lake.db', DATA_PATH '{tmp_path}/data/'"
    with closing(ducklake_catalog.connect()) as connection:
        connection.execute(f"CREATE PERSISTENT SECRET prod (TYPE ducklake, {where})")
    lakes = Lakes(tmp_path / "out", tmp_path / "lake.db")
    lakes.spec = TableSpec(kind="ducklake", catalog="prod")
    a = write(lakes.output, "latents/a.parquet", 6, 1)
    lakes.publish([a])
    assert lakes.rows() == rows_of_files(lakes.output, [a])
    lakes.spec = TableSpec(kind="ducklake", catalog="postgres:password=x")
    with pytest.raises(UsageError, match="is no name of a secret of DuckDB"):
        lakes.table.current()
    lakes.spec = TableSpec(kind="ducklake", catalog="nowhere")
    with pytest.raises(UsageError, match=r'catalog nowhere: .*Secret "nowhere" was not found'):
        lakes.table.current()


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.field("Filename", pa.string()), "a column is called Filename, as one of DuckLake"),
        (pa.field("x", pa.decimal256(50, 2)), r"column 'x' is decimal256\(50, 2\), which DuckLake does not take"),
        (pa.field("latent", pa.list_(pa.float16(), 4)), r"column 'latent' is fixed.*halffloat.*; write latents as"),
        (pa.field("KEY", pa.string()), "leave a column out with --carry"),
    ],
)
def test_columns_that_do_not_fit(tmp_path: Path, column: pa.Field, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Lakes(tmp_path).table.check(pa.schema([pa.field("key", pa.string()), column]), [])


def test_what_latents_are_made_of(tmp_path: Path) -> None:
    values = np.arange(8).reshape(2, 4)
    kinds = (pa.float32(), pa.uint16(), pa.int8(), pa.uint8())
    columns = {str(kind): pa.array([*values.astype(kind.to_pandas_dtype())], pa.list_(kind, 4)) for kind in kinds}
    columns |= {"sha256": pa.array([b"\x00" * 32, b"\xff" * 32], pa.binary(32)), "phash": pa.array([1, 2], pa.uint64())}
    path = tmp_path / "latents/a.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table(columns), path)
    lakes = Lakes(tmp_path)
    lakes.table.check(pa.table(columns).schema, ["latents/a.parquet"])
    lakes.publish([OutputFile(name="latents/a.parquet", size=path.stat().st_size, rows=2, crc32c="0")])
    assert query(lakes.catalog, f"FROM {NAME}") == pq.read_table(path).to_pylist()


def test_nights(tmp_path: Path, digit_files: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A job, with what the launch, the output and verification say; it is killed once, and then mended."""
    monkeypatch.setattr(ducklake_catalog, "_QUIET", SIGNED)
    source, output = tmp_path / "in", tmp_path / "out"

    def run(**options: Any) -> dict[str, Any]:
        given = {"resize": "stretch", "partition_by": "label", **options}
        return run_job("encode", source, "zoo:mnist-autoencoder", output, **given)

    def check(snapshot: int) -> None:
        verify(str(output), deep=True).raise_for_problems()
        listed = ("shard", "index", "label", "latent")
        own = Output(str(output))
        truth = own.table.to_table(columns=[*listed]).to_pylist()
        ordered = f"SELECT {', '.join(listed)} FROM {NAME} ORDER BY shard, index"
        assert query(catalog_of(output), ordered) == sorted(truth, key=lambda row: (row["shard"], row["index"]))
        assert own.snapshot == str(snapshot)

    for name, start in (("a", 0), ("b", 10)):
        write_parquet(source / f"{name}.parquet", digit_files[start : start + 10], [i % 3 for i in range(10)])
    summary = run(table="ducklake")
    check(snapshot=1)
    assert summary["table"] == {"kind": "ducklake", "catalog": "", "name": "latentlake.latents", "snapshot": "1"}
    [said] = query(catalog_of(output), "FROM ducklake_snapshots('lake') WHERE snapshot_id = 1")
    assert (said["author"], json.loads(said["commit_extra_info"])) == (
        "latentlake",
        {
            "output": f"{output}/",
            "table": "latentlake.latents",
            "run": summary["run"]["id"],
            "manifest": json.loads((output / "_table.json").read_text())["digest"],
        },
    )
    write_parquet(source / "a.parquet", digit_files[30:42], [i % 3 for i in range(12)])
    (source / "b.parquet").unlink()
    with pytest.MonkeyPatch.context() as patch:

        def dies(_: Lake) -> int:
            raise RuntimeError("the end")

        patch.setattr(Lake, "committed", dies)  # the catalog has it, and the output does not know
        with pytest.raises(LatentlakeError, match="the end"):
            run(scope=Scope(prune=True))
    assert verify(str(output)).problems
    run(scope=Scope(prune=True))
    check(snapshot=2)


def test_files_that_had_no_rows(tmp_path: Path, digit_files: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not in the table: nothing is due where there are no others, and none is lost that gets rows later."""
    monkeypatch.setattr(ducklake_catalog, "_QUIET", SIGNED)
    source, output = tmp_path / "in", tmp_path / "out"

    def run(**counts: int) -> str | None:
        """The run that the output is of, after one over shards of some numbers of images."""
        for name, count in counts.items():
            write_parquet(source / f"{name}.parquet", digit_files[:count], [0] * count)
        run_job("encode", source, "zoo:mnist-autoencoder", output, resize="stretch", table="ducklake")
        return Output(str(output)).snapshot

    assert run(a=0, b=0) is None
    first = json.loads((output / "_SUCCESS").read_text())["run"]["id"]
    assert run() is None and json.loads((output / "_SUCCESS").read_text())["run"]["id"] == first
    assert run(a=9) == "1"
    query(catalog_of(output), "CREATE SCHEMA lake.other", "CALL ducklake_expire_snapshots('lake', versions => [1])")
    assert run(b=4) == "3"
    verify(str(output), deep=True).raise_for_problems()
    assert len(query(catalog_of(output), f"FROM {NAME}")) == 13


def test_a_catalog_that_another_program_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lakes = Lakes(tmp_path)
    a = write(tmp_path, "latents/a.parquet", 6, 1)
    lakes.publish([a])
    monkeypatch.setattr(ducklake_catalog, "_PATIENCE", 100)
    plain = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file: plain(file, timeout=0.1))
    with closing(plain(lakes.catalog, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        said = "database is locked; another program is writing to its catalog: run this again when it is done"
        for ask in (lakes.table.current, lambda: lakes.table.check(pa.schema([("key", pa.string())]), [a.name])):
            with pytest.raises(UsageError, match=said):
                ask()
        monkeypatch.setattr(ducklake_catalog, "_CONFLICT", Backoff(first=0.01, most=0.01, attempts=4))
        with pytest.raises(LatentlakeError, match=said):
            lakes.table.publish([a], 1, "r", lambda: None)
        other.execute("COMMIT")
    assert [*lakes.table.problems([a])] == []
