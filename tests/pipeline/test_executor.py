"""Which executor a job runs, and that an output holds to one."""

import json
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from lake.core.errors import OutputError, UsageError
from model.bundle import Bundle
from pipeline.beam.launch import launch
from pipeline.options.job_options import JobOptions
from tests.conftest import Model, Pixels
from tests.model.bundles import without_graphs
from tests.pipeline.conftest import run_job


@pytest.fixture
def given(digits: Pixels, tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", digits[:40])
    return tmp_path / "x.npy"


def latents(output: Path) -> Pixels:
    return np.stack(ds.dataset(output / "latents").to_table()["latent"].to_pylist())


def metadata(output: Path) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = pq.read_schema(next((output / "latents").rglob("*.parquet"))).metadata
    return found


@pytest.mark.parametrize(("asked", "runs"), [("auto", "onnx"), ("onnx", "onnx"), ("tensorflow", None)])
def test_encode(model: Model, digits: Pixels, given: Path, tmp_path: Path, asked: str, runs: str | None) -> None:
    """What is written agrees with Keras, and says which executor made it, unless it is the first one that there was."""
    run_job("encode", given, model.bundle, tmp_path / "out", executor=asked)
    np.testing.assert_allclose(latents(tmp_path / "out"), model.encode(digits[:40]), rtol=1e-5, atol=1e-6)
    assert metadata(tmp_path / "out").get(b"latentlake.executor") == (runs.encode() if runs else None)
    options = json.loads((tmp_path / "out/_job.json").read_text())["options"]
    assert options.get("executor") == runs


def test_an_output_holds_to_its_executor(model: Model, given: Path, tmp_path: Path) -> None:
    run_job("encode", given, model.bundle, tmp_path / "out", executor="tensorflow")
    before = latents(tmp_path / "out")
    with pytest.raises(OutputError, match=r"other options \(executor tensorflow -> onnx\)"):
        run_job("encode", given, model.bundle, tmp_path / "out")
    run_job("encode", given, model.bundle, tmp_path / "out", overwrite=True)
    np.testing.assert_allclose(latents(tmp_path / "out"), before, rtol=1e-5, atol=1e-6)
    assert metadata(tmp_path / "out")[b"latentlake.executor"] == b"onnx"


def test_a_bundle_without_graphs_runs_as_it_did(model: Model, given: Path, tmp_path: Path) -> None:
    old = without_graphs(model.bundle, tmp_path / "old")
    run_job("encode", given, str(old), tmp_path / "out")
    assert b"latentlake.executor" not in metadata(tmp_path / "out")
    files = sorted(path.name for path in (tmp_path / "out/_model" / Bundle.open(str(old)).digest).iterdir())
    assert files == ["golden.npz", "model.json", "model.keras"]
    for asked in ("auto", "tensorflow"):
        out = {"output": tmp_path / "out", "input": given}
        assert launch(JobOptions(verb="encode", model=str(old), executor=asked, **out), [])["run"]["units"] == 0
    with pytest.raises(UsageError, match="the executor 'onnx' cannot run it"):
        run_job("encode", given, str(old), tmp_path / "out", executor="onnx")
