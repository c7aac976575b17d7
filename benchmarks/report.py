"""The results as a table for people, and as a plot."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from harness.machine import by_machine, on_machine

Result: TypeAlias = Mapping[str, Any]
_WANTED = {
    "tf.data script": ">= 2x",
    "tf.data script, onnx": ">= 1.3x",
    "Beam RunInference, in_memory": ">= 15x",
    "Beam RunInference, multi_threading": ">= 15x",
    "Beam RunInference, compiled": "(not the stock inference function)",
    "Beam RunInference, onnx": ">= 6x",
    "Ray Data": ">= 10x",
}
_WANTED_CAMERA = {
    "latentlake, exact": ">= 4x",
    "tf.data script": ">= 4x",
    "Ray Data": ">= 4x",
}
_WANTED_IMAGES = {
    "tf.data loop": ">= 1.1x",
    "Beam RunInference, in_memory": ">= 3x",
    "Beam RunInference, multi_threading": ">= 3x",
    "Ray Data": ">= 2x",
}
_WANTED_SHARES = {"MNIST Parquet": ">= 0.90", "CIFAR-10 tar": ">= 0.88", "BSD photographs to 64x64": ">= 0.95"}
_HEAD = ["| what | measured | wanted | figures |", "|---|---|---|---|"]


def write_report(results: Path) -> None:
    """Make ``bench.md`` and ``bench.png`` from the sections' results that are there, one table for each machine."""
    files = [path for path in sorted(results.glob("*.json")) if path.stem in {**_ROWS, **_IMAGE_ROWS}]
    found = {path.stem: json.loads(path.read_text()) for path in files}
    lines = ["# Benchmark", ""]
    for title, rows in (("## Latents", _ROWS), ("## Images", _IMAGE_ROWS)):
        here = {name: found[name] for name in rows if name in found}
        lines += [title, ""] if here else []
        for used, names in by_machine({name: result.get("machine") for name, result in here.items()}):
            lines += [on_machine(used, names), "", *_table({name: here[name] for name in names}, rows), ""]
    lines += ["Medians over the rounds; ratios are taken round by round. `scripts/bench` measures all of it.", ""]
    (results / "bench.md").write_text("\n".join(lines))
    if "peers" in found:
        _plot(found, results / "bench.png")


