"""What figures were measured on."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("tensorflow", "keras", "apache-beam", "pyarrow", "numpy", "pillow")


def machine() -> dict[str, Any]:
    """What the figures were measured on. A virtual machine may not tell its processor's model."""
    info = Path("/proc/cpuinfo").read_text()
    flags = next((line for line in info.splitlines() if line.startswith("flags")), "").split()
    name = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), "?")
    widest = next((f for f in ("avx512f", "avx2", "avx") if f in flags), "none")
    half = next((f for f in ("amx_bf16", "avx512_bf16") if f in flags), "none")
    return {
        "cpu": name,
        "cores": len(os.sched_getaffinity(0)),
        "vectors": widest,
        "bfloat16": half,
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }


def on_machine(used: Mapping[str, Any] | None, sections: Sequence[str] = ()) -> str:
    """The line above a table: which machine it is of, and which sections were measured on it."""
    which = ", ".join(f"{key} {value}" for key, value in used.items()) if used else "machine not recorded"
    of = f" (sections {', '.join(sections)})" if sections else ""
    return f"Measured on: {which}{of}."


def by_machine(found: Mapping[str, Mapping[str, Any] | None]) -> list[tuple[Mapping[str, Any] | None, list[str]]]:
    """The sections of each machine, in the order of the first of them.

    Args:
      found: section -> its machine; None where that was not recorded.
    """
    groups = list[tuple[Mapping[str, Any] | None, list[str]]]()
    for name, used in found.items():
        same = next((names for other, names in groups if other == used), None)
        if same is None:
            groups.append((used, [name]))
        else:
            same.append(name)
    return groups
