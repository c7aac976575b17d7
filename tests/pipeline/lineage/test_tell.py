"""Whole runs that tell a server of themselves."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import LatentlakeError, UsageError
from pipeline.beam.launch import launch
from pipeline.job.repair import retry_options
from pipeline.lineage.tell import _parent, _schema
from pipeline.options.job_options import JobOptions
from tests.conftest import Model
from tests.pipeline.conftest import run_job
from tests.pipeline.lineage.server import Server, check_event, serving

RUN = "01a4b8f2-0000-5000-8000-000000000002"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as server:
        monkeypatch.setenv("OPENLINEAGE_URL", server.url)
        yield server
        for event in server.events:
            check_event(event)


def test_a_run_tells_what_it_read_and_wrote(
    server: Server, shards: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "nights")
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", f"airflow/dag.task/{RUN}")
    out = tmp_path / "out"
    run_job("encode", shards, model.bundle, out)
    begun, ended = server.events
    assert (begun["eventType"], ended["eventType"]) == ("START", "COMPLETE")
    assert begun["run"]["runId"] == ended["run"]["runId"]
    assert ended["run"]["facets"]["parent"]["run"]["runId"] == RUN
    assert ended["job"]["name"] == f"encode.{out}"
    source, bundle = ended["inputs"]
    assert (source["namespace"], source["name"], bundle["name"]) == ("file", str(shards), model.bundle)
    files = [path for path in shards.rglob("*") if path.is_file()]
    read = source["inputFacets"]["inputStatistics"]
    assert (read["rowCount"], read["fileCount"]) == (1797, 3)
    assert read["size"] == sum(path.stat().st_size for path in files)
    (latents,) = ended["outputs"]
    assert (latents["namespace"], latents["name"]) == ("file", f"{out}/latents")
    written = latents["outputFacets"]["outputStatistics"]
    tables = [*(out / "latents").rglob("*.parquet")]
    assert written["rowCount"] == sum(pq.read_metadata(path).num_rows for path in tables)
    assert (written["fileCount"], written["size"]) == (3, sum(path.stat().st_size for path in tables))
    columns: pa.Schema = pq.read_schema(tables[0])
    fields = latents["facets"]["schema"]["fields"]
    assert [(field["name"], field["type"]) for field in fields] == [(one.name, str(one.type)) for one in columns]
    # A run that finds nothing to do has no effect to tell of, and one that is refused has not begun.
    run_job("encode", shards, model.bundle, out)
    with pytest.raises(UsageError):
        run_job("encode", shards / "none*", model.bundle, out)
    assert len(server.events) == 2


def test_an_output_without_success_has_failed(server: Server, model: Model, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(b"none")
    run_job("encode", tmp_path / "in", model.bundle, tmp_path / "out", format="folder")
    ended = server.events[-1]
    assert ended["eventType"] == "FAIL"
    assert "100.00% of the records were rejected" in ended["run"]["facets"]["errorMessage"]["message"]
    # A retry runs the output's own copy of the model, which is no input.
    launch(retry_options(str(tmp_path / "out"), {"max_reject_fraction": 1.0}), [])
    assert [event["eventType"] for event in server.events] == ["START", "FAIL", "START", "COMPLETE"]
    assert [one["name"] for one in server.events[-1]["inputs"]] == [str(tmp_path / "in")]


def test_a_run_that_fails_says_why(
    server: Server, shards: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise LatentlakeError("no room")

    monkeypatch.setattr("pipeline.beam.launch._run", full)
    with pytest.raises(LatentlakeError, match="no room"):
        run_job("encode", shards, model.bundle, tmp_path / "out")
    assert server.events[-1]["eventType"] == "FAIL"
    assert server.events[-1]["run"]["facets"]["errorMessage"]["message"] == "no room"


def test_an_interrupted_run_is_aborted(
    server: Server, shards: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.beam.launch._run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_job("encode", shards, model.bundle, tmp_path / "out")
    assert [event["eventType"] for event in server.events] == ["START", "ABORT"]


def test_a_transform_tells_from_its_commit(server: Server, shards: Path, model: Model, tmp_path: Path) -> None:
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from pipeline.transforms import EncodeShards

    with beam.Pipeline(FnApiRunner()) as pipeline:
        pipeline | EncodeShards(input=shards, model=model.bundle, output=tmp_path / "out")
        assert [event["eventType"] for event in server.events] == ["START"]
    assert [event["eventType"] for event in server.events] == ["START", "COMPLETE"]
    assert server.events[1]["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 1797


def test_a_server_that_is_down_costs_a_warning(
    shards: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serving() as server:
        monkeypatch.setenv("OPENLINEAGE_URL", server.url)
    assert run_job("encode", shards, model.bundle, tmp_path / "out")["complete"]
    assert caplog.text.count("was not told") == 2


def test_without_a_server_nothing_is_sent(shards: Path, model: Model, tmp_path: Path) -> None:
    from pipeline.job.prepare import prepare
    from pipeline.lineage.tell import lineage_of

    options = JobOptions(verb="encode", input=(str(shards),), model=model.bundle, output=str(tmp_path / "out"))
    assert lineage_of(prepare(options)) is None


@pytest.mark.parametrize("text", ["", "a", "a/b", "a/b/c", f"/b/{RUN}", f"a//{RUN}"])
def test_what_names_no_parent_is_none(text: str) -> None:
    assert _parent(text) is None


@pytest.mark.parametrize("data", [None, b"", b"no table", b"PAR1\xff\xff\xff\xff\0\0\0\0PAR1"])
def test_columns_of_a_damaged_table_are_not_told(tmp_path: Path, data: bytes | None) -> None:
    whole = tmp_path / "b.parquet"
    pq.write_table(pa.table({"key": ["a"]}), whole)
    if data is not None:
        (tmp_path / "a.parquet").write_bytes(data)
    assert _schema([str(tmp_path / "a.parquet"), str(whole)]) == pq.read_schema(whole)


def test_columns_whose_names_are_no_text_are_not_told(tmp_path: Path) -> None:
    table = tmp_path / "a.parquet"
    pq.write_table(pa.table({"keykey": ["a"]}), table, store_schema=False)
    table.write_bytes(table.read_bytes().replace(b"keykey", b"key\xff\nk"))
    assert _schema([str(table)]) is None
