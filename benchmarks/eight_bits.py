"""Bundles in 8 bits against float32 on each executor: processor time of calls, alternating, and what it costs.

    python -m benchmarks.eight_bits --data DIR --testsets DIR [--work DIR] [--rounds 5]

Writes ``benchmarks/results/int8.md``. Ratios are of processor time (user and system), which other work on the machine
disturbs least. The models are the zoo's; what it does not have in 8 bits is exported, calibrated with the images that
the model was trained on. ``--data`` and ``--testsets`` are as of ``benchmarks.quality``, whose protocol PSNR is by.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.process import HERE
from benchmarks.quality import LEVELS, Place, denoised, psnr
from harness.machine import machine, on_machine
from model.bundle import MODEL_FILE, SPEC_FILE, Bundle
from model.denoiser import Denoiser
from model.export import export
from model.pixels import Floats, Pixels
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime

SIDES = ("TensorFlow float32", "ONNX Runtime float32", "ONNX Runtime int8")
CALLS = {  # what -> bundle, shape of the pixels of a call
    "denoise grey 256x256, 4 a call": ("denoiser-gray", (4, 256, 256, 1)),
    "denoise grey 32x32, 256 a call": ("denoiser-gray", (256, 32, 32, 1)),
    "denoise colour 256x256, 4 a call": ("denoiser-color", (4, 256, 256, 3)),
    "denoise colour 32x32, 256 a call": ("denoiser-color", (256, 32, 32, 3)),
    "encode MNIST, 1,024 a call": ("mnist-autoencoder", (1024, 28, 28, 1)),
}
SETS = {"denoiser-gray": ("L", ("bsd68", "set12")), "denoiser-color": ("RGB", ("CBSD68",))}
CALIBRATED = {"mnist-autoencoder": "mnist/train*"}


def main() -> None:
    """Make the bundles, measure rates and losses, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--testsets", type=Path, required=True, help="directory with CBSD68")
    parser.add_argument("--work", type=Path, default=HERE / ".work")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    place = Place(data=options.data, testsets=options.testsets, zoo=HERE.parent / "model/zoo")
    bundles = {name: (place.bundle(name), place.bundle(f"{name}-int8")) for name in SETS}
    bundles |= {name: (place.bundle(name), _in_int8(name, place, options.work)) for name in CALIBRATED}
    lines = [
        f"| call | ms of a processor: {', '.join(SIDES)} | int8 to TensorFlow (each round) | int8 to ONNX Runtime |"
    ]
    lines.append("|---|---|---|---|")
    for what, (name, shape) in CALLS.items():
        lines.append(f"| {what} | {_compared(*bundles[name], shape, options.rounds)} |")
        print(lines[-1], flush=True)
    for name, (mode, sets) in SETS.items():
        lines += ["", f"| {name}, PSNR in dB: float32, int8 | noise 15 | 25 | 50 |", "|---|---|---|---|"]
        for images in sets:
            lines.append(f"| {images} | {_ratios(*bundles[name], place.photographs(images, mode))} |")
            print(lines[-1], flush=True)
    lines += ["", f"mnist-autoencoder, latents of the test images: {_cosines(*bundles['mnist-autoencoder'], place)}."]
    lines += ["", *(_described(name, int8) for name, (_, int8) in bundles.items())]
    head = ["# 8 bits against float32", "", on_machine(machine() | {"vnni": _vnni()})]
    head += [f"{options.rounds} rounds, alternating, one thread.", ""]
    (HERE / "results/int8.md").write_text("\n".join([*head, *lines, ""]))


def _in_int8(name: str, place: Place, work: Path) -> Bundle:
    output, source = work / f"int8-{name}", place.bundle(name)
    if (output / SPEC_FILE).exists():
        return Bundle.open(str(output))
    latent, given = source.spec.latent, Preprocessing(value_range=source.spec.input.value_range)
    calibrate = str(place.data / CALIBRATED[name])
    file = Path(source.uri, MODEL_FILE)
    layer = latent.layer if latent else None
    return export(file, layer, str(output), given, precision="int8", calibrate=calibrate)


def _compared(whole: Bundle, int8: Bundle, shape: tuple[int, ...], rounds: int) -> str:
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    runtimes = (Runtime.load(whole, "tensorflow"), Runtime.load(whole, "onnx"), Runtime.load(int8))
    runs = dict(zip(SIDES, (partial(_call, runtime, images) for runtime in runtimes), strict=True))
    for run in runs.values():
        run()
    rows = np.array([[_processor_time(run) for run in runs.values()] for _ in range(rounds)])
    times = ", ".join(f"{1e3 * median(column):.1f}" for column in rows.T)
    return f"{times} | {_shown(rows[:, 0] / rows[:, 2])} | {_shown(rows[:, 1] / rows[:, 2])}"


def _shown(ratios: Floats) -> str:
    return f"**{median(ratios):.2f}** ({', '.join(f'{ratio:.2f}' for ratio in sorted(ratios))})"


def _call(runtime: Runtime, images: Pixels) -> Floats:
    if runtime.spec.latent:
        return runtime.encode(images)
    return runtime.restore(images, np.full(len(images), 25 / 255, np.float32))


def _processor_time(run: Callable[[], object]) -> float:
    before = time.process_time()
    run()
    return time.process_time() - before


def _ratios(whole: Bundle, int8: Bundle, images: list[np.ndarray]) -> str:
    denoisers = [Denoiser(Runtime.load(bundle, "onnx")) for bundle in (whole, int8)]
    cells = []
    for level in LEVELS:
        one, other = (
            np.mean([psnr(denoised(made, i, level, n)[1].clip(0, 1), i) for n, i in enumerate(images)])
            for made in denoisers
        )
        cells.append(f"{one:.2f}, {other:.2f} ({other - one:+.3f})")
    return " | ".join(cells)


def _cosines(whole: Bundle, int8: Bundle, place: Place) -> str:
    digits = np.stack(place.images("mnist", "test")[0])[..., None]
    one, other = (
        np.concatenate([runtime.encode(digits[i : i + 1024]) for i in range(0, len(digits), 1024)])
        for runtime in (Runtime.load(whole, "onnx"), Runtime.load(int8))
    )
    cosines = (one * other).sum(axis=1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1))
    return f"cosine to float32 {cosines.mean():.6f}, least {cosines.min():.6f}"


def _described(name: str, bundle: Bundle) -> str:
    found = bundle.spec.quantization
    assert found is not None
    return (
        f"- {name}: {found.layers['int8']} of {sum(found.layers.values())} layers in int8; its card says {found.cost}"
    )


def _vnni() -> str:
    flags = set(Path("/proc/cpuinfo").read_text().split())
    return next((name for name in ("amx_int8", "avx512_vnni", "avx_vnni") if name in flags), "none")


if __name__ == "__main__":
    main()
