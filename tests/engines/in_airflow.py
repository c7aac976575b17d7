"""Runs in Airflow's own environment: loads DAGs, tells what is in them, and runs a task; prints JSON.

Usage: in_airflow.py load FOLDER | bash FOLDER DAG TASK CASE ... | beam FOLDER DAG TASK CASE ...
A case is a JSON object: what is replaced in the task before it runs, by what.
"""

import json
import logging
import sys
from typing import Any

from airflow.dag_processing.dagbag import DagBag
from airflow.providers.apache.beam.hooks.beam import BeamHook
from airflow.providers.google.cloud.hooks.dataflow import process_line_and_extract_dataflow_job_id_callback
from airflow.sdk.exceptions import AirflowException, AirflowSkipException


def load(bag: DagBag) -> dict[str, Any]:
    dags = {
        name: {
            "schedule": str(dag.schedule),
            "catchup": dag.catchup,
            "max_active_runs": dag.max_active_runs,
            "tasks": {task.task_id: type(task).__name__ for task in dag.tasks},
            "alerts": [task.task_id for task in dag.tasks if task.on_failure_callback],
        }
        for name, dag in bag.dags.items()
    }
    return {"errors": bag.import_errors, "dags": dags}


def bash(task: Any, replaced: dict[str, str]) -> dict[str, Any]:
    """Run a BashOperator's command, with other paths, as Airflow does."""
    written = task.bash_command, task.cwd
    for old, new in replaced.items():
        task.bash_command, task.cwd = task.bash_command.replace(old, new), task.cwd.replace(old, new)
    try:
        task.execute({})
    except AirflowSkipException as error:
        return {"state": "skipped", "error": str(error)}
    except AirflowException as error:
        return {"state": "failed", "error": str(error)}
    finally:
        task.bash_command, task.cwd = written
    return {"state": "success", "error": ""}


def beam(task: Any, replaced: dict[str, str]) -> dict[str, Any]:
    """Run the launcher of a Beam operator, with other values, as its hook does."""
    text = json.dumps({**task.pipeline_options, "file": task.py_file, "python": task.py_interpreter})
    for old, new in replaced.items():
        text = text.replace(old, new)
    options = json.loads(text)
    found: list[str] = []
    BeamHook(runner=task.runner).start_python_pipeline(
        py_file=options.pop("file"),
        py_interpreter=options.pop("python"),
        py_options=[],
        variables={**options, "project": "lake", "region": "europe-west4", "job_name": "airflow"},
        process_line_callback=process_line_and_extract_dataflow_job_id_callback(found.append),
        is_dataflow_job_id_exist_callback=lambda: bool(found),
    )
    return {"job": found}


def main(verb: str, folder: str, *rest: str) -> Any:
    logging.disable(logging.INFO)
    bag = DagBag(folder)
    if verb == "load":
        return load(bag)
    dag, task, *cases = rest
    return [{"bash": bash, "beam": beam}[verb](bag.dags[dag].get_task(task), json.loads(case)) for case in cases]


if __name__ == "__main__":
    result = main(*sys.argv[1:])
    print("\n" + json.dumps(result))
