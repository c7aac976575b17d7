"""Micrographs of few photons, without a clean image: a denoiser that learned from them alone, beside BM3D.

    python -m benchmarks.micrographs [--steps 1000] [--work DIR]

Simulated round cells and small spots of 20, 50 and 200 electrons at white, of a camera of gain 2.2, read noise 3.3 and
black level 100, in 16 bits. ``train --self-supervised --noise poisson-gaussian`` sees 48 noisy images of 256 x 256 and
is told the black level. Its bundle and BM3D (the package of its authors, which must be installed), which is told the
true camera, then restore 12 others, both after the generalized Anscombe transform and back by its exact unbiased
inverse. Writes ``benchmarks/results/micrographs.md``.
"""

import argparse
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks.process import HERE
from benchmarks.quality import RESULTS
from harness.machine import machine, on_machine
from lake.core.records import Array
from lake.formats.reader import ColumnSelection
from lake.images.anscombe import PoissonGaussian
from model.bundle import Bundle
from model.denoiser import Denoiser
from model.photon_denoiser import denoise_photons
from model.runtime.runtime import Runtime
from model.training.self_supervised.denoiser import train_on_noise
from model.training.self_supervised.options import SelfSupervisedOptions

CAMERA = PoissonGaussian(gain=2.2, read_noise=3.3, black_level=100)
ELECTRONS = (20, 50, 200)  # at white
SIDE, CELLS, SPOTS, SPOT = 256, 24, 60, 1.6  # pixels, in an image, in an image, and deviation of a spot in pixels
TRAINED, MEASURED = 48, 12  # images
Restore = Callable[[Array], Array]  # of one image [H, W], uint16


def light(seed: int) -> Array:
    """Round cells with spots on a dark field, float64 ``[SIDE, SIDE]`` up to 1."""
    rng, (y, x) = np.random.default_rng([2, seed]), np.mgrid[:SIDE, :SIDE]
    found = np.full(y.shape, 0.04)
    for row, column, radius in rng.uniform((0, 0, 6), (SIDE, SIDE, 24), (CELLS, 3)):
        found += 0.5 * np.exp(-((((y - row) ** 2 + (x - column) ** 2) / radius**2) ** 2))
    for row, column in rng.uniform(0, SIDE, (SPOTS, 2)):
        found += rng.uniform(0.2, 0.6) * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * SPOT**2))
    scaled: Array = found / found.max()
    return scaled


def shot(seed: int) -> tuple[Array, Array, int]:
    """What the camera makes of an image, uint16 ``[SIDE, SIDE]``, its mean without noise, and electrons at white."""
    rng, electrons = np.random.default_rng([3, seed]), ELECTRONS[seed % len(ELECTRONS)]
    mean = light(seed) * electrons
    pixels = CAMERA.gain * rng.poisson(mean) + rng.normal(CAMERA.black_level, CAMERA.read_noise, mean.shape)
    return np.rint(pixels).astype(np.uint16), CAMERA.gain * mean + CAMERA.black_level, electrons


def trained(work: Path, steps: int) -> Bundle:
    """The bundle of the training; that of an earlier run if it is there."""
    output = work / f"micrographs-{steps}"
    if (output / "model.json").exists():
        return Bundle.open(str(output))
    np.save(work / "micrographs.npy", np.stack([shot(seed)[0] for seed in range(TRAINED)]))
    options = SelfSupervisedOptions(
        inputs=(str(work / "micrographs.npy"),),
        output=str(output),
        selection=ColumnSelection(carry=()),
        steps=steps,
        validation_fraction=0.1,
        noise="poisson-gaussian",
        black_level=CAMERA.black_level,
    )
    return train_on_noise(options, lambda report, _: print(report, flush=True)).bundle


def network(bundle: Bundle) -> Restore:
    """The bundle as a job runs it: by the camera that it says."""
    denoiser, noise = Denoiser(Runtime.load(bundle)), bundle.spec.input.noise
    assert noise is not None and noise.camera is not None
    camera = noise.camera
    return lambda pixels: denoise_photons(denoiser, pixels[None, ..., None], [(camera,)])[0].pixels[0, ..., 0]


def bm3d(pixels: Array) -> Array:
    """BM3D between the transform and its inverse, of the true camera."""
    white = CAMERA.stabilised(pixels)
    low, span = float(white.min()), float(np.ptp(white))
    made = import_module("bm3d").bm3d((white - low) / span, 1 / span)
    return CAMERA.restored(np.asarray(made) * span + low)


def measured(restore: Restore) -> tuple[dict[int, float], float]:
    """Mean PSNR in dB by electrons at white, where the peak is that of the image's mean, and seconds per megapixel."""
    ratios, seconds = dict[int, list[float]](), 0.0
    for seed in range(TRAINED, TRAINED + MEASURED):
        pixels, mean, electrons = shot(seed)
        started = time.process_time()
        made = restore(pixels)
        seconds += time.process_time() - started
        error = np.mean((made.astype(np.float64) - mean) ** 2)
        ratios.setdefault(electrons, []).append(10 * np.log10((CAMERA.gain * electrons) ** 2 / error))
    means = {electrons: float(np.mean(values)) for electrons, values in ratios.items()}
    return means, seconds / (MEASURED * SIDE**2 / 1e6)


def table(rows: dict[str, tuple[dict[int, float], float]], bundle: Bundle) -> str:
    """The results as a page."""
    noise, training = bundle.spec.input.noise, bundle.spec.training
    assert noise is not None and noise.camera is not None
    camera = noise.camera
    lines = [
        "# Micrographs of few photons, without clean images",
        "",
        f"Simulated cells and spots in 16 bits, {MEASURED} images of {SIDE} x {SIDE} that no training saw. Mean PSNR",
        "in dB by electrons at white, and seconds of a processor per megapixel. `python -m benchmarks.micrographs`",
        "",
        f"The network learned from {training['training_images']} noisy images in {training['steps']:,} steps. It",
        f"took the camera for one of gain {camera.gain:.3f} and read noise {camera.read_noise:.2f}; these are",
        f"{CAMERA.gain} and {CAMERA.read_noise}, as BM3D was told.",
        "Both see images after the generalized Anscombe transform.",
        "",
        f"| | {' | '.join(f'{electrons} electrons' for electrons in ELECTRONS)} | s per megapixel |",
        f"|---|{'---|' * (len(ELECTRONS) + 1)}",
    ]
    for name, (ratios, seconds) in rows.items():
        values = " | ".join(f"{ratios[electrons]:.2f}" for electrons in ELECTRONS)
        lines.append(f"| {name} | {values} | {f'{seconds:.1f}' if seconds >= 0.05 else ''} |")
    return "\n".join([*lines, "", on_machine(machine()), ""])


def main() -> None:
    """Train, measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--work", type=Path, default=HERE / ".work")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    bundle = trained(options.work, options.steps)
    ways: dict[str, Restore] = {"as they are": lambda pixels: pixels, "self-supervised": network(bundle), "BM3D": bm3d}
    rows = {}
    for name, restore in ways.items():
        rows[name] = measured(restore)
        print(name, rows[name], flush=True)
    (RESULTS / "micrographs.md").write_text(table(rows, bundle))


if __name__ == "__main__":
    main()
