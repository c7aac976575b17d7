"""The how-to page about buckets, on real servers of both kinds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.servers.gcs_server import GcsBucket, GcsServer
from harness.servers.s3_server import Bucket, S3Server
from tests.examples.pages import ROOT, run_page

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def days(tmp_path: Path) -> Path:
    """Two days of 30 images of one kind: squares at random places."""
    for number in range(60):
        pixels = np.zeros((28, 28), np.uint8)
        y, x = np.random.default_rng(number).integers(0, 20, 2)
        pixels[y : y + 8, x : x + 8] = 255
        file = tmp_path / f"days/day={1 + number % 2}/{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return tmp_path / "days"


def check(uri: str, folder: Path, **endpoint: str) -> None:
    folder.mkdir()
    outputs = run_page(ROOT / "docs/howto/embed_a_bucket.md", folder, {"BUCKET": uri, **endpoint})
    first, again, drift, query = outputs
    assert "60 results, 0 rejects" in first
    assert "nothing to do" in again and "complete" in again
    assert "AUC" in drift
    assert query.startswith("60 (60, 128)\n")


def test_on_gcs(gs: GcsBucket, gcs: GcsServer, days: Path, tmp_path: Path) -> None:
    gs.upload(days, "images")
    check(gs.uri, tmp_path / "page", STORAGE_EMULATOR_HOST=gcs.proxy.url)


def test_on_s3(bucket: Bucket, s3: S3Server, days: Path, tmp_path: Path) -> None:
    bucket.upload(days, "images")
    check(bucket.uri, tmp_path / "page", AWS_ENDPOINT_URL_S3=s3.proxy.url)
