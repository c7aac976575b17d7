"""``verify`` of latents for trainers in a bucket tells files of one size apart, by a part of each."""

import re
from pathlib import Path

import numpy as np
import pytest

from harness.servers import s3_rules
from harness.servers.proxy import Request
from harness.servers.s3_server import Bucket, S3Server
from lake.storage import StoreOptions, configure
from pipeline.cli.command import main
from pipeline.output.verify import verify
from tests.conftest import Model, png, write_parquet
from tests.pipeline.conftest import run_job

SHARDS, PART = 2, 64 << 10  # and the bytes of each that may be fetched
FILES = {
    "webdataset": "{}.tar",
    "mds": "{}/shard.00000.mds",
    "arrayrecord": "{}.arrayrecord",
}


def asked(request: Request) -> int:
    """How many bytes a request is for."""
    if request.method != "GET":
        return 0
    start, stop = re.fullmatch(r"bytes=(\d+)-(\d+)", request.header("Range")).groups()
    return int(stop) + 1 - int(start)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Shards of as many records, whose keys are equally long."""
    rng = np.random.default_rng(3)
    for number in range(SHARDS):
        images = [png(image) for image in rng.integers(0, 256, (400, 8, 8), np.uint8)]
        write_parquet(tmp_path / f"in/{number}.parquet", images, [1] * len(images))
    return tmp_path / "in"


@pytest.mark.parametrize("format", FILES)
def test_a_file_of_another_unit_is_found(
    bucket: Bucket, s3: S3Server, source: Path, model: Model, capsys: pytest.CaptureFixture[str], format: str
) -> None:
    """It has the very size, so that a listing tells nothing."""
    configure(StoreOptions(s3_endpoint=s3.proxy.url))
    stores = StoreOptions(s3_endpoint=s3.proxy.url)
    output = f"{bucket.uri}/out"
    run_job("encode", source, model.bundle, output, latent_format=format, stores=stores)
    names = [f"out/latents/{FILES[format].format(number)}" for number in range(SHARDS)]
    with s3.proxy.doing() as seen:
        assert verify(output).problems == ()
    of_files = [one for one in seen if one.name in names]
    assert len(of_files) <= 3 * SHARDS, [s3_rules.kind(one) for one in of_files]
    assert sum(map(asked, of_files)) <= SHARDS * PART
    one, other = (bucket.get(name) for name in names)
    bucket.put(names[1], one.ljust(len(other), b"\0")[: len(other)])
    (found,) = verify(output).problems
    assert found.unit == "1" and "its fingerprint is " in found.problem
    assert main(["verify", output, "--repair", "--s3-endpoint", s3.proxy.url]) == 0, capsys.readouterr().err
    assert bucket.get(names[1]) == other
