"""Jobs that publish an Iceberg table, night after night, read by pyiceberg."""

import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake.core.errors import HeldError, LatentlakeError, OutputError, UsageError, VerifyError
from lake.core.retry import Backoff
from pipeline.beam.launch import launch
from pipeline.explore.output import Output
from pipeline.job.repair import repair_options, retry_options
from pipeline.options.job_options import Scope
from pipeline.output.commit import commit, publish_state
from pipeline.output.fencing.lease import holder, release
from pipeline.output.verify import verify
from pipeline.tables import iceberg, iceberg_catalog
from tests.conftest import long_forms, write_parquet
from tests.pipeline.conftest import run_job

sql = pytest.importorskip("pyiceberg.catalog.sql")

from pipeline.tables.sqlite_catalog import SqliteCatalog  # noqa: E402


def table_of(path: Path, name: str = "latentlake.latents") -> Any:
    """A table of a SQLite catalog, as a reader opens it."""
    return sql.SqlCatalog("latentlake", uri=f"sqlite:///{path}").load_table(name)


class Night:
    """A job that is run again and again."""

    def __init__(self, folder: Path, files: list[bytes]) -> None:
        self.input, self.output, self.files = folder / "in", folder / "out", files

    def shard(self, name: str, start: int, count: int = 10) -> None:
        write_parquet(self.input / f"{name}.parquet", self.files[start : start + count], [*range(count)])

    def run(self, **options: Any) -> dict[str, Any]:
        given = {"table": "iceberg", "resize": "stretch", **options}
        return run_job("encode", self.input, "zoo:mnist-autoencoder", self.output, **given)

    @property
    def table(self) -> Any:
        return table_of(self.output / "_iceberg/catalog.db")

    def check(self) -> None:
        """The table has the rows of the manifest's files, and verify agrees."""
        verify(str(self.output), deep=True).raise_for_problems()
        columns = ["shard", "index", "latent"]
        own = Output(str(self.output)).table.to_table(columns=columns)
        assert rows(self.table.scan(selected_fields=tuple(columns)).to_arrow()) == rows(own)
        assert Output(str(self.output)).snapshot == str(self.table.current_snapshot().snapshot_id)


def rows(table: pa.Table) -> list[tuple[str, int, list[float]]]:
    return sorted(zip(*(table[name].to_pylist() for name in ("shard", "index", "latent")), strict=True))


@pytest.fixture
def night(tmp_path: Path, digit_files: list[bytes]) -> Night:
    job = Night(tmp_path, digit_files)
    job.shard("a", 0)
    job.shard("b", 10)
    return job


def operations(table: Any) -> list[str]:
    return [snapshot.summary.operation.value for snapshot in table.snapshots()]


def test_nights(night: Night) -> None:
    summary = night.run()
    night.check()
    snapshot = night.table.current_snapshot()
    assert summary["table"] == {
        "kind": "iceberg",
        "catalog": "",
        "name": "latentlake.latents",
        "snapshot": str(snapshot.snapshot_id),
    }
    assert snapshot.summary["latentlake.output"] == f"{night.output}/"
    assert snapshot.summary["latentlake.run"] == summary["run"]["id"]
    night.run()  # nothing to do
    night.shard("c", 20)
    night.run(table=None)  # which the output keeps
    night.check()
    assert operations(night.table) == ["append", "append"]
    assert night.table.current_snapshot().summary["added-data-files"] == "1"
    # One shard has changed, one is gone, and one is new: one snapshot, and what readers of the last one see stays.
    night.shard("a", 30, 12)
    (night.input / "b.parquet").unlink()
    night.shard("d", 50)
    before = night.table.current_snapshot().snapshot_id
    night.run(scope=Scope(prune=True))
    night.check()
    assert operations(night.table) == ["append", "append", "overwrite"]
    said = night.table.current_snapshot().summary
    assert (said["added-data-files"], said["deleted-data-files"]) == ("2", "2")
    assert night.table.scan(snapshot_id=before).to_arrow().num_rows == 30
    assert night.table.scan().to_arrow().num_rows == 32
    # By and by the table drops the old snapshots, and then their files go.
    with night.table.transaction() as change:
        change.set_properties({"history.expire.max-snapshot-age-ms": "0"})
    for name, start in (("e", 70), ("f", 80)):
        night.shard(name, start)
        night.run()
    night.check()
    assert {path.name.partition(".")[0] for path in (night.output / "latents").iterdir()} == {*"acdef"}
    assert len([*(night.output / "latents").iterdir()]) == 5


