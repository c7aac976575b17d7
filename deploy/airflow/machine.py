"""Every night on one machine: the command itself, on a worker of Airflow's that has latentlake installed."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

LAKE = "/lake"
LATENTLAKE = "/opt/latentlake"  # on Airflow's workers: an environment, and the project as app/
COMMAND = f"{LATENTLAKE}/bin/python -m latentlake"


def alert(context: dict[str, Any]) -> None:
    """Tell somebody; put your notifier here."""
    logging.getLogger(__name__).error("%s failed: %s", context["task_instance"], context.get("exception"))


with DAG(
    dag_id="latentlake_machine",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["latentlake"],
):
    encode = BashOperator(
        task_id="encode",
        bash_command=f"{COMMAND} encode --input {LAKE}/images --model {LAKE}/bundle --output {LAKE}/latents",
        cwd=f"{LATENTLAKE}/app",
        skip_on_exit_code=4,  # another run holds the output: it does the work
        retries=1,  # of status 3 the failed units are done again, of 1 what is missing
        retry_delay=timedelta(minutes=10),
        on_failure_callback=alert,
    )
    verify = BashOperator(
        task_id="verify",
        bash_command=f"{COMMAND} verify {LAKE}/latents",
        cwd=f"{LATENTLAKE}/app",
        on_failure_callback=alert,
    )
    encode >> verify
