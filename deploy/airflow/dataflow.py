"""Every night on Dataflow: the launcher submits and leaves, the task waits for the job.

The environment of the worker needs apache-airflow-providers-apache-beam and -google; latentlake has one of its own.
"""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.apache.beam.operators.beam import BeamRunPythonPipelineOperator
from airflow.sdk import DAG

LAKE = "gs://lake"
PROJECT, REGION = "my-project", "europe-west4"
IMAGE = "europe-west4-docker.pkg.dev/my-project/images/latentlake:0.1.0"
LATENTLAKE = "/opt/latentlake"  # on Airflow's workers: an environment, and the project as app/


def alert(context: dict[str, Any]) -> None:
    """Tell somebody; put your notifier here."""
    logging.getLogger(__name__).error("%s failed: %s", context["task_instance"], context.get("exception"))


with DAG(
    dag_id="latentlake_dataflow",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,  # a second one would find the output held
    tags=["latentlake"],
):
    BeamRunPythonPipelineOperator(
        task_id="encode",
        runner="DataflowRunner",
        py_file=f"{LATENTLAKE}/app/pipeline/main.py",
        py_interpreter=f"{LATENTLAKE}/bin/python",
        pipeline_options={
            "mode": "encode",
            "input": [f"{LAKE}/images", f"{LAKE}/more-images"],
            "model": f"{LAKE}/models/bundle",
            "output": f"{LAKE}/latents",
            "max_reject_fraction": 0.01,
            "on_damage": "reject",
            "detach": True,
            "sdk_container_image": IMAGE,
            "temp_location": f"{LAKE}-temp/dataflow",
            "service_account_email": f"latentlake@{PROJECT}.iam.gserviceaccount.com",
            "max_num_workers": 20,
        },
        dataflow_config={"job_name": "latentlake-encode", "project_id": PROJECT, "location": REGION},
        deferrable=False,  # a night with nothing to do has no job that the task could be deferred to
        retries=1,  # only what is missing is done again
        retry_delay=timedelta(minutes=10),
        on_failure_callback=alert,
    )