def test_directories_are_partitions(night: Night) -> None:
    for name, start in (("dt=2026-11-28/site=a%20b/x", 20), ("dt=__HIVE_DEFAULT_PARTITION__/site=c/y", 30)):
        night.shard(name, start)
    night.run()
    night.check()
    found = night.table.scan(selected_fields=("shard", "dt", "site")).to_arrow()
    said = {shard: (dt, site) for shard, dt, site in zip(*found.to_pydict().values(), strict=True)}
    assert said == {
        "a.parquet": (None, None),
        "b.parquet": (None, None),
        "dt=2026-11-28/site=a%20b/x.parquet": ("2026-11-28", "a b"),
        "dt=__HIVE_DEFAULT_PARTITION__/site=c/y.parquet": (None, "c"),
    }
    assert [field.name for field in night.table.spec().fields] == ["dt", "site"]
    assert len([*night.table.scan("dt = '2026-11-28'").plan_files()]) == 1
    # A later night has one more directory, and replaces a file of the old partitions.
    night.shard("dt=2026-11-28/site=a%20b/x", 40)
    night.shard("dt=2026-11-29/site=c/hour=7/z", 50)
    night.run()
    night.check()
    assert night.table.scan("hour = '7'").to_arrow().num_rows == 10
    assert night.table.scan("dt = '2026-11-28'").to_arrow().num_rows == 10


def test_partitions_of_a_column_have_its_type(night: Night) -> None:
    night.run(partition_by="label")
    night.check()
    kinds = {field.name: str(field.field_type) for field in night.table.schema().fields}
    assert kinds["label"] == "long"
    found = night.table.scan("label = 3")
    assert len([*found.plan_files()]) == 2
    assert sorted(zip(*(found.to_arrow()[name].to_pylist() for name in ("shard", "index", "label")), strict=True)) == [
        ("a.parquet", 3, 3),
        ("b.parquet", 3, 3),
    ]


@pytest.mark.slow
def test_columns_are_found_by_their_bounds(night: Night) -> None:
    night.run(hash=True)
    names = [field.name for field in night.table.schema().fields]
    assert names == ["key", "shard", "index", "latent", "sha256", "phash", "label"]
    assert len([*night.table.scan("shard = 'a.parquet'").plan_files()]) == 1


@pytest.mark.slow
def test_an_output_from_before_is_taken_as_it_is(night: Night) -> None:
    night.run(table=None)
    before = sorted(path.name for path in (night.output / "latents").iterdir())
    assert before == ["a.parquet", "b.parquet"]
    assert night.run()["run"]["units"] == 0
    night.check()
    assert sorted(path.name for path in (night.output / "latents").iterdir()) == before
    # A file that a snapshot has keeps its bytes for good.
    bytes_before = (night.output / "latents/a.parquet").read_bytes()
    night.shard("a", 40)
    night.run()
    night.check()
    assert (night.output / "latents/a.parquet").read_bytes() == bytes_before


KILLS = {
    "before the manifest": (publish_state, "publish_manifest"),
    "between manifest and snapshot": (iceberg.IcebergTable, "publish"),
    "between snapshot and record": (iceberg.IcebergTable, "_expire"),
    "between record and _SUCCESS": (publish_state, "_publish"),
    "before the clean-up": (commit, "clean_up"),
}


_QUICK = "between snapshot and record"


