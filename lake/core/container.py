"""What a container allows its processes: the limits of control groups (cgroups), of both versions.

A process sees all cores and all memory of its machine, whatever its container may use of them. With more threads than
its share of the processors it is slowed down at random, and with more memory it is killed.

Specification: https://docs.kernel.org/admin-guide/cgroup-v2.html and https://docs.kernel.org/admin-guide/cgroup-v1.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ROOT, _GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_NO_LIMIT = 1 << 60  # bytes; version 1 has no word for it and gives a number near the largest


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a process may use.

    Attributes:
      cpus: processor time, in cores; None for all that there are.
      memory: bytes; None for all that there is.
    """

    cpus: float | None
    memory: int | None


def limits(root: Path = _ROOT, groups: Path = _GROUPS) -> Limits:
    """Return the limits of this process's control group and of those above it, of which the lowest counts.

    Args:
      root: where control groups are mounted.
      groups: what ``/proc/self/cgroup`` says.
    """
    found = [*_directories(root, groups)]
    cpus = [value for directory in found if (value := _cpus(directory)) is not None]
    memory = [value for directory in found if (value := _memory(directory)) is not None]
    return Limits(cpus=min(cpus, default=None), memory=min(memory, default=None))


def cores() -> int:
    """The number of CPU cores that this process may use: those it may run on, or fewer by its container's share."""
    # macOS cannot pin a process
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = limits().cpus
    return count if share is None else max(1, min(count, math.ceil(share)))


def _directories(root: Path, groups: Path) -> Iterator[Path]:
    """Yield the directories of all control groups that the process is in, up to the roots of their hierarchies."""
    try:
        lines = groups.read_text().splitlines()
    except OSError:  # no Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # In a container the path may be that of the host, while its own group is mounted as the root.
        for mounted in _mounted(root, controllers):
            below = mounted / path.lstrip("/")
            yield from (directory for directory in (below, *below.parents) if directory.is_relative_to(mounted))


def _mounted(root: Path, controllers: str) -> tuple[Path, ...]:
    """Where the hierarchy of some controllers may be mounted; "" stands for version 2."""
    if not controllers:
        return root, root / "unified"
    return tuple(root / name for name in dict.fromkeys((controllers, *controllers.split(","))))


def _cpus(group: Path) -> float | None:
    # Both are microseconds: what may be used of every period.
    quota, period = (*_words(group / "cpu.max"), "", "")[:2]
    if not quota:
        quota, period = _word(group / "cpu.cfs_quota_us"), _word(group / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _memory(group: Path) -> int | None:
    value = _word(group / "memory.max") or _word(group / "memory.limit_in_bytes")
    return int(value) if value.isdigit() and int(value) < _NO_LIMIT else None


def _word(path: Path) -> str:
    return next(iter(_words(path)), "")


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:  # this controller is not there, or has no limits at the root
        return []
