"""Proof of a bundle: its files, its safety, its golden outputs, and its speed here."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from model.backend import cores
from model.bundle import Bundle
from model.document import to_json
from model.golden import golden_levels
from model.runtime import Runtime
from model.spec import MAX_REACH, Input, Json, Latent, Noise

_SECONDS = 1.0  # of each measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found in a bundle that is in order.

    Attributes:
      differences: golden output -> worst difference, relative to its largest magnitude.
      load_seconds: audit, load, golden check, with TensorFlow imported.
      rates: threads -> records per second, encoded (or denoised, by a model that has no latent).
    """

    bundle: Bundle
    differences: Mapping[str, float]
    load_seconds: float
    rates: Mapping[int, float]

    def to_value(self) -> Json:
        """The report as plain JSON values."""
        return {
            "bundle": self.bundle.uri,
            "digest": self.bundle.digest,
            "model": to_json(self.bundle.spec),
            "golden_differences": dict(self.differences),
            "load_seconds": round(self.load_seconds, 3),
            "records_per_second": {str(threads): round(rate) for threads, rate in self.rates.items()},
        }

    def describe(self) -> str:
        """The report for a person."""
        spec = self.bundle.spec
        files = ", ".join(f"{name} {entry.size:,} bytes" for name, entry in spec.files.items())
        differences = ", ".join(f"{name} {worst:.1g}" for name, worst in self.differences.items())
        lines = {
            "bundle": f"{self.bundle.uri}, kind {spec.kind}: {', '.join(spec.functions)}",
            "digest": f"{self.bundle.digest}, and every file has the one recorded",
            "files": files,
            "safety": "only Keras' own layers; no code, no files from elsewhere",
            "input": describe_input(spec.input),
            **({"noise": describe_noise(spec.input.noise)} if spec.input.noise else {}),
            **({"latent": _describe_latent(spec.latent, spec.variance)} if spec.latent else {}),
            "golden": f"{spec.golden.count} inputs; differences {differences} (allowed {spec.golden.tolerance:g})",
            "load": f"{self.load_seconds:.2f} s",
            "speed": ", ".join(f"{rate:,.0f}/s with {n} thread{'s' * (n > 1)}" for n, rate in self.rates.items()),
        }
        return "\n".join(f"{name:<8}{text}" for name, text in lines.items())


def describe_input(takes: Input) -> str:
    """What a model takes, for a person."""
    low, high = takes.value_range
    shape = "any size" if takes.any_size else " x ".join(map(str, takes.shape))
    what = f"{shape} {takes.color or takes.dtype}, value range {low:g} to {high:g}"
    if not takes.any_size:
        return what
    further = " or more" if takes.reach == MAX_REACH else ""
    return f"{what}; sides padded to multiples of {takes.multiple}, a pixel sees {takes.reach}{further} around it"


def describe_noise(noise: Noise) -> str:
    """How a model is told the noise level, for a person."""
    where = "the last channel" if noise.input is None else f"input {noise.input!r} ({noise.form})"
    return f"level told by {where}, {noise.scale:g} for a deviation of all of white"


def _describe_latent(latent: Latent, variance: str | None) -> str:
    shape = f" of shape {' x '.join(map(str, latent.shape))}" if len(latent.shape) > 1 else ""
    logarithm = f", logarithm of its variance from {variance!r}" if variance else ""
    return f"{latent.dimension} numbers{shape} from layer {latent.layer!r}{logarithm}"


def check(uri: str) -> Report:
    """Open, audit, load, prove and measure a bundle.

    Raises:
      BundleError: anything is not in order.
    """
    bundle = Bundle.open(uri)
    runtime = Runtime.load(bundle)
    started = time.monotonic()
    runtime = Runtime.load(bundle)  # again: the first one imported TensorFlow
    seconds = time.monotonic() - started
    counts = sorted({1, cores()})
    rates = {threads: _rate(runtime, threads) for threads in counts}
    return Report(bundle=bundle, differences=runtime.differences, load_seconds=seconds, rates=rates)


def _rate(runtime: Runtime, threads: int) -> float:
    takes = runtime.spec.input
    batch = np.random.default_rng(0).integers(0, 256, (runtime.batch_size, *takes.shape)).astype(takes.dtype)
    levels = golden_levels(len(batch)) if runtime.spec.input.noise else None

    def run() -> None:
        if runtime.spec.latent:
            runtime.encode(batch)
        else:
            runtime.restore(batch, levels)

    run()
    started = time.monotonic()
    calls = [0] * threads

    def work(worker: int) -> None:
        while time.monotonic() < started + _SECONDS:
            run()
            calls[worker] += 1

    workers = [threading.Thread(target=work, args=(worker,)) for worker in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(calls) * runtime.batch_size / (time.monotonic() - started)
