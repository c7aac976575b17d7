"""The example DAGs in a real Airflow: they load, and their tasks do and say what the command's exit status means."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.engines.dataflow import IMAGE, JOB_ID, dataflow
from harness.servers import gcs_server
from harness.servers.gcs_server import GcsBucket
from lake.storage import StoreOptions, configure
from lake.storage.options import DEFAULTS
from pipeline.beam.launch import launch
from pipeline.options.job_options import JobOptions
from pipeline.output.fencing import lease
from tests.conftest import Model

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".engines/airflow/bin/python"
pytestmark = pytest.mark.timeout(300)


def airflow(home: Path, *arguments: object, **env: str) -> Any:
    """What ``in_airflow.py`` gives."""
    assert PYTHON.exists(), f"{PYTHON} is not there: run scripts/airflow"
    own = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    command = [PYTHON, ROOT / "tests/engines/in_airflow.py", *arguments]
    result = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **own, **env},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_the_dags_load(tmp_path: Path) -> None:
    loaded = airflow(tmp_path, "load", ROOT / "deploy/airflow")
    assert loaded["errors"] == {}
    nightly = {"schedule": "0 2 * * *", "catchup": False, "max_active_runs": 1}
    machine = {"encode": "BashOperator", "verify": "BashOperator"}
    assert loaded["dags"] == {
        "latentlake_machine": {**nightly, "tasks": machine, "alerts": ["encode", "verify"]},
        "latentlake_dataflow": {**nightly, "tasks": {"encode": "BeamRunPythonPipelineOperator"}, "alerts": ["encode"]},
    }


def test_exit_statuses_become_states_of_the_task(tmp_path: Path, model: Model) -> None:
    """Complete; wrong; a shard that is damaged; and held by another run, which is no failure."""
    lakes = [tmp_path / name for name in ("good", "wrong", "damaged", "held")]
    for lake in lakes:
        (lake / "images").mkdir(parents=True)
        shutil.copytree(model.bundle, lake / "bundle")
        np.save(lake / "images/0.npy", np.zeros((20, 8, 8, 1), np.uint8))
    (tmp_path / "wrong/images/0.npy").unlink()
    np.save(tmp_path / "damaged/images/1.npy", np.zeros((20, 8, 8, 1), np.uint8))
    os.truncate(tmp_path / "damaged/images/1.npy", 700)
    lease.acquire(str(tmp_path / "held/latents"), "another", ends_with_process=True)
    here = {"/opt/latentlake/bin/python": sys.executable, "/opt/latentlake/app": str(ROOT)}
    cases = [json.dumps({**here, "/lake": str(lake)}) for lake in lakes]
    ended = airflow(tmp_path, "bash", ROOT / "deploy/airflow", "latentlake_machine", "encode", *cases)
    assert [task["state"] for task in ended] == ["success", "failed", "failed", "skipped"]
    assert [task["error"].rpartition("code ")[2].partition(".")[0] for task in ended[1:3]] == ["2", "3"]
    assert [(lake / "latents/_SUCCESS").exists() for lake in lakes] == [True, False, False, False]
    checked = airflow(tmp_path, "bash", ROOT / "deploy/airflow", "latentlake_machine", "verify", *cases[:1])
    assert [task["state"] for task in checked] == ["success"]


def complete(bucket: GcsBucket, url: str) -> str:
    """The output of the task, done here; gives its URI."""
    uri = bucket.uri
    asked = JobOptions(
        verb="encode",
        input=(f"{uri}/images", f"{uri}/more-images"),
        model=f"{uri}/models/bundle",
        output=f"{uri}/done",
        stores=StoreOptions(gcs_endpoint=url),
    )
    assert launch(asked, [])["complete"] is True
    configure(DEFAULTS)
    return asked.output


def test_the_dataflow_task_submits_and_finds_its_job(tmp_path: Path, model: Model) -> None:
    """Airflow reads the job's id from what the launcher prints, and finds none where there is nothing to do."""
    with gcs_server.serving() as gcs, dataflow() as service:
        bucket = gcs.bucket()
        np.save(tmp_path / "0.npy", np.zeros((20, 8, 8, 1), np.uint8))
        for folder in ("images", "more-images"):
            bucket.put(f"{folder}/0.npy", (tmp_path / "0.npy").read_bytes())
        bucket.upload(Path(model.bundle), "models/bundle")
        beams = {"gcs_endpoint": gcs.url, "dataflow_endpoint": service.url, "no_auth": True}
        replaced = {
            "/opt/latentlake/app": str(ROOT),
            "/opt/latentlake/bin/python": sys.executable,
            "gs://lake-temp": f"{bucket.uri}/temp",
            "gs://lake": bucket.uri,
            '"mode"': json.dumps(beams)[1:-1] + ', "mode"',
        }
        done = complete(bucket, gcs.url)
        cases = [json.dumps(replaced), json.dumps({"gs://lake/latents": done, **replaced})]
        task = ("latentlake_dataflow", "encode", *cases)
        ended = airflow(tmp_path, "beam", ROOT / "deploy/airflow", *task, STORAGE_EMULATOR_HOST=gcs.url)
        ((path, job),) = service.posted
        plan = [name for name in bucket.names("latents/_plan/") if "/part-" in name]
        assert bucket.get(plan[0]).count(b"\n") == 2
    assert ended == [{"job": [JOB_ID]}, {"job": []}]
    assert path.endswith("/projects/lake/locations/europe-west4/jobs")
    (pool,) = job["environment"]["workerPools"]
    assert pool["sdkHarnessContainerImages"][0]["containerImage"] != IMAGE
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 20
    assert job["environment"]["serviceAccountEmail"] == "latentlake@my-project.iam.gserviceaccount.com"
