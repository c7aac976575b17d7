"""A cache of latents of photographs of many sizes, against a plain script per aspect bucket.

    python -m benchmarks.latent_cache --data DIR [--work DIR] [--rounds 3] [--photographs 2000]

Writes ``benchmarks/results/latent_cache.md``. The photographs are cut out of ``bsd400`` in 20 aspect ratios, in tars of
JPEG; the model is that of ``examples/latent_cache.py``, with random weights. The script runs with Keras's ``predict``
and with ONNX Runtime, one after the other with the job, in alternating rounds.
"""

import argparse
import io
import json
import shutil
import sys
import tarfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks.photographs import ratios, read
from benchmarks.process import HERE
from benchmarks.sections import Side, alternate
from harness.machine import machine, on_machine
from harness.measured import Place, spawn
from pipeline.worker.verbs.many_sizes import FEW

RATIOS = tuple(np.exp(np.linspace(np.log(0.4), np.log(2.5), 20)).tolist())  # width by height
SHARDS = 16
BUCKET, AREA = 64, 320 * 320  # pixels: of a side, and of the largest bucket
WANTED = {"keras": "1.5", "onnx": "1.1"}
_MAKE_MODEL = """
import pathlib, sys
from lake.core.tensorflow import keras
from examples.latent_cache import build
from model.export import export
keras().utils.set_random_seed(0)
build().save(sys.argv[1] + ".keras")
export(pathlib.Path(sys.argv[1] + ".keras"), "latent", sys.argv[1])
"""


def main() -> None:
    """Run all sides, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with bsd400")
    parser.add_argument("--work", type=Path, default=HERE / ".work")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photographs", type=int, default=2000)
    options = parser.parse_args()
    place = Place(data=options.data.resolve(), work=options.work.resolve())
    place.work.mkdir(exist_ok=True, parents=True)
    source, bundle = shards(place, options.photographs), model(place)
    sides: dict[str, Side] = {
        "latentlake": partial(job, place, source, bundle),
        **{library: partial(script, place, source, bundle, library) for library in WANTED},
    }
    write(alternate(options.rounds, sides), options.rounds, options.photographs)


def shards(place: Place, count: int) -> Path:
    """Tars of photographs, the aspect ratios mixed; made once."""
    source = place.work / f"latent-cache-{count}"
    if source.exists():
        return source
    originals, making = read(place.data / "bsd400"), source.with_suffix(".making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    for shard in range(SHARDS):
        with tarfile.open(making / f"{shard:03d}.tar", "w") as tar:
            for number in range(shard, count, SHARDS):
                data = photograph(originals, number)
                member = tarfile.TarInfo(f"{number:06d}.jpg")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return making.rename(source)


def photograph(originals: Sequence[Image.Image], number: int) -> bytes:
    """A part of one, as large as its aspect ratio allows, at another place each time."""
    whole, aspect = originals[number % len(originals)], RATIOS[number % len(RATIOS)]
    width, height = min(whole.width, int(whole.height * aspect)), min(whole.height, int(whole.width / aspect))
    left, top = np.random.default_rng(number).integers(0, (whole.width - width + 1, whole.height - height + 1)).tolist()
    out = io.BytesIO()
    whole.crop((left, top, left + width, top + height)).save(out, "JPEG", quality=92)
    return out.getvalue()


def model(place: Place) -> Path:
    """The bundle, with the Keras file beside it; made once."""
    bundle = place.work / "latent-cache-bundle"
    if not (bundle / "model.json").exists():
        shutil.rmtree(bundle, ignore_errors=True)
        spawn([sys.executable, "-c", _MAKE_MODEL, bundle], place.log)
    return bundle


def job(place: Place, source: Path, bundle: Path) -> dict[str, float]:
    """One run of the job; its steady rate is from the first batch, which does not count, to the end of the commit."""
    command: list[object] = [sys.executable, "-m", "pipeline", "encode", "--json", "--input", source, "--model", bundle]
    command += ["--output", place.fresh(), "--bucket", BUCKET, "--max-area", AREA]
    run = spawn(command, place.log)
    state = json.loads(run.text)["run"]
    rate = (state["read"] - FEW) / (state["ended"] - state["first_result"])
    return {"records": state["read"], "rate_steady": rate, "seconds": run.seconds}


def script(place: Place, source: Path, bundle: Path, library: str) -> dict[str, float]:
    """One run of the script; its steady rate is from its first batch to its last."""
    command: list[object] = [
        sys.executable,
        HERE / "peers/latent_cache.py",
        "--input",
        f"{source}/*",
        "--model",
        bundle,
    ]
    command += ["--output", place.fresh(), "--with", library, "--bucket", BUCKET, "--area", AREA]
    run = spawn(command, place.log)
    figures: dict[str, float] = json.loads(run.text.strip().splitlines()[-1])
    return {**figures, "seconds": run.seconds}


def write(runs: Mapping[str, Sequence[Mapping[str, float]]], rounds: int, count: int) -> None:
    """The table for people."""
    rates = {name: [run["rate_steady"] for run in of] for name, of in runs.items()}
    lines = ["# A cache of latents", "", on_machine(machine()), ""]
    lines += ["| against a plain script with | job, photographs/s | script | ratio (each round) | wanted |"]
    lines += ["|---|---|---|---|---|"]
    for name, wanted in WANTED.items():
        lines.append(
            f"| {name} | {median(rates['latentlake']):.1f} | {median(rates[name]):.1f} | "
            f"{ratios(rates['latentlake'], rates[name])} | >= {wanted} |"
        )
    lines += ["", f"{count:,} photographs of {len(RATIOS)} aspect ratios, `--bucket {BUCKET} --max-area {AREA}`."]
    lines += [f"{rounds} alternating rounds; rates from the first batch on. `python -m benchmarks.latent_cache`.", ""]
    (HERE / "results/latent_cache.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
