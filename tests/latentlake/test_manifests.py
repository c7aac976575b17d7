"""The manifests for Kubernetes: their command lines are this project's; they do what docs/run/kubernetes.md says."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.cli.parser import check_beam_arguments, parse

MANIFESTS = Path(__file__).parents[2] / "deploy/kubernetes"


def resources() -> list[dict[str, Any]]:
    return [one for path in sorted(MANIFESTS.glob("*.yaml")) for one in yaml.safe_load_all(path.read_text())]


def pods(value: Any) -> list[dict[str, Any]]:
    """What describes a pod, at any depth."""
    if isinstance(value, list):
        return [pod for item in value for pod in pods(item)]
    if not isinstance(value, dict):
        return []
    own = [value] if "containers" in value else []
    return own + [pod for item in value.values() for pod in pods(item)]


PODS = pods(resources())
CONTAINERS = [one for pod in PODS for one in pod["containers"] if one.get("image") == "latentlake"]


def resource(kind: str) -> Any:
    return next(one for one in resources() if one["kind"] == kind)


def test_every_manifest_has_a_container_of_this_project() -> None:
    assert len(CONTAINERS) == len(PODS) == 4


@pytest.mark.parametrize("arguments", [one["args"] for one in CONTAINERS], ids=" ".join)
def test_a_command_line_is_one_that_the_image_takes(arguments: list[str]) -> None:
    if arguments == ["--worker_pool"]:  # an option of Beam's boot program
        return
    options, of_beam = parse(arguments)
    check_beam_arguments(of_beam, options.command)
    assert options.command == "encode"


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda one: one["args"][-1])
def test_a_container_may_write_where_temporary_files_go_and_nowhere_else(container: dict[str, Any]) -> None:
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["env"] == [{"name": "TMPDIR", "value": "/scratch"}]
    assert container["volumeMounts"] == [{"name": "scratch", "mountPath": "/scratch"}]


def test_what_another_attempt_does_not_help_ends_the_job() -> None:
    rule = resource("Job")["spec"]["podFailurePolicy"]["rules"][1]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [2, 3])


def test_the_nightly_job_is_the_job() -> None:
    job = yaml.safe_load((MANIFESTS / "job.yaml").read_text())
    assert resource("CronJob")["spec"]["jobTemplate"]["spec"] == job["spec"]


def test_a_job_on_flink_asks_for_no_more_slots_than_there_are() -> None:
    cluster = resource("FlinkDeployment")["spec"]
    slots = int(cluster["flinkConfiguration"]["taskmanager.numberOfTaskSlots"]) * cluster["taskManager"]["replicas"]
    assert f"--parallelism={slots}" in next(
        one["args"] for one in CONTAINERS if "--runner=PortableRunner" in one["args"]
    )
