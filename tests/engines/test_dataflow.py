"""Dataflow as far as it goes without an account: what is staged and submitted, and that it does the job."""

import base64
import bz2
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from harness.engines.dataflow import (
    GPU,
    IMAGE,
    JOB_ID,
    SECRET,
    Dataflow,
    dataflow,
    launch,
)
from harness.servers import gcs_server
from harness.servers.gcs_server import GcsBucket, GcsServer
from lake.core.errors import HeldError
from lake.storage import StoreOptions, configure
from lake.storage.options import DEFAULTS
from pipeline.output.fencing.lease import check_free
from pipeline.output.fencing.lease_record import STARTUP
from pipeline.output.verify import verify
from tests.conftest import Model, write_parquet
from tests.faults.outputs import files
from tests.pipeline.conftest import run_job

STEPS = ["Plan parts", "Read units", "Spread", "Run units", "Accumulate receipts", "Commit"]
SHARDS = 100_000
RANGES = 40_000  # most bytes of the steps that commit very many units range by range
GRAPH_BYTES = 100_000
pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the tests' jobs read and write: a bucket with ``in`` and ``bundle``, and Dataflow."""

    gcs: GcsServer
    bucket: GcsBucket
    service: Dataflow

    def launch(self, output: str, *more: str, source: str | None = None) -> "Launched":
        """Run the launcher to its end."""
        before = set(self.bucket.names("temp/"))
        uris = {"input": source or f"{self.bucket.uri}/in", "model": f"{self.bucket.uri}/bundle"}
        arguments = [f"--{name}={uri}" for name, uri in uris.items()]
        result = launch(
            self.gcs,
            self.service,
            self.bucket,
            "--mode=encode",
            f"--output={self.bucket.uri}/{output}",
            *arguments,
            *more,
        )
        staged = [name for name in self.bucket.names("temp/") if name.endswith("/pipeline.pb") and name not in before]
        graph = self.bucket.get(staged[0]) if staged else b""
        return Launched(status=result.returncode, out=result.stdout, err=result.stderr, graph=graph)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """What a launcher said, and the graph that it staged."""

    status: int
    out: str
    err: str
    graph: bytes

    @property
    def pipeline(self) -> Any:
        return beam_runner_api_pb2.Pipeline.FromString(self.graph)

    @property
    def content(self) -> bytes:
        """The graph, and what is pickled in it: Beam packs that, so a search of the graph alone would find nothing."""
        packed = re.findall(rb"[A-Za-z0-9+/]{32,}={0,2}", self.graph)
        pickled = [pickle for text in packed if (pickle := unpacked(text))]
        return b"".join([self.graph, *pickled])

    def run(self) -> None:
        """Run the staged graph, as Dataflow's workers would, in this process instead of the image."""
        pipeline = self.pipeline
        for environment in pipeline.components.environments.values():
            environment.urn, environment.payload = "beam:env:embedded_python:v1", b""
            del environment.dependencies[:]
        FnApiRunner().run_via_runner_api(pipeline, PipelineOptions([])).wait_until_finish()


def unpacked(text: bytes) -> bytes:
    """What Beam's pickles are packed as, bzip2 or zlib in Base64, as it was; nothing where it is none."""
    for opened in (bz2.decompress, zlib.decompress):
        with suppress(ValueError, OSError, zlib.error):
            return opened(base64.b64decode(text, validate=True))
    return b""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, digit_files: list[bytes]) -> Path:
    """Three shards of images, the last of which has one that is none."""
    folder = tmp_path_factory.mktemp("source")
    for number in range(3):
        images = [*digit_files[number * 50 : number * 50 + 50], *([b"no image"] if number == 2 else [])]
        write_parquet(folder / f"in/{number}.parquet", images, range(len(images)))
    return folder / "in"


@pytest.fixture(scope="module")
def place(source: Path, model: Model) -> Iterator[Place]:
    with gcs_server.serving() as gcs, dataflow() as service:
        bucket = gcs.bucket()
        bucket.upload(source, "in")
        bucket.upload(Path(model.bundle), "bundle")
        configure(StoreOptions(gcs_endpoint=gcs.url))
        yield Place(gcs=gcs, bucket=bucket, service=service)
        configure(DEFAULTS)


@pytest.fixture(scope="module")
def submitted(place: Place) -> Launched:
    return place.launch("out", "--detach=true")


def test_the_launcher_leaves_and_says_which_job_goes_on(place: Place, submitted: Launched) -> None:
    assert (submitted.status, submitted.err) == (0, f"Created job with id: [{JOB_ID}]\n")
    assert f", 3 units, to DataflowRunner as {JOB_ID}" in submitted.out
    assert f"{place.bucket.uri}/out/_SUCCESS, or fails" in submitted.out
    assert [name for name in place.bucket.names("out/") if "_model" not in name and "_plan" not in name] == [
        "out/_hold",
        "out/_job.json",
    ]


def test_what_is_posted(place: Place, submitted: Launched) -> None:
    path, job = place.service.posted[0]
    assert path == "/v1b3/projects/lake/locations/europe-west4/jobs"
    assert (job["name"], job["type"]) == ("nightly", 1)  # JOB_TYPE_BATCH
    environment = job["environment"]
    assert environment["serviceOptions"] == [GPU]
    assert "no_use_multiple_sdk_containers" in environment["experiments"]
    assert "use_multiple_sdk_containers" not in environment["experiments"]
    (pool,) = environment["workerPools"]
    (container,) = pool["sdkHarnessContainerImages"]
    assert container["containerImage"] == IMAGE
    options = environment["sdkPipelineOptions"]["options"]
    assert options["number_of_worker_harness_threads"] == 2
    assert place.bucket.get(options["pipelineUrl"].removeprefix(f"{place.bucket.uri}/")) == submitted.graph
    assert [package["name"] for package in pool["packages"]] == ["submission_environment_dependencies.txt"]


