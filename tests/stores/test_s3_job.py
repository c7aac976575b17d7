"""The whole job on S3: the rows and bytes that it gives on a disk, run again, killed, and over a bad network."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from harness.servers.gcs_server import GcsBucket, GcsServer
from harness.servers.proxy import Fault
from harness.servers.s3_server import Bucket, S3Server
from lake.core.errors import HeldError
from lake.storage import StoreOptions, request_retry
from lake.storage.request_retry import RequestBackoff
from pipeline.cli.command import main
from pipeline.config import Gate
from pipeline.output.fencing.lease import acquire, release
from pipeline.output.verify import verify
from tests.conftest import Model
from tests.faults.forkserver import Nursery
from tests.faults.outputs import files, rows
from tests.faults.torture import FOUR_WORKERS, make_shards
from tests.pipeline.conftest import run_job

GATE = {"gate": Gate(max_reject_fraction=0.2)}


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
    run_job("reconstruct", source, model.bundle, output, **GATE)
    return output


@pytest.fixture
def stocked(bucket: Bucket, source: Path, model: Model) -> Bucket:
    """The shards and the model, under ``in`` and ``bundle``."""
    bucket.upload(source, "in")
    bucket.upload(Path(model.bundle), "bundle")
    return bucket


def fetched(bucket: Bucket, folder: Path, prefix: str = "out/") -> Path:
    """The output as files."""
    for name, data in bucket.files(prefix).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def reconstruct(
    bucket: Bucket, server: S3Server, source: object = None, output: str = "out", **settings: Any
) -> dict[str, Any]:
    stores = StoreOptions(s3_endpoint=server.url)
    options = {"stores": stores, **GATE, **settings}
    shards = source or f"{bucket.uri}/in"
    return run_job("reconstruct", shards, f"{bucket.uri}/bundle", f"{bucket.uri}/{output}", **options)


def command(bucket: Bucket, url: str) -> list[str]:
    named = {"--input": "in", "--model": "bundle", "--output": "out"}
    uris = [word for name, at in named.items() for word in (name, f"{bucket.uri}/{at}")]
    return ["reconstruct", *uris, "--max-reject-fraction", "0.2", "--s3-endpoint", url]


def test_files_are_those_of_a_disk(stocked: Bucket, s3: S3Server, source: Path, on_disk: Path, tmp_path: Path) -> None:
    summary = reconstruct(stocked, s3, source)
    assert files(fetched(stocked, tmp_path)) == files(on_disk)
    assert summary["total"]["rejects"] == 18
    assert verify(f"{stocked.uri}/out", deep=True).problems == ()


def test_rows_are_those_of_a_disk(stocked: Bucket, s3: S3Server, on_disk: Path, tmp_path: Path) -> None:
    """Its bytes are not: a table names the identity of its shard, which a disk and a store say in their own way."""
    summary = reconstruct(stocked, s3)
    output = fetched(stocked, tmp_path)
    for table in ("latents", "rejects"):
        assert rows(output, table) == rows(on_disk, table) != []
    assert json.loads((output / "_SUCCESS").read_text())["total"] == summary["total"]
    before = stocked.files()
    again = reconstruct(stocked, s3)
    assert (again["run"]["units"], again["run"]["kept_units"]) == (0, 6)
    assert stocked.files() == before


def test_from_s3_to_a_disk(stocked: Bucket, s3: S3Server, source: Path, on_disk: Path, tmp_path: Path) -> None:
    """What is written there is what is written to S3 from the same shards."""
    reconstruct(stocked, s3)
    stores = StoreOptions(s3_endpoint=s3.url)
    run_job("reconstruct", f"{stocked.uri}/in", f"{stocked.uri}/bundle", tmp_path / "out", stores=stores, **GATE)
    assert files(tmp_path / "out") == files(fetched(stocked, tmp_path / "fetched"))


def test_from_s3_to_google(stocked: Bucket, s3: S3Server, gs: GcsBucket, gcs: GcsServer, tmp_path: Path) -> None:
    reconstruct(stocked, s3)
    both = StoreOptions(s3_endpoint=s3.url, gcs_endpoint=gcs.proxy.url)
    run_job("reconstruct", f"{stocked.uri}/in", f"{stocked.uri}/bundle", f"{gs.uri}/out", stores=both, **GATE)
    assert files(gs.download("out", tmp_path / "google")) == files(fetched(stocked, tmp_path / "amazon"))


def test_workers_of_other_processes_are_told(
    stocked: Bucket, s3: S3Server, nursery: Nursery, on_disk: Path, tmp_path: Path
) -> None:
    ended = nursery.run([*command(stocked, s3.url), "--threads", "1", *FOUR_WORKERS], tmp_path / "log")
    assert ended.status == 0, ended.said
    assert rows(fetched(stocked, tmp_path / "out")) == rows(on_disk)


def test_only_what_was_changed_is_done(stocked: Bucket, s3: S3Server, source: Path) -> None:
    reconstruct(stocked, s3)
    first, second = (f"in/a/{n:05d}.parquet" for n in (0, 2))
    stocked.put(first, stocked.get(first))  # the same bytes are the same object
    stocked.put(second, stocked.get("in/b/00001.parquet"))
    summary = reconstruct(stocked, s3)
    assert (summary["run"]["units"], summary["run"]["kept_units"]) == (1, 5)


def test_a_run_waits_for_nobody_elses(stocked: Bucket, s3: S3Server) -> None:
    acquire(f"{stocked.uri}/out", "other", ends_with_process=False)
    with pytest.raises(HeldError, match=f"{stocked.uri}/out is in use by run other"):
        reconstruct(stocked, s3)
    release(f"{stocked.uri}/out", "other")
    reconstruct(stocked, s3)
    assert "out/_hold" not in stocked.files()


def test_damage_is_found_and_mended(stocked: Bucket, s3: S3Server, capsys: pytest.CaptureFixture[str]) -> None:
    reconstruct(stocked, s3)
    clean = stocked.files("out/latents")
    name, data = next(iter(clean.items()))
    stocked.put(f"out/latents/{name}", data[:100] + bytes([data[100] ^ 1]) + data[101:])
    options = [f"{stocked.uri}/out", "--deep", "--s3-endpoint", s3.url]
    assert main(["verify", *options]) == 3
    assert f"latents/{name}: checksum" in capsys.readouterr().out
    assert main(["verify", *options, "--repair"]) == 0
    assert stocked.files("out/latents") == clean


@pytest.mark.parametrize("sign", ["_plan/", "latents/", "_receipts/", "_manifest.parquet"])
def test_a_killed_run_is_completed(stocked: Bucket, s3: S3Server, nursery: Nursery, tmp_path: Path, sign: str) -> None:
    """What had a receipt is not done again."""
    child = nursery.start(command(stocked, s3.url), tmp_path / "log")
    while not child.ended and not stocked.changes(f"out/{sign}"):
        pass
    if not child.ended:
        os.kill(child.pid, signal.SIGKILL)
    assert child.wait() in (0, -signal.SIGKILL), child.said
    done = [json.loads(receipt)["unit"] for receipt in stocked.files("out/_receipts/").values()]
    before = stocked.changes("out/latents/")
    ended = nursery.run(command(stocked, s3.url), tmp_path / "log")
    assert ended.status == 0, ended.said
    after = stocked.changes("out/latents/")
    assert [name for name in before if name.partition(".")[0] in done and after[name] != before[name]] == []
    assert stocked.uploads() == []
    reconstruct(stocked, s3, output="clean")
    assert files(fetched(stocked, tmp_path / "out", "out/")) == files(fetched(stocked, tmp_path / "clean", "clean/"))


def test_a_bad_network_changes_nothing(
    stocked: Bucket, s3: S3Server, source: Path, on_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_retry, "REQUESTS", RequestBackoff(first=0.01, most=0.1, deadline=30.0, stall=5.0))
    kinds = (503, "reset", "lost", 429, 500)
    faults = [
        Fault(what=what, method=method, skip=2 + 3 * number, times=2)
        for number, what in enumerate(kinds)
        for method in ("PUT", "HEAD", "GET")
    ]
    faults += [Fault(what=what, method="DELETE", skip=2 * number) for number, what in enumerate(kinds[:3])]
    faults += [Fault(what=what, method="POST", target="delete$", skip=number) for number, what in enumerate(kinds)]
    with s3.proxy.doing(*faults, Fault(what="cut", method="GET", name="^bundle/", skip=1, times=2)):
        stores = StoreOptions(s3_endpoint=s3.proxy.url)
        reconstruct(stocked, s3, source, stores=stores)
    assert files(fetched(stocked, tmp_path)) == files(on_disk)


def test_a_bucket_that_is_not_there_is_refused_at_launch(
    stocked: Bucket, s3: S3Server, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command(stocked, s3.url)
    words[words.index("--output") + 1] = "s3://not-made/out"
    assert main(words) == 2
    says = "error: s3://not-made/out: its bucket does not exist; make it, or correct its name\n"
    assert capsys.readouterr().err == says
