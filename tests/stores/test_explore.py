"""Questions to outputs in buckets, and their pages: the answers that the same outputs give on a disk."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.servers.gcs_server import GcsBucket, GcsServer
from harness.servers.s3_server import Bucket, S3Server
from lake.storage import StoreOptions
from pipeline.cli.command import main
from pipeline.explore.output import Output
from tests.conftest import write_parquet
from tests.pipeline.conftest import run_job

_KEY = "00003.png"


def _run(root: str, stores: StoreOptions) -> None:
    """Two nights of digits, under ``root``: some of the first are there twice, and one is no image."""
    more: dict[str, Any] = {"stores": stores, "hash": True, "resize": "stretch", "gate": {"max_reject_fraction": 1.0}}
    for night in ("one", "two"):
        run_job("reconstruct", f"{root}/{night}", "zoo:mnist-autoencoder", f"{root}/out-{night}", **more)


def _answers(root: str, cache: Path, **stores: str) -> dict[str, Any]:
    """All that can be asked of them, with one name for the root."""
    one, two = (Output(f"{root}/out-{night}", cache=cache, **stores) for night in ("one", "two"))
    found = {
        "similar": one.similar([_KEY, "00005.png"], k=4),
        "similar to a table": one.similar(table=f"{root}/queries.parquet", k=3),
        "similar to an image": one.similar(image=f"{root}/query.png", k=3),
        "outliers by error": one.outliers(top=5),
        "outliers by neighbours": one.outliers(top=5, by="neighbours"),
        "duplicates": one.duplicates(),
        "copies": one.duplicates(two),
        "drift": one.compare(f"{root}/out-two"),
    }
    answers: dict[str, Any] = {name: answer.table.to_pylist() for name, answer in found.items()}
    one.gallery(found["copies"], f"{root}/gallery.html", other=two)
    page = one.report(f"{root}/report.html", against=two).to_value()
    answers["report"] = {name: page[name] for name in ("headline", "findings", "look_at")}
    answers["images"] = {key: image.tobytes().hex() for key, image in one.images(_KEY).items()}
    answers["rejects"] = one.rejects.to_table(columns=["key", "reason"]).to_pylist()
    same: dict[str, Any] = json.loads(json.dumps(answers).replace(root, "lake:"))
    return same


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory, digit_files: list[bytes]) -> Path:
    """The shards, what is asked of them, and the outputs."""
    folder = tmp_path_factory.mktemp("disk")
    write_parquet(folder / "one/a.parquet", [*digit_files[:300], b"no image", *digit_files[7:10]], [0] * 304)
    write_parquet(folder / "two/a.parquet", digit_files[200:500], [0] * 300)
    pq.write_table(pa.table({"key": [_KEY, "00011.png"]}), folder / "queries.parquet")
    (folder / "query.png").write_bytes(digit_files[600])
    _run(str(folder), StoreOptions())
    return folder


@pytest.fixture(scope="module")
def wanted(disk: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    answers = _answers(str(disk), tmp_path_factory.mktemp("cache"))
    assert all(answers.values())
    same = [row["key"] for row in answers["duplicates"] if row["by"] == "sha256"]
    assert same == ["00301.png", "00302.png", "00303.png"]
    assert [row["by"] for row in answers["copies"]].count("sha256") == 100
    return answers


def _check(
    bucket: Bucket | GcsBucket, stores: Mapping[str, Any], disk: Path, wanted: Mapping[str, Any], cache: Path
) -> None:
    for name in ("one", "two"):
        bucket.upload(disk / name, f"lake/{name}")
    for name in ("queries.parquet", "query.png"):
        bucket.put(f"lake/{name}", (disk / name).read_bytes())
    _run(f"{bucket.uri}/lake", StoreOptions(**stores))
    found = _answers(f"{bucket.uri}/lake", cache, **stores)
    assert {name: found[name] for name in wanted if found[name] != wanted[name]} == {}
    for page in ("gallery.html", "report.html"):
        assert bucket.get(f"lake/{page}").startswith(b"<!doctype html>")


def test_on_gcs(
    gs: GcsBucket,
    gcs: GcsServer,
    disk: Path,
    wanted: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _check(gs, {"gcs_endpoint": gcs.proxy.url}, disk, wanted, tmp_path / "cache")
    asked = ["similar", f"{gs.uri}/lake/out-one", f"--key={_KEY}", "--json", f"--gcs-endpoint={gcs.proxy.url}"]
    assert main([*asked, f"--cache={tmp_path}/cache", f"--output-table={gs.uri}/found.parquet"]) == 0
    assert len(json.loads(capsys.readouterr().out)["neighbours"]) == 10
    assert pq.read_table(pa.BufferReader(gs.get("found.parquet"))).num_rows == 10
    assert main(asked) == 2
    assert "name a local directory for its latents, --cache DIR" in capsys.readouterr().err


def test_on_s3(bucket: Bucket, s3: S3Server, disk: Path, wanted: dict[str, Any], tmp_path: Path) -> None:
    _check(bucket, {"s3_endpoint": s3.url}, disk, wanted, tmp_path / "cache")
