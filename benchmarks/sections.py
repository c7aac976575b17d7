"""What is measured, section by section. Each gives a JSON value; sides alternate within every round."""

import hashlib
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from benchmarks import data
from benchmarks.process import run_job, run_peer
from harness.measured import Place, spawn

Side: TypeAlias = Callable[[], Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    place: Place
    rounds: int
    records: int  # of the small images
    photographs: int
    side: int  # pixels of the large image
    peers: Path | None  # Python with the peers' packages

    def shards(self, name: str, records: int | None = None) -> Path:
        """Directory of a set's shards."""
        return data.make(name, self.place.data, self.place.work, records or self.records)


BEAM_MODES = ("in_memory", "multi_threading", "compiled", "onnx")  # multi_processing was the slowest throughout


def alternate(rounds: int, sides: Mapping[str, Side]) -> dict[str, list[Mapping[str, float]]]:
    """Every side once in each round."""
    found: dict[str, list[Mapping[str, float]]] = defaultdict(list)
    for number in range(rounds):
        for name, side in sides.items():
            found[name].append(side())
            print(f"  round {number + 1}: {name} {json.dumps(found[name][-1])}", file=sys.stderr, flush=True)
    return dict(found)


def ratio(runs: Mapping[str, list[Mapping[str, float]]], one: str, other: str, key: str = "rate_steady") -> float:
    """Median over the rounds of one side's figure divided by the other's."""
    return median(a[key] / b[key] for a, b in zip(runs[one], runs[other], strict=True))


def share(runs: Mapping[str, list[Mapping[str, float]]], rate: str = "rate_steady") -> float:
    """Median over the rounds of the job's rate divided by the limit."""
    return median(a[rate] / b["composed"] for a, b in zip(runs["job"], runs["limit"], strict=True))


def peers(plan: Plan) -> dict[str, Any]:
    """MNIST TFRecord against the stock Beam recipe, a tuned tf.data script and Ray Data."""
    place, source = plan.place, plan.shards("mnist-tfrecord")
    few = plan.shards("mnist-tfrecord", max(30_000, plan.records // 8))  # for sides that take minutes
    glob, python = f"{source}/*", plan.peers or Path(sys.executable)
    sides: dict[str, Side] = {
        "latentlake": lambda: run_job(place, source, "mnist"),
        "tf.data script": lambda: run_peer(place, "tfdata_script.py", glob, Path(sys.executable)),
        "tf.data script, onnx": lambda: run_peer(
            place, "tfdata_script.py", glob, Path(sys.executable), "--mode", "onnx"
        ),
        **{
            f"Beam RunInference, {mode}": partial(
                run_peer, place, "beam_runinference.py", f"{few}/*", python, "--mode", mode
            )
            for mode in BEAM_MODES
        },
        "Ray Data": lambda: run_peer(place, "ray_data.py", f"{few}/*", python),
    }
    runs = alternate(plan.rounds, sides)
    return {"runs": runs, "ratios": {name: ratio(runs, "latentlake", name) for name in sides if name != "latentlake"}}


def limits(plan: Plan) -> dict[str, Any]:
    """Against the composed limit of decoding alone and the model alone."""
    place = plan.place
    workloads: dict[str, tuple[Path, str, list[str]]] = {
        "MNIST Parquet": (plan.shards("mnist-parquet"), "mnist", []),
        "CIFAR-10 tar": (plan.shards("cifar-tar"), "cifar", []),
        "BSD photographs to 64x64": (plan.shards("bsd-tar", plan.photographs), "bsd", ["--resize", "stretch"]),
    }
    found = {}
    for title, (source, name, options) in workloads.items():
        sides: dict[str, Side] = {
            "job": partial(run_job, place, source, name, *options),
            "limit": partial(limit, place, "encode", source, name, *options),
        }
        runs = alternate(plan.rounds, sides)
        found[title] = {"runs": runs, "share": share(runs)}
    return found


def limit(place: Place, verb: str, source: Path, name: str, *options: object) -> dict[str, float]:
    """What ``benchmarks.limits`` gives for a verb."""
    command: list[object] = [sys.executable, "-m", "benchmarks.limits", verb, "--input", source]
    command += ["--model", place.bundle(name), *options]
    figures: dict[str, float] = json.loads(spawn(command, place.log).text)
    return figures


def memory(plan: Plan) -> dict[str, Any]:
    """Peak memory over one shard of 1, 4 and 16 times the size, for every format that is a shard by itself."""
    found = {}
    for name, suffix in (("mnist-tfrecord", "mnist"), ("mnist-parquet", "mnist"), ("cifar-tar", "cifar")):
        sides: dict[str, Side] = {}
        for times in (1, 4, 16):
            source = _one_shard(plan, name, times * 30_000)
            sides[f"{times}x"] = partial(run_job, plan.place, source, suffix)
        runs = alternate(max(1, plan.rounds // 2), sides)
        peaks = {side: median(run["peak_mib"] for run in values) for side, values in runs.items()}
        found[name] = {"runs": runs, "peak_mib": peaks, "growth": max(peaks.values()) / peaks["1x"]}
    return found


def _one_shard(plan: Plan, name: str, records: int) -> Path:
    return data.make(name, plan.place.data, plan.place.work, records, one_shard=True)


def cores(plan: Plan) -> dict[str, Any]:
    """One core against two."""
    source = plan.shards("mnist-tfrecord")
    first, second = sorted(os.sched_getaffinity(0))[:2]
    sides: dict[str, Side] = {
        "1 core": lambda: run_job(plan.place, source, "mnist", cores={first}),
        "2 cores": lambda: run_job(plan.place, source, "mnist", cores={first, second}),
    }
    runs = alternate(plan.rounds, sides)
    return {"runs": runs, "speedup": ratio(runs, "2 cores", "1 core")}


def modes(plan: Plan) -> dict[str, Any]:
    """Threads of one process against a process with one thread for each of two cores: the default, and Beam's own."""
    processes = ["--runner=FnApiRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    found = {}
    for name, suffix in (("mnist-parquet", "mnist"), ("cifar-tar", "cifar")):
        source = plan.shards(name)
        sides: dict[str, Side] = {
            "threads": partial(run_job, plan.place, source, suffix, "--threads", 2),
            "default": partial(run_job, plan.place, source, suffix),
            "processes": partial(run_job, plan.place, source, suffix, *processes, "--threads", 1),
        }
        runs = alternate(plan.rounds, sides)
        found[name] = {"runs": runs, "ratio": ratio(runs, "default", "threads")}
    return found


def same_bytes(plan: Plan) -> dict[str, Any]:
    """Digest of every output file under 1, 2 and 4 threads, workers and processes, and on one core."""
    source = plan.shards("mnist-tfrecord", 60_000)
    ways: dict[str, list[object]] = {f"{n} threads": ["--threads", n] for n in (1, 2, 4)}
    for mode in ("multi_threading", "multi_processing"):
        for n in (1, 2, 4):
            options = ["--runner=FnApiRunner", f"--direct_running_mode={mode}", f"--direct_num_workers={n}"]
            ways[f"{mode} {n}"] = [*options, "--threads", 1]
    digests = {}
    for way, flags in ways.items():
        run_job(plan.place, source, "mnist", *flags)
        digests[way] = _digest(plan.place.work / "out")
    run_job(plan.place, source, "mnist", cores={min(os.sched_getaffinity(0))})
    digests["1 core"] = _digest(plan.place.work / "out")
    return {"digests": digests, "equal": len(set(digests.values())) == 1}


def _digest(output: Path) -> str:
    files = sorted(path for part in ("latents", "rejects") for path in (output / part).rglob("*.parquet"))
    total = hashlib.sha256()
    for path in [*files, output / "_manifest.parquet"]:
        total.update(str(path.relative_to(output)).encode() + path.read_bytes())
    return total.hexdigest()


def startup(plan: Plan) -> dict[str, Any]:
    """From the command to the first record encoded, against importing Beam alone; warm disk."""
    source = plan.shards("mnist-tfrecord", 30_000)
    sides: dict[str, Side] = {
        "imports": lambda: _imports(plan.place),
        "job": lambda: run_job(plan.place, source, "mnist"),
    }
    runs = alternate(plan.rounds + 1, sides)
    runs = {side: values[1:] for side, values in runs.items()}  # the first round warms the disk
    above = [job["seconds_startup"] - alone["seconds"] for job, alone in zip(runs["job"], runs["imports"], strict=True)]
    return {"runs": runs, "seconds_above_imports": median(above)}


def _imports(place: Place) -> dict[str, float]:
    started = time.time()
    spawn([sys.executable, "-c", "import apache_beam"], place.log)
    return {"seconds": time.time() - started}


SECTIONS: dict[str, Callable[[Plan], dict[str, Any]]] = {
    "startup": startup,
    "peers": peers,
    "limits": limits,
    "cores": cores,
    "modes": modes,
    "memory": memory,
    "same_bytes": same_bytes,
}
