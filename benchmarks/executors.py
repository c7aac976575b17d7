"""The executors of a bundle against each other: processor time of calls, alternating, and what a worker starts with.

    python -m benchmarks.executors [--rounds 5]

Writes ``benchmarks/results/onnx.md``. Ratios are of processor time (user and system), which other work on the machine
disturbs least. The models are the zoo's.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median

import numpy as np

from benchmarks.process import HERE
from harness.machine import machine, on_machine
from model.bundle import Bundle
from model.pixels import Floats, Pixels
from model.runtime import executors_of
from model.runtime.runtime import Runtime

CALLERS = 2
CALLS = {  # what -> bundle, function, shape of the pixels of a call, calls of a round
    "encode MNIST, 1,024 a call": ("mnist-autoencoder", "encode", (1024, 28, 28, 1), 8),
    "reconstruct MNIST, 1,024 a call": ("mnist-autoencoder", "reconstruct", (1024, 28, 28, 1), 4),
    "denoise grey 256x256, 4 a call": ("denoiser-gray", "restore", (4, 256, 256, 1), 2),
    "denoise grey 32x32, 256 a call": ("denoiser-gray", "restore", (256, 32, 32, 1), 2),
}
_START = """
import json, sys, time
started = time.monotonic()
import numpy as np
from model.bundle import Bundle
from model.runtime.runtime import Runtime
runtime = Runtime.load(Bundle.open(sys.argv[1]), sys.argv[2])
runtime.encode(np.zeros((1024, 28, 28, 1), np.uint8))
with open("/proc/self/status") as status:  # the most since this program began
    (most,) = (int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
print(json.dumps([time.monotonic() - started, time.process_time(), most / 1024]))
"""


def main() -> None:
    """Measure every call and start on every executor, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    lines = ["| call | ms of a processor: TensorFlow, ONNX Runtime | ratio (each round) | largest difference |"]
    lines += ["|---|---|---|---|"]
    for what, (name, function, shape, calls) in CALLS.items():
        bundle = Bundle.open(f"zoo:{name}")
        runtimes = {executor: Runtime.load(bundle, executor) for executor in executors_of(bundle)}
        lines.append(f"| {what} | {_compared(runtimes, function, shape, calls, options.rounds)} |")
        print(lines[-1], flush=True)
    lines += ["", "| a worker that has encoded one batch | seconds | of a processor | MiB |", "|---|---|---|---|"]
    for executor in ("tensorflow", "onnx"):
        runs = [_started("zoo:mnist-autoencoder", executor) for _ in range(3)]
        least = [min(values) for values in zip(*runs, strict=True)]
        lines.append(f"| {executor} | {least[0]:.1f} | {least[1]:.1f} | {least[2]:.0f} |")
        print(lines[-1], flush=True)
    head = ["# ONNX Runtime against TensorFlow", "", f"{on_machine(machine())} {options.rounds} rounds, alternating,"]
    head += [f"{CALLERS} callers of one thread each.", ""]
    (HERE / "results/onnx.md").write_text("\n".join([*head, *lines, ""]))


def _compared(runtimes: dict[str, Runtime], function: str, shape: tuple[int, ...], calls: int, rounds: int) -> str:
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    levels = np.full(len(images), 0.1, np.float32)
    runs = {name: partial(_call, runtime, function, images, levels) for name, runtime in runtimes.items()}
    one, other = (run() for run in runs.values())
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            seconds[name].append(_processor_time(run, calls))
    ratios = [before / after for before, after in zip(seconds["tensorflow"], seconds["onnx"], strict=True)]
    times = ", ".join(f"{1e3 * median(seconds[name]) / calls:.1f}" for name in ("tensorflow", "onnx"))
    each = ", ".join(f"{value:.2f}" for value in sorted(ratios))
    return f"{times} | **{median(ratios):.2f}** ({each}) | {np.abs(one - other).max():.1g}"


def _call(runtime: Runtime, function: str, images: Pixels, levels: Floats) -> Floats:
    if function == "restore":
        return runtime.restore(images, levels)
    return runtime.encode(images) if function == "encode" else runtime.reconstruct(images).output


def _processor_time(run: Callable[[], object], calls: int) -> float:
    before = time.process_time()
    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(lambda _: run(), range(calls)))
    return time.process_time() - before


def _started(uri: str, executor: str) -> list[float]:
    command = [sys.executable, "-c", _START, uri, executor]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE.parent)
    found: list[float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
