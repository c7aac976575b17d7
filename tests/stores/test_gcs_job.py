"""The whole job on ``gs://``: the rows and bytes that it gives on a disk, run again, killed, held and replaced."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from harness.servers.gcs_rules import kind
from harness.servers.gcs_server import GcsBucket, GcsServer
from lake.core.errors import HeldError, OutputError
from lake.storage import StoreOptions
from pipeline.cli.command import main
from pipeline.config import Gate
from pipeline.options.job_options import Scope
from pipeline.output.fencing import lease, lease_record
from pipeline.output.fencing.lease import acquire, check_free, release, renew
from pipeline.output.verify import verify
from tests.conftest import Model, png, write_parquet
from tests.faults.forkserver import Nursery
from tests.faults.outputs import add_up, files, litter, rows
from tests.faults.torture import FOUR_WORKERS, make_shards
from tests.pipeline.conftest import run_job

GATE = Gate(max_reject_fraction=0.2)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six shards of forty images, three of which are none."""
    folder = tmp_path_factory.mktemp("source") / "in"
    make_shards(folder)
    return folder


@pytest.fixture(scope="module")
def on_disk(source: Path, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``reconstruct`` from disk to disk."""
    output = tmp_path_factory.mktemp("disk") / "out"
    run_job("reconstruct", source, model.bundle, output, gate=GATE)
    return output


@pytest.fixture
def stocked(gs: GcsBucket, source: Path, model: Model) -> GcsBucket:
    """The shards and the model, under ``in`` and ``bundle``."""
    gs.upload(source, "in")
    gs.upload(Path(model.bundle), "bundle")
    return gs


def reconstruct(gs: GcsBucket, gcs: GcsServer, source: object = None, output: str = "out", **more: Any) -> Any:
    options = {"stores": StoreOptions(gcs_endpoint=gcs.proxy.url), "gate": GATE, **more}
    return run_job(
        options.pop("verb", "reconstruct"),
        source or f"{gs.uri}/in",
        f"{gs.uri}/bundle",
        f"{gs.uri}/{output}",
        **options,
    )


def command(gs: GcsBucket, url: str, verb: str = "reconstruct") -> list[str]:
    named = {"--input": "in", "--model": "bundle", "--output": "out"}
    uris = [word for name, at in named.items() for word in (name, f"{gs.uri}/{at}")]
    return [verb, *uris, "--max-reject-fraction", "0.2", "--gcs-endpoint", url]


def test_files_are_those_of_a_disk(
    stocked: GcsBucket, gcs: GcsServer, source: Path, on_disk: Path, tmp_path: Path
) -> None:
    """Of the same shards, every file of data and the manifest: none of them says where the output is."""
    summary = reconstruct(stocked, gcs, source)
    output = stocked.download("out", tmp_path)
    assert files(output) == files(on_disk)
    assert litter(output) == []
    assert add_up(output) == (240, 222, 18)
    assert summary["total"]["rejects"] == 18
    report = verify(f"{stocked.uri}/out", deep=True)
    assert (report.problems, report.extra, report.read) == ((), (), 240)


def test_rows_are_those_of_a_disk(stocked: GcsBucket, gcs: GcsServer, on_disk: Path, tmp_path: Path) -> None:
    """Not the bytes, where shards are on the store: footers and manifest have their identity, generation or mtime."""
    reconstruct(stocked, gcs)
    output = stocked.download("out", tmp_path)
    for table in ("latents", "rejects"):
        assert rows(output, table) == rows(on_disk, table) != []
    images = sorted(name for name in files(on_disk) if name.startswith("images/"))
    assert len(images) == 6
    assert all(pq.read_table(output / name).equals(pq.read_table(on_disk / name)) for name in images)


def test_from_the_store_to_a_disk(stocked: GcsBucket, gcs: GcsServer, tmp_path: Path) -> None:
    reconstruct(stocked, gcs)
    stores = StoreOptions(gcs_endpoint=gcs.proxy.url)
    bundle, output = f"{stocked.uri}/bundle", tmp_path / "out"
    run_job("reconstruct", f"{stocked.uri}/in", bundle, output, stores=stores, gate=GATE)
    assert files(output) == files(stocked.download("out", tmp_path / "fetched"))


def test_run_twice_is_run_once(stocked: GcsBucket, gcs: GcsServer) -> None:
    reconstruct(stocked, gcs)
    before = stocked.generations()
    with gcs.proxy.doing() as seen:
        summary = reconstruct(stocked, gcs)
    assert (summary["run"]["units"], summary["run"]["kept_units"]) == (0, 6)
    assert stocked.generations() == before
    assert {kind(request) for request in seen} == {"list", "stat", "read"}


def test_only_what_is_new_or_changed_is_done_and_what_is_gone_is_pruned(
    stocked: GcsBucket, gcs: GcsServer, tmp_path: Path
) -> None:
    reconstruct(stocked, gcs)
    before = stocked.generations("out/latents/")
    stocked.put("in/a/00002.parquet", stocked.get("in/b/00001.parquet"))
    stocked.put("in/c/new.parquet", stocked.get("in/b/00003.parquet"))
    stocked.delete("in/a/00004.parquet")
    summary = reconstruct(stocked, gcs, scope=Scope(prune=True))
    assert (summary["run"]["units"], summary["run"]["kept_units"]) == (2, 4)
    after = stocked.generations("out/latents/")
    assert after.keys() - before.keys() == {"out/latents/c/new.parquet"}
    assert before.keys() - after.keys() == {"out/latents/a/00004.parquet"}
    assert {name for name in before.keys() & after.keys() if before[name] != after[name]} == {
        "out/latents/a/00002.parquet"
    }
    reconstruct(stocked, gcs, output="clean")
    found, wanted = (files(stocked.download(name, tmp_path / name)) for name in ("out", "clean"))
    assert found == wanted


def test_overwrite_replaces_and_without_it_is_refused(stocked: GcsBucket, gcs: GcsServer, tmp_path: Path) -> None:
    reconstruct(stocked, gcs, verb="encode")
    with pytest.raises(OutputError, match=r"verb encode -> reconstruct.*--overwrite"):
        reconstruct(stocked, gcs)
    reconstruct(stocked, gcs, overwrite=True)
    reconstruct(stocked, gcs, output="clean")
    found, wanted = (files(stocked.download(name, tmp_path / name)) for name in ("out", "clean"))
    assert found == wanted


def test_a_retry_joins_what_succeeds(stocked: GcsBucket, gcs: GcsServer, tmp_path: Path) -> None:
    small = png(np.full((4, 4), 9, np.uint8))
    write_parquet(tmp_path / "x.parquet", [small, *[png(np.full((8, 8), n, np.uint8)) for n in range(9)]], range(10))
    stocked.put("few/x.parquet", (tmp_path / "x.parquet").read_bytes())
    summary = reconstruct(stocked, gcs, f"{stocked.uri}/few", verb="encode")
    assert (summary["total"]["results"], summary["total"]["rejects"]) == (9, 1)
    assert main(["retry", f"{stocked.uri}/out", "--resize", "stretch", "--gcs-endpoint", gcs.proxy.url]) == 0
    output = stocked.download("out", tmp_path / "out")
    assert add_up(output) == (10, 10, 0)
    assert [row["index"] for row in rows(output)] == list(range(10))
    assert verify(f"{stocked.uri}/out", deep=True).problems == ()


def test_damage_is_found_and_mended(
    stocked: GcsBucket, gcs: GcsServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    reconstruct(stocked, gcs)
    clean = files(stocked.download("out", tmp_path / "clean"))
    name, data = next((name, data) for name, data in clean.items() if name.startswith("latents/"))
    stocked.put(f"out/{name}", data[:100] + bytes([data[100] ^ 1]) + data[101:])
    options = [f"{stocked.uri}/out", "--deep", "--gcs-endpoint", gcs.proxy.url]
    assert main(["verify", *options]) == 3
    assert f"{name}: checksum" in capsys.readouterr().out
    assert main(["verify", *options, "--repair"]) == 0
    assert files(stocked.download("out", tmp_path / "mended")) == clean


def test_workers_of_other_processes_are_told(
    stocked: GcsBucket, gcs: GcsServer, nursery: Nursery, on_disk: Path, tmp_path: Path
) -> None:
    ended = nursery.run([*command(stocked, gcs.url), "--threads", "1", *FOUR_WORKERS], tmp_path / "log")
    assert ended.status == 0, ended.said
    assert rows(stocked.download("out", tmp_path / "out")) == rows(on_disk)


@pytest.mark.parametrize("sign", ["_plan/", "latents/", "_receipts/", "_manifest.parquet"])
def test_a_killed_run_is_completed(
    stocked: GcsBucket, gcs: GcsServer, nursery: Nursery, tmp_path: Path, sign: str
) -> None:
    """What had a receipt is not done again."""
    child = nursery.start(command(stocked, gcs.url), tmp_path / "log")
    while not child.ended and not stocked.names(f"out/{sign}"):
        pass
    if not child.ended:
        os.kill(child.pid, signal.SIGKILL)
    assert child.wait() in (0, -signal.SIGKILL), child.said
    done = [name.removeprefix("out/_receipts/").removesuffix(".json") for name in stocked.names("out/_receipts/")]
    before = stocked.generations("out/latents/")
    ended = nursery.run(command(stocked, gcs.url), tmp_path / "log")
    assert ended.status == 0, ended.said
    after = stocked.generations("out/latents/")
    assert all(after[name] == before[name] for name in (f"out/latents/{unit}.parquet" for unit in done))
    reconstruct(stocked, gcs, output="clean")
    found, wanted = (files(stocked.download(name, tmp_path / name)) for name in ("out", "clean"))
    assert found == wanted


def test_of_two_runs_at_once_one_is_told_to_wait(
    stocked: GcsBucket, gcs: GcsServer, nursery: Nursery, tmp_path: Path
) -> None:
    racers = [nursery.start(command(stocked, gcs.url), tmp_path / f"log{number}") for number in range(2)]
    statuses = sorted(racer.wait() for racer in racers)
    loser = next((racer for racer in racers if racer.status == 4), None)
    assert statuses in ([0, 4], [0, 0]), [racer.said for racer in racers]
    assert loser is None or f"error: {stocked.uri}/out is in use by run " in loser.said
    assert verify(f"{stocked.uri}/out", deep=True).problems == ()


def test_a_hold_is_taken_kept_lost_and_released(gs: GcsBucket, gcs: GcsServer) -> None:
    output = f"{gs.uri}/out"

    def held() -> dict[str, Any]:
        value: dict[str, Any] = json.loads(gs.get("out/_hold"))
        return value

    assert check_free(output)
    assert not acquire(output, "one", ends_with_process=False)
    with pytest.raises(HeldError, match="in use by run one"):
        acquire(output, "two", ends_with_process=False)
    with gcs.proxy.doing() as seen:
        renew(output, "one")
    assert [kind(request) for request in seen] == ["read"], "a fresh beat is not written again"
    gs.put("out/_hold", json.dumps(held() | {"beat": time.time() - lease.RENEWAL}).encode())
    with gcs.proxy.doing() as seen:
        renew(output, "one")
    assert [kind(request) for request in seen] == ["read", "insert"]
    assert time.time() - held()["beat"] < 5
    gs.put("out/_hold", json.dumps(held() | {"beat": time.time() - lease_record.EXPIRY - 1}).encode())
    assert acquire(output, "two", ends_with_process=False), "a dead one's"
    with pytest.raises(HeldError, match="no longer held by run one, run two"):
        renew(output, "one")
    release(output, "one")
    assert held()["run"] == "two"
    release(output, "two")
    assert gs.names() == []


def test_a_bucket_that_is_not_there_is_refused_at_launch(
    stocked: GcsBucket, gcs: GcsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command(stocked, gcs.proxy.url)
    words[words.index("--output") + 1] = "gs://not-made/out"
    with gcs.proxy.doing() as seen:
        assert main(words) == 2
    says = "error: gs://not-made/out: its bucket does not exist; make it, or correct its name\n"
    assert capsys.readouterr().err == says
    assert not [request for request in seen if kind(request) == "insert"]