@pytest.mark.parametrize("when", [_QUICK, *long_forms(*(when for when in KILLS if when != _QUICK))])
def test_a_run_that_dies_is_mended_by_the_next(night: Night, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    night.run()
    night.shard("a", 30, 12)
    night.shard("c", 20)
    (night.input / "b.parquet").unlink()

    def dies(*_: Any, **__: Any) -> None:
        raise RuntimeError("the end")

    with monkeypatch.context() as patch:
        patch.setattr(*KILLS[when], dies)
        with pytest.raises((LatentlakeError, RuntimeError), match="the end"):
            night.run(scope=Scope(prune=True))
    if when != "before the clean-up":
        assert verify(str(night.output)).problems
    night.run(scope=Scope(prune=True))
    night.check()
    assert operations(night.table) == ["append", "overwrite"]


def test_another_writer_is_first(night: Night, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two outputs and a user write to one table, and each loses a race: nothing is lost, nothing is there twice."""
    shared = {"catalog": str(tmp_path / "lake.db"), "table_name": "lake.digits"}
    night.run(**shared)
    other = Night(tmp_path / "other", night.files)
    other.shard("x", 100)
    night.shard("a", 30, 12)
    night.shard("c", 20)
    plain, races = iceberg.data_files, [lambda: other.run(**shared), lambda: by_hand(tmp_path)]

    def late(*given: Any) -> Any:
        if races:
            races.pop(0)()
        return plain(*given)

    monkeypatch.setattr(iceberg, "data_files", late)
    monkeypatch.setattr(iceberg_catalog, "_CONFLICT", Backoff(first=0.01, most=0.01, attempts=12))
    night.run(**shared)
    assert not races
    table = table_of(tmp_path / "lake.db", "lake.digits")
    truth = [row for job in (night, other) for row in rows(Output(str(job.output)).table.to_table())]
    found = table.scan().to_arrow_batch_reader().read_all()  # to_arrow fails where files of pyiceberg are among others
    assert rows(found) == sorted([*truth, *truth[:1]])
    for job in (night, other):
        verify(str(job.output)).raise_for_problems()
    assert operations(table) == ["append", "append", "append", "overwrite"]


def by_hand(folder: Path) -> None:
    """A user adds a row."""
    table = table_of(folder / "lake.db", "lake.digits")
    first = Output(str(folder / "out")).table.to_table().slice(0, 1).to_pylist()
    table.append(pa.Table.from_pylist(first, table.schema().as_arrow()))


def test_a_run_that_loses_the_output_publishes_nothing(
    night: Night, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It has read the table's head, and then the lease and the head are another's."""
    shared = {"catalog": str(tmp_path / "lake.db"), "table_name": "lake.digits"}
    night.run(**shared)
    night.shard("c", 20)
    plain = iceberg.data_files

    def late(*given: Any) -> Any:
        if (found := holder(str(night.output))) is not None:
            release(str(night.output), found.run)
            by_hand(tmp_path)
        return plain(*given)

    monkeypatch.setattr(iceberg, "data_files", late)
    with pytest.raises(HeldError):
        night.run(**shared)
    table = table_of(tmp_path / "lake.db", "lake.digits")
    assert operations(table) == ["append", "append"]
    assert table.current_snapshot().summary["total-records"] == "21"


@pytest.mark.slow
def test_an_answer_that_is_lost(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog has committed, and the run does not hear of it."""
    plain, lost = SqliteCatalog.commit_table, [ConnectionError("reset by peer")]

    def commit_table(*given: Any) -> Any:
        answer = plain(*given)
        if lost:
            raise lost.pop()
        return answer

    monkeypatch.setattr(SqliteCatalog, "commit_table", commit_table)
    monkeypatch.setattr(iceberg_catalog, "_UNREACHABLE", Backoff(first=0.01, most=0.01, attempts=3))
    night.run()
    night.check()
    assert not lost
    assert operations(night.table) == ["append"]


@pytest.mark.slow
def test_who_rewrites_the_files_is_named(night: Night) -> None:
    night.run()
    night.table.overwrite(night.table.scan().to_arrow())  # as compaction does
    report = verify(str(night.output))
    assert "lacks latents/a." in str(report.lost)
    assert "also has" not in str(report.lost)  # the other writer's file is none of this output's
    night.shard("c", 20)
    with pytest.raises(LatentlakeError, match=r"has lost latents/a\..* keep compaction off this table"):
        night.run()


def test_rejects_are_retried_into_new_files(night: Night, digit_files: list[bytes]) -> None:
    write_parquet(night.input / "a.parquet", [*digit_files[:5], b"none"], [*range(6)])
    lenient = {"gate": {"max_reject_fraction": 0.5}}
    night.run(**lenient)
    before = night.table.current_snapshot().snapshot_id
    launch(retry_options(str(night.output), {"max_reject_fraction": 0.5, "resize": "fit"}), [])
    night.check()
    assert night.table.current_snapshot().snapshot_id != before
    assert night.table.scan(snapshot_id=before).to_arrow().num_rows == 15


@pytest.mark.slow
def test_a_damaged_file_is_repaired_to_the_bytes_of_the_snapshot(night: Night) -> None:
    night.run()
    [path] = (night.output / "latents").glob("a.*")
    whole, snapshot = path.read_bytes(), night.table.current_snapshot().snapshot_id
    path.write_bytes(whole[:-9])
    launch(repair_options(verify(str(night.output))), [])
    night.check()
    assert path.read_bytes() == whole
    assert night.table.current_snapshot().snapshot_id == snapshot


@pytest.mark.slow
def test_a_table_that_is_lost_is_made_anew(night: Night) -> None:
    night.run()
    shutil.rmtree(night.output / "_iceberg")
    assert "is not in its catalog" in str(verify(str(night.output)).lost)
    assert night.run()["run"]["units"] == 0
    night.check()


def test_a_lost_record_of_the_table_is_written_anew(night: Night) -> None:
    night.run()
    record = night.output / "_table.json"
    before = record.read_bytes()
    record.unlink()
    said = "it names the snapshot of a table, but _table.json is missing; run the job again"
    assert [problem.problem for problem in verify(str(night.output)).lost] == [said]
    night.run(table=None)
    assert record.read_bytes() == before
    night.check()


@pytest.mark.slow
def test_a_table_with_a_damaged_manifest_is_made_anew(night: Night) -> None:
    night.run()
    (manifest,) = (night.output / "_iceberg/table/metadata").glob("*-m0.avro")
    manifest.write_bytes(manifest.read_bytes()[:-9])
    night.shard("c", 20)
    said = f"{manifest.name}: .*; remove _iceberg/ and run the job again, which makes the table anew"
    assert re.search(said, str(verify(str(night.output)).lost))
    with pytest.raises(VerifyError, match=said):
        night.run()
    shutil.rmtree(night.output / "_iceberg")
    night.run()
    night.check()


@pytest.mark.slow
def test_the_gate_keeps_readers_at_the_last_complete_state(night: Night) -> None:
    night.run()
    before = night.table.current_snapshot().snapshot_id
    write_parquet(night.input / "a.parquet", [b"none", *night.files[:5]], [*range(6)])
    summary = night.run()
    assert not summary["complete"] and "table" not in summary
    assert night.table.current_snapshot().snapshot_id == before
    assert night.table.scan().to_arrow().num_rows == 20
    night.shard("a", 0, 12)
    night.run()
    night.check()
    assert night.table.scan(snapshot_id=before).to_arrow().num_rows == 20


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"latent_type": "float16"}, "column 'latent' is halffloat, which Iceberg does not have; write latents as"),
        ({"table": None, "catalog": "prod"}, "add --table iceberg or ducklake, or leave them out"),
        ({"catalog": "prod"}, "add --table-name NAMESPACE.NAME"),
        ({"catalog": "http://me:secret@host", "table_name": "a.b"}, "--catalog is a name or the path of a SQLite file"),
        ({"catalog": "nowhere", "table_name": "a.b"}, "table a.b of catalog nowhere: ValueError: URI missing"),
        ({"table_name": "../x"}, "'../x' is no NAMESPACE.NAME"),
        ({"latent_format": "mds"}, "--table is of Parquet, not of --latent-format mds"),
    ],
)
def test_refusals(night: Night, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        night.run(**options)
    assert not night.output.exists()


@pytest.mark.slow
def test_another_table_is_refused(night: Night, tmp_path: Path) -> None:
    night.run()
    with pytest.raises(OutputError, match=r"is published to the table latentlake\.latents"):
        night.run(catalog=str(tmp_path / "x.db"), table_name="a.b")


def test_a_table_of_other_columns_is_refused(night: Night, tmp_path: Path) -> None:
    catalog = sql.SqlCatalog("latentlake", uri=f"sqlite:///{tmp_path / 'x.db'}", warehouse=str(tmp_path))
    catalog.create_namespace("a")
    catalog.create_table("a.b", pa.schema([("latent", pa.string())]))
    with pytest.raises(UsageError, match=r"table a.b of catalog .*x.db cannot take these rows"):
        night.run(catalog=str(tmp_path / "x.db"), table_name="a.b")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bfloat16", "int8", "binary"])
def test_latents_in_smaller_types(night: Night, kind: str) -> None:
    night.run(latent_type=kind)
    night.check()
