"""A denoiser that has seen no clean image, by every way of ``train --self-supervised``, and by clean ones.

    python -m benchmarks.self_supervised --data DIR [--steps 40000 ...] [--work DIR] [WAY ...]

``--data`` is as of ``benchmarks.quality``, with ``bsd400``, whose 400 images get noise of 25 (white is 255), once for
all, and a second time for pairs; the training sees nothing else. The measure is that of papers: PSNR on BSD68 with
noise of 25, by the protocol of ``benchmarks.quality``. Several numbers of steps are courses, each from the weights of
the one before (``--start-from``). Writes ``benchmarks/results/self_supervised.md``, a row for each way and its courses;
rows of earlier runs stay. With the default steps every way takes hours.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.process import HERE
from benchmarks.quality import RESULTS, Place, psnr
from harness.machine import machine, on_machine
from lake.formats.reader import ColumnSelection
from model.bundle import Bundle
from model.denoiser import Denoiser
from model.runtime.runtime import Runtime
from model.training.denoiser import train_denoiser
from model.training.options import DenoiserOptions
from model.training.schedule import STEPS
from model.training.self_supervised.denoiser import train_on_noise
from model.training.self_supervised.options import SelfSupervisedOptions

LEVEL = 25
PUBLISHED = {"blind spot": "27.71 (N2V), 28.04 (N2V2)", "pairs": "28.86 (Noise2Noise)", "clean": "29.06"}
WAYS = ("noise level", "pairs", "blind spot", "clean")


def main() -> None:
    """Make the noisy images, train, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"of {', '.join(WAYS)} (default: all)")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=HERE / ".work")
    parser.add_argument("--steps", type=int, nargs="+", default=[STEPS])
    options = parser.parse_args()
    place = Place(data=options.data, zoo=HERE.parent / "model/zoo")
    options.work.mkdir(parents=True, exist_ok=True)
    shots = noisy_shots(place, options.work)
    for way in options.ways or WAYS:
        for course in range(1, len(options.steps) + 1):
            steps = options.steps[:course]
            bundle = train(way, shots, options.work, steps)
            keep({"way": way, "steps": steps, "psnr": measured(bundle, place), **described(bundle)})


def noisy_shots(place: Place, work: Path) -> dict[str, Path]:
    """The images of ``bsd400`` as arrays of float32: two shots with noise of their own, and the clean ones."""
    images, _ = place.images("bsd400")
    lying = np.stack([image if image.shape[0] < image.shape[1] else np.rot90(image) for image in images])
    paths = {name: work / f"bsd400-{name}.npy" for name in ("first", "second", "clean")}
    np.save(paths["clean"], lying[..., None])
    for seed, name in enumerate(("first", "second"), 1):
        shot = np.empty((*lying.shape, 1), np.float32)
        for number, image in enumerate(lying):
            normal = np.random.default_rng([seed, number]).standard_normal(image.shape, np.float32)
            shot[number, ..., 0] = image / np.float32(255) + normal * np.float32(LEVEL / 255)
        np.save(paths[name], shot)
    return paths


def train(way: str, shots: dict[str, Path], work: Path, steps: Sequence[int]) -> Bundle:
    """The bundle of a way after some courses, that of an earlier run if it is there. The ones before must be there."""
    output, before = _bundle_of(way, work, steps), _bundle_of(way, work, steps[:-1])
    if (output / "model.json").exists():
        return Bundle.open(str(output))
    given: dict[str, Any] = {
        "output": str(output),
        "selection": ColumnSelection(carry=()),
        "steps": steps[-1],
        "start_from": str(before) if steps[:-1] else None,
        "inputs": (str(shots["clean" if way == "clean" else "first"]),),
    }
    if way == "clean":
        return train_denoiser(DenoiserOptions(**given), lambda report, _: print(report, flush=True)).bundle
    more: dict[str, Any] = {"noise level": {"noise_level": LEVEL}, "pairs": {"pairs": (str(shots["second"]),)}}
    chosen = SelfSupervisedOptions(**given, **more.get(way, {}))
    return train_on_noise(chosen, lambda report, _: print(report, flush=True)).bundle


def _bundle_of(way: str, work: Path, steps: Sequence[int]) -> Path:
    return work / "-".join([way.replace(" ", "-"), *map(str, steps)])


def measured(bundle: Bundle, place: Place) -> float:
    """Mean PSNR on BSD68, in dB, of the output clipped to 0..1."""
    denoiser, ratios = Denoiser(Runtime.load(bundle)), list[float]()
    level = None if bundle.spec.input.noise is None else np.array([LEVEL / 255], np.float32)
    for number, image in enumerate(place.images("bsd68")[0]):
        normal = np.random.default_rng([0, number]).standard_normal(image.shape, np.float32)
        noisy = image / np.float32(255) + normal * np.float32(LEVEL / 255)
        made = denoiser.denoise(noisy[None, ..., None], level).pixels[0, ..., 0]
        ratios.append(psnr(made.clip(0, 1), image))
    return float(np.mean(ratios))


def described(bundle: Bundle) -> dict[str, Any]:
    """What the bundle says of itself that the table shows, and the machine."""
    training = bundle.spec.training
    reports = json.loads((Path(bundle.uri) / "training.json").read_text())["reports"]
    return {
        "error": training.get("validation_error"),
        "correlation": training.get("residual_correlation"),
        "minutes": reports[-1]["seconds"] / 60,  # of the last course
        "machine": machine(),
    }


def keep(row: dict[str, Any]) -> None:
    """Add a row to the results, in the place of one of the same way and steps, and write the table again."""
    path = RESULTS / "self_supervised.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    rows = [old for old in rows if (old["way"], old["steps"]) != (row["way"], row["steps"])] + [row]
    rows.sort(key=lambda found: (sum(found["steps"]), WAYS.index(found["way"])))
    path.write_text(json.dumps(rows, indent=2) + "\n")
    (RESULTS / "self_supervised.md").write_text(table(rows))
    print(f"{row['way']}, {_said(row['steps'])} steps: {row['psnr']:.2f} dB", flush=True)


def _said(steps: Sequence[int]) -> str:
    return " + ".join(f"{one:,}" for one in steps)


def table(rows: list[dict[str, Any]]) -> str:
    """The results as a page."""
    lines = [
        "# Denoisers trained without clean images",
        "",
        "BSD68 with noise of 25, PSNR in dB, of networks that saw `bsd400` with such noise, drawn once for each image.",
        "*told* is the error that the training tells without clean images. `python -m benchmarks.self_supervised`",
        "",
        "| way | steps | PSNR | papers | told, of 255 | correlation of the residual | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        told = "" if row["error"] is None else f"{row['error']:.2f}"
        white = "" if row["correlation"] is None else ", ".join(f"{value:.2f}" for value in row["correlation"])
        cells = (row["way"], _said(row["steps"]), f"{row['psnr']:.2f}", PUBLISHED.get(row["way"], ""), told, white)
        lines.append(f"| {' | '.join(cells)} | {row['minutes']:.0f} |")
    lines += ["", *sorted({on_machine(row["machine"]) for row in rows}), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
