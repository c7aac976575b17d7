"""Limits of control groups, from trees as kernels and container engines lay them out."""

from pathlib import Path

import pytest

from lake.core import container
from lake.core.container import Limits, cores, limits

NONE = Limits(cpus=None, memory=None)
V1_NO_LIMIT = "9223372036854771712"


def tree(root: Path, groups: str, files: dict[str, str]) -> Limits:
    for name, text in files.items():
        (root / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "fs" / name).write_text(text + "\n")
    (root / "groups").write_text(groups)
    return limits(root / "fs", root / "groups")


def test_version_2_of_a_container(tmp_path):
    # Docker and Kubernetes with a namespace of control groups: the container's own group is the root.
    found = tree(tmp_path, "0::/\n", {"cpu.max": "150000 100000", "memory.max": "2147483648"})
    assert found == Limits(cpus=1.5, memory=2 << 30)


def test_version_2_without_a_limit(tmp_path):
    assert tree(tmp_path, "0::/\n", {"cpu.max": "max 100000", "memory.max": "max"}) == NONE


def test_the_lowest_of_the_groups_above_counts(tmp_path):
    files = {
        "kubepods/memory.max": "8589934592",
        "kubepods/pod1/memory.max": "1073741824",
        "kubepods/pod1/c/memory.max": "max",
        "kubepods/pod1/cpu.max": "200000 100000",
        "kubepods/pod1/c/cpu.max": "300000 100000",
    }
    assert tree(tmp_path, "0::/kubepods/pod1/c\n", files) == Limits(cpus=2.0, memory=1 << 30)


def test_version_1_of_a_container_whose_path_is_that_of_the_host(tmp_path):
    groups = "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n"
    files = {
        "memory/memory.limit_in_bytes": "536870912",
        "cpu,cpuacct/cpu.cfs_quota_us": "50000",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
    }
    assert tree(tmp_path, groups, files) == Limits(cpus=0.5, memory=512 << 20)


def test_version_1_where_each_controller_is_mounted_by_its_name(tmp_path):
    files = {
        "memory/a/b/memory.limit_in_bytes": "1073741824",
        "memory/a/memory.limit_in_bytes": V1_NO_LIMIT,
        "cpu/a/b/cpu.cfs_quota_us": "400000",
        "cpu/a/b/cpu.cfs_period_us": "100000",
    }
    assert tree(tmp_path, "5:memory:/a/b\n4:cpu,cpuacct:/a/b\n", files) == Limits(cpus=4.0, memory=1 << 30)


def test_version_1_without_a_limit(tmp_path):
    files = {
        "memory/memory.limit_in_bytes": V1_NO_LIMIT,
        "cpu/cpu.cfs_quota_us": "-1",
        "cpu/cpu.cfs_period_us": "100000",
    }
    assert tree(tmp_path, "5:memory:/\n4:cpu:/\n", files) == NONE


def test_both_versions_at_once(tmp_path):
    files = {"memory/memory.limit_in_bytes": "1073741824", "unified/cpu.max": "max 100000"}
    assert tree(tmp_path, "5:memory:/\n0::/\n", files) == Limits(cpus=None, memory=1 << 30)


@pytest.mark.parametrize("text", ["", "nonsense", "1 0", "max"])
def test_a_file_of_no_use_is_no_limit(tmp_path, text):
    assert tree(tmp_path, "0::/\n", {"cpu.max": text, "memory.max": "nonsense"}) == NONE


def test_a_machine_without_control_groups_has_no_limits(tmp_path):
    assert limits(tmp_path, tmp_path / "nothing") == NONE


@pytest.mark.parametrize(("cpus", "count"), [(None, 8), (16.0, 8), (2.0, 2), (2.5, 3), (0.1, 1)])
def test_a_share_of_a_core_is_one(monkeypatch, cpus, count):
    monkeypatch.setattr(container.os, "sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setattr(container, "limits", lambda: Limits(cpus=cpus, memory=None))
    assert cores() == count
