"""``status`` of outputs in object stores: right to the unit while the launcher is dead, and few requests."""

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.servers.gcs_server import GcsBucket, GcsServer
from harness.servers.s3_server import Bucket, S3Server
from pipeline.output.progress.status import State, Status, status
from tests.conftest import Model
from tests.faults.forkserver import Nursery
from tests.faults.torture import make_shards

SHARDS = 8


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "in"
    make_shards(folder, SHARDS)
    return folder


def command(uri: str, *endpoint: str) -> list[str]:
    where = ["--input", f"{uri}/in", "--model", f"{uri}/bundle", "--output", f"{uri}/out"]
    return ["encode", *where, "--max-reject-fraction=0.2", "--threads=1", *endpoint]


def check(found: Status, receipts: Mapping[str, bytes]) -> None:
    """The lease is of a process of this machine, so that its death is seen at once."""
    units = [json.loads(receipt) for receipt in receipts.values()]
    assert (found.state, found.todo, found.done, found.failed) == (State.DEAD, SHARDS, len(units), 0)
    assert 0 < len(units) < SHARDS
    assert found.read == sum(unit["read"] for unit in units)
    assert found.rejects == sum(sum(unit["rejects"].values()) for unit in units)


def test_a_killed_launcher_on_gcs(
    gs: GcsBucket, gcs: GcsServer, nursery: Nursery, source: Path, model: Model, tmp_path: Path
) -> None:
    gs.upload(source, "in")
    gs.upload(Path(model.bundle), "bundle")
    child = nursery.start(command(gs.uri, f"--gcs-endpoint={gcs.proxy.url}"), tmp_path / "log")
    while not child.ended and not gs.names("out/_receipts/"):
        pass
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    with gcs.proxy.doing() as seen:
        found = status(f"{gs.uri}/out/", gcs_endpoint=gcs.proxy.url)
    receipts = {name: gs.get(name) for name in gs.names("out/_receipts/")}
    check(found, receipts)
    assert {request.method for request in seen} == {"GET"}
    assert len([*seen]) <= 20 + len(receipts)


def test_a_killed_launcher_on_s3(
    bucket: Bucket, s3: S3Server, nursery: Nursery, source: Path, model: Model, tmp_path: Path
) -> None:
    bucket.upload(source, "in")
    bucket.upload(Path(model.bundle), "bundle")
    child = nursery.start(command(bucket.uri, f"--s3-endpoint={s3.url}"), tmp_path / "log")
    while not child.ended and not bucket.changes("out/_receipts/"):
        pass
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    check(status(f"{bucket.uri}/out", s3_endpoint=s3.url), bucket.files("out/_receipts/"))
