"""A dataset card in a bucket: written beside objects, kept current, and told with lineage as bucket and key."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.servers.gcs_server import GcsBucket, GcsServer
from harness.servers.s3_server import Bucket, S3Server
from lake.storage import StoreOptions, store_for
from pipeline.output.verify import verify
from tests.conftest import Model, write_parquet
from tests.pipeline.conftest import run_job


def _two_nights(
    bucket: Bucket | GcsBucket, stores: StoreOptions, model: Model, folder: Path, files: list[bytes]
) -> None:
    """Encode one shard with a card, and another one the next night."""
    settings: dict[str, Any] = {"stores": stores, "card": True}
    for night in range(2):
        write_parquet(folder / f"in/{night}.parquet", files[:20], [*range(20)])
        bucket.upload(folder / "in", "in")
        run_job("encode", f"{bucket.uri}/in", model.bundle, f"{bucket.uri}/out", **settings)
        page = bucket.get("out/README.md").decode()
        assert f"{20 * (night + 1)} records read" in page
        bucket.put("out/README.md", page.replace("---\n", "---\nlicense: mit\n", 1).encode())
    assert page.count("license: mit") == 1
    assert not verify(f"{bucket.uri}/out", deep=True).problems
    output = f"{bucket.uri}/out"
    assert not any("_staged" in stat.uri for stat in store_for(output).list(output))


def test_on_s3(
    bucket: Bucket,
    s3: S3Server,
    model: Model,
    tmp_path: Path,
    digit_files: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "file")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH", str(tmp_path / "events"))
    _two_nights(bucket, StoreOptions(s3_endpoint=s3.url), model, tmp_path, digit_files)
    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"] * 2
    (latents,) = events[-1]["outputs"]
    assert (latents["namespace"], latents["name"]) == (bucket.uri, "out/latents")
    assert latents["outputFacets"]["outputStatistics"]["rowCount"] == 20
    assert (events[-1]["inputs"][0]["namespace"], events[-1]["inputs"][0]["name"]) == (bucket.uri, "in")


def test_on_gcs(gs: GcsBucket, gcs: GcsServer, model: Model, tmp_path: Path, digit_files: list[bytes]) -> None:
    _two_nights(gs, StoreOptions(gcs_endpoint=gcs.proxy.url), model, tmp_path, digit_files)