def test_the_graph_has_the_jobs_steps_and_its_image(submitted: Launched) -> None:
    transforms = submitted.pipeline.components.transforms
    by_name = {transform.unique_name: transform for transform in transforms.values()}
    assert [step for step in STEPS if f"Job/{step}" not in by_name] == []
    assert {"Finish/Committed", "Finish/Complete"} < set(by_name)
    images = [
        beam_runner_api_pb2.DockerPayload.FromString(environment.payload).container_image
        for environment in submitted.pipeline.components.environments.values()
    ]
    assert set(images) == {IMAGE}


def test_the_graph_holds_neither_data_nor_secrets(place: Place, submitted: Launched) -> None:
    """Nothing of a shard or the model, of which 64 bytes in a row would be found, and nothing of the environment."""
    assert len(submitted.graph) < GRAPH_BYTES
    content = submitted.content
    assert f"{place.bucket.uri}/out/_model/".encode() in content
    for name in ("in/0.parquet", "bundle/model.keras", "bundle/golden.npz"):
        data = place.bucket.get(name)
        assert [at for at in range(0, len(data) - 64, 64) if data[at : at + 64] in content] == []
    assert SECRET.encode() not in content
    assert SECRET not in json.dumps(place.service.posted)


def test_others_are_kept_out_until_its_workers_begin(place: Place, submitted: Launched) -> None:
    with pytest.raises(HeldError, match=r"whose workers have 1[78]\d\d s to begin"):
        check_free(f"{place.bucket.uri}/out")
    assert STARTUP == 1800
    late = place.launch("out", "--detach=true")
    assert late.status == 4
    assert "is in use by run" in late.err


def test_the_staged_graph_commits_what_a_run_here_does(place: Place, submitted: Launched, tmp_path: Path) -> None:
    submitted.run()
    uri, stores = place.bucket.uri, StoreOptions(gcs_endpoint=place.gcs.url)
    local = run_job("encode", f"{uri}/in", f"{uri}/bundle", tmp_path / "local", stores=stores)
    output = place.bucket.download("out", tmp_path / "fetched")
    success = json.loads((output / "_SUCCESS").read_text())
    assert success["complete"] is True
    assert success["total"] == local["total"]
    assert files(output) == files(tmp_path / "local")
    assert verify(f"{place.bucket.uri}/out", deep=True).problems == ()
    assert not (output / "_hold").exists()


def test_a_submitted_job_fails_where_success_is_kept_back(place: Place) -> None:
    """Its state is the only thing that a scheduler sees."""
    launched = place.launch("strict", "--detach=true", "--max_reject_fraction=0")
    assert launched.status == 0
    with pytest.raises(Exception, match=r"strict has no _SUCCESS: 0\.66% of the records were rejected"):
        launched.run()
    assert "strict/_SUCCESS" not in place.bucket.names("strict/")
    assert "strict/_manifest.parquet" in place.bucket.names("strict/")


def test_a_template_launcher_leaves_by_itself_and_always_makes_a_job(place: Place) -> None:
    """Dataflow's launcher fails where the program leaves no job behind, also where there was nothing to do."""
    at = f"--template_location={place.bucket.uri}/launch"
    posts = len(place.service.posted)
    first = place.launch("templated", f"{at}/first")
    assert (first.status, first.err) == (0, "")
    first.run()
    again = place.launch("templated", f"{at}/again")
    assert (again.status, again.err) == (0, "")
    assert "nothing to do: all 3 units are done" in again.out
    written = [json.loads(place.bucket.get(f"launch/{name}")) for name in ("first", "again")]
    assert [job["name"] for job in written] == ["nightly", "nightly"]
    assert len(place.service.posted) == posts
    again.run()
    assert "Job/Run units" not in {t.unique_name for t in again.pipeline.components.transforms.values()}
    assert check_free(f"{place.bucket.uri}/templated")


def test_wrong_options_of_dataflow_are_refused_before_anything_is_written(place: Place) -> None:
    """Beam checks them where they are for the real service, which is not asked yet."""
    real = "--dataflow_endpoint=https://dataflow.googleapis.com"
    refused = place.launch("never", "--detach=true", real, "--job_name=Every Night")
    assert refused.status == 2
    assert "error: Beam refuses its options: " in refused.err
    assert "Invalid job_name (Every Night)" in refused.err
    assert place.bucket.names("never/") == []


def test_the_graph_of_many_shards_is_as_small(place: Place, submitted: Launched, tmp_path: Path) -> None:
    """A thousand units to a part of the plan; the graph has the parts' names alone, and the steps that commit many."""
    np.save(tmp_path / "one.npy", np.zeros((1, 8, 8, 1), np.uint8))
    data = (tmp_path / "one.npy").read_bytes()
    for number in range(SHARDS):
        path = tmp_path / f"in/{number // 1000:03d}/{number:06d}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    launched = place.launch("many", "--detach=true", source=str(tmp_path / "in"))
    assert launched.status == 0
    assert f", {SHARDS:,} units," in launched.out
    parts = [name for name in place.bucket.names("many/_plan/") if "/part-" in name]
    assert len(parts) == SHARDS / 1000
    assert sum(place.bucket.get(name).count(b"\n") for name in parts) == SHARDS
    grown = len(launched.graph) - len(submitted.graph)
    longest = max(len(name) for name in parts) + len(place.bucket.uri) + 64
    assert 0 < grown < len(parts) * longest + RANGES
