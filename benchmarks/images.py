"""What is measured of the side that writes images, as ``sections`` has it for latents."""

import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.process import run_job, run_peer
from benchmarks.sections import Plan, Side, alternate, limit, ratio, share
from harness.measured import LEVEL, Place

NOISE = "--noise-level", LEVEL
BEAM_MODES = ("in_memory", "multi_threading")


def denoise(plan: Plan) -> dict[str, Any]:
    """Denoising records of CIFAR's size and photographs, against the model alone in memory."""
    place, one = plan.place, plan.shards("cifar-gray-tfrecord", 1)
    photographs = plan.shards("bsd-tar", max(2, plan.photographs // 320))
    workloads = {"CIFAR-10 grey TFRecord": _small(plan), "BSD photographs in colour, tar": photographs}
    found = {}
    for title, source in workloads.items():
        sides: dict[str, Side] = {
            "start": partial(_denoise, place, one),  # one small image: what comes before and after all work
            "job": partial(_denoise, place, source),
            "limit": partial(limit, place, "denoise", source, "denoiser", *NOISE),
        }
        runs = alternate(plan.rounds, sides)
        runs["job"] = list(map(_with_rate, runs["job"], runs["start"]))
        found[title] = {"runs": runs, "share": share(runs, "rate")}
    return found


def _small(plan: Plan, divisor: int = 1) -> Path:
    return plan.shards("cifar-gray-tfrecord", max(2_000, plan.records // 60) // divisor)


def _denoise(place: Place, source: Path, name: str = "denoiser") -> dict[str, float]:
    return run_job(place, source, name, *NOISE, verb="denoise")


def _with_rate(job: Mapping[str, float], start: Mapping[str, float]) -> dict[str, float]:
    """With records per second of all but the start; those count that were in work when the first was done."""
    return {**job, "rate": job["records"] / (job["seconds_total"] - start["seconds_total"])}


def denoise_peers(plan: Plan) -> dict[str, Any]:
    """Denoising records of CIFAR's size, against the stock Beam recipe, Ray Data and a tf.data loop."""
    place, source, few = plan.place, _small(plan), _small(plan, 2)
    images, python = place.work / "denoised", plan.peers or Path(sys.executable)
    peer = partial(run_peer, place, name="denoiser")
    task = "--task", "denoise", "--expected", f"{images}/*"
    sides: dict[str, Side] = {
        "latentlake": lambda: _kept(_denoise(place, source), place, images),
        "latentlake, bfloat16": lambda: _denoise(place, source, "denoiser-bfloat16"),
        "tf.data loop": lambda: peer("tfdata_script.py", f"{source}/*", Path(sys.executable), *task),
        **{
            f"Beam RunInference, {mode}": partial(
                peer, "beam_runinference.py", f"{few}/*", python, *task, "--mode", mode
            )
            for mode in BEAM_MODES
        },
        "Ray Data": lambda: peer("ray_data.py", f"{few}/*", python, *task),
    }
    runs = alternate(plan.rounds, sides)
    own = "latentlake", "latentlake, bfloat16"
    ratios = {one: {name: ratio(runs, one, name) for name in sides if name not in own} for one in own}
    return {"runs": runs, "ratios": ratios[own[0]], "ratios_bfloat16": ratios[own[1]]}


def _kept(figures: dict[str, float], place: Place, images: Path) -> dict[str, float]:
    """The figures of a run whose images are kept, for the peers to be compared with."""
    shutil.rmtree(images, ignore_errors=True)
    (place.work / "out" / "images").rename(images)
    return figures


def encoding(plan: Plan) -> dict[str, Any]:
    """Reconstructing CIFAR-10, JPEG in and PNG in tar out, against decoding, model and encoding alone."""
    place, source = plan.place, plan.shards("cifar-tar", max(10_000, plan.records // 2))
    sides: dict[str, Side] = {
        "job": partial(run_job, place, source, "cifar", verb="reconstruct"),
        "limit": partial(limit, place, "reconstruct", source, "cifar"),
    }
    runs = alternate(plan.rounds, sides)
    return {"runs": runs, "share": share(runs)}


def large(plan: Plan) -> dict[str, Any]:
    """Peak memory and time of denoising one image of 100 megapixels, above those of an image of 64x64."""
    sides: dict[str, Side] = {
        str(side): partial(_denoise, plan.place, data.mosaic(plan.place.data, plan.place.work, side))
        for side in (64, plan.side)
    }
    runs = alternate(1, sides)
    small, big = runs["64"][0], runs[str(plan.side)][0]
    return {
        "runs": runs,
        "side": plan.side,
        "peak_mib_above": big["peak_mib"] - small["peak_mib"],
        "seconds": big["seconds_total"] - small["seconds_total"],
    }


SECTIONS: dict[str, Callable[[Plan], dict[str, Any]]] = {
    "denoise": denoise,
    "denoise_peers": denoise_peers,
    "encoding": encoding,
    "large": large,
}