def _table(found: Mapping[str, Result], rows: Mapping[str, Callable[[Result], list[list[str]]]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for name, of in rows.items() if name in found for row in of(found[name])]
    return [*_HEAD, *lines]


def _rates(runs: Sequence[Result], key: str = "rate_steady") -> str:
    values = sorted(run[key] for run in runs)
    middle, low, high = map(_number, (median(values), values[0], values[-1]))
    return f"{middle} ({low} to {high})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"


def _peers(result: Result, what: str = "encode MNIST TFRecord", goals: Mapping[str, str] = _WANTED) -> list[list[str]]:
    own = _rates(result["runs"]["latentlake"])
    return [
        [
            f"{what}, against {name}",
            f"{result['ratios'][name]:.2f}x",
            wanted,
            f"{own} against {_rates(result['runs'][name])} records/s",
        ]
        for name, wanted in goals.items()
        if name in result["ratios"]
    ]


def _camera(result: Result) -> list[list[str]]:
    rows = list[list[str]]()
    for kind, value in _parts(result, "share_of_limit"):
        what = f"encode 12-megapixel JPEG, {kind}, at 224x224, --decode fast"
        own, composed = _rates(value["runs"]["latentlake"]), _rates(value["runs"]["limit"], "composed")
        figures = f"{own} of {composed} records/s"
        share = [f"{what}, share of the composed limit", f"{value['share_of_limit']:.2f}", ">= 0.95", figures]
        rows += [*_peers(value, what, _WANTED_CAMERA), share]
    return rows


def _parts(result: Result, figure: str) -> Iterator[tuple[str, Result]]:
    """Name and value of what a section has measured one by one: those with this figure."""
    return ((name, value) for name, value in result.items() if isinstance(value, dict) and figure in value)


def _limits(result: Result) -> list[list[str]]:
    return [
        [
            f"encode {title}, share of the composed limit",
            f"{value['share']:.2f}",
            _WANTED_SHARES[title],
            f"{_rates(value['runs']['job'])} of {_rates(value['runs']['limit'], 'composed')} records/s",
        ]
        for title, value in _parts(result, "share")
    ]


def _cores(result: Result) -> list[list[str]]:
    sides = ", ".join(f"{side}: {_rates(runs)}" for side, runs in result["runs"].items())
    return [["1 core to 2 cores", f"{result['speedup']:.2f}x", ">= 1.8x", f"{sides} records/s"]]


def _modes(result: Result) -> list[list[str]]:
    def of(runs: Sequence[Result]) -> str:
        first, all_of_it, peak = (
            median(run[key] for run in runs) for key in ("seconds_startup", "seconds_total", "peak_mib")
        )
        return f"{_rates(runs)} records/s, first after {first:.1f} s, {all_of_it:.0f} s in all, {peak:,.0f} MiB each"

    return [
        [
            f"a process for each core, the default, against one of two threads, {name}",
            f"{value['ratio']:.2f}x",
            "",
            "; ".join(f"{side}: {of(runs)}" for side, runs in value["runs"].items()),
        ]
        for name, value in _parts(result, "ratio")
    ]


def _memory(result: Result) -> list[list[str]]:
    return [
        [
            f"peak memory, one shard of 1x, 4x, 16x, {name}",
            f"x{value['growth']:.3f}",
            "<= x1.10",
            ", ".join(f"{side}: {peak:,.0f} MiB" for side, peak in value["peak_mib"].items()),
        ]
        for name, value in _parts(result, "growth")
    ]


def _same_bytes(result: Result) -> list[list[str]]:
    ways = ", ".join(result["digests"])
    return [["same bytes in every output file", "yes" if result["equal"] else "NO", "yes", ways]]


def _startup(result: Result) -> list[list[str]]:
    sides = f"imports {median(r['seconds'] for r in result['runs']['imports']):.2f} s, "
    sides += f"first record {median(r['seconds_startup'] for r in result['runs']['job']):.2f} s"
    return [["start-up above importing Beam alone", f"{result['seconds_above_imports']:.2f} s", "<= 0.7 s", sides]]


def _denoise(result: Result) -> list[list[str]]:
    return [
        [
            f"denoise {title}, share of the model alone",
            f"{value['share']:.2f}",
            ">= 0.90",
            f"{_rates(value['runs']['job'], 'rate')} of {_rates(value['runs']['limit'], 'model')} records/s",
        ]
        for title, value in _parts(result, "share")
    ]


def _denoise_peers(result: Result) -> list[list[str]]:
    what = "denoise CIFAR-10 grey TFRecord"
    half = {"runs": {**result["runs"], "latentlake": result["runs"]["latentlake, bfloat16"]}}
    return [
        *_peers(result, what, _WANTED_IMAGES),
        *_peers({**half, "ratios": result["ratios_bfloat16"]}, f"{what} in bfloat16", _WANTED_IMAGES),
    ]


def _encoding(result: Result) -> list[list[str]]:
    steps = ", ".join(f"{step} {_rates(result['runs']['limit'], step)}" for step in ("decode", "model", "encode"))
    own, composed = _rates(result["runs"]["job"]), _rates(result["runs"]["limit"], "composed")
    return [
        [
            "reconstruct CIFAR-10 tar to PNG in tar, share of the composed limit",
            f"{result['share']:.2f}",
            ">= 0.80",
            f"{own} of {composed} records/s ({steps})",
        ]
    ]


def _large(result: Result) -> list[list[str]]:
    pixels, above = result["side"] ** 2, result["peak_mib_above"]
    peaks = ", ".join(f"{side}x{side}: {runs[0]['peak_mib']:,.0f} MiB" for side, runs in result["runs"].items())
    what = f"denoise one image of {pixels / 1e6:,.0f} megapixels, above one of 64x64"
    return [
        [f"peak memory, {what}", f"{above:,.0f} MiB", "<= 2,048 MiB", peaks],
        [f"time, {what}", f"{result['seconds']:,.0f} s", "<= 150 s", ""],
    ]


_ROWS: dict[str, Callable[[Result], list[list[str]]]] = {
    "peers": _peers,
    "camera": _camera,
    "limits": _limits,
    "cores": _cores,
    "modes": _modes,
    "memory": _memory,
    "same_bytes": _same_bytes,
    "startup": _startup,
}
_IMAGE_ROWS: dict[str, Callable[[Result], list[list[str]]]] = {
    "denoise": _denoise,
    "denoise_peers": _denoise_peers,
    "encoding": _encoding,
    "large": _large,
}


def _plot(found: Mapping[str, Result], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    runs = found["peers"]["runs"]
    names = sorted(runs, key=lambda name: median(run["rate_steady"] for run in runs[name]))
    rates = [median(run["rate_steady"] for run in runs[name]) for name in names]
    figure, axes = plt.subplots(figsize=(8, 0.6 * len(names) + 1.2), layout="constrained")
    bars = axes.barh(names, rates, color=["#2a6f97" if name == "latentlake" else "#adb5bd" for name in names])
    axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=4)
    axes.set_xlim(0, max(rates) * 1.15)
    axes.set_xlabel("records per second, steady state: MNIST TFRecord to latents in Parquet")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
