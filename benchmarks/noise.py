"""How well noise is estimated, and what a denoiser loses by the estimate.

    python -m benchmarks.noise --data DIR [--images 68] [SECTION ...]

``--data`` holds the folders ``bsd68`` and ``bsd400`` as of ``benchmarks.quality``. ``levels``: bias and root mean
square error of levels of white noise, unclipped and in 8 bits; ``colours``: the same for the colours of as many images
of ``bsd400``. ``told``: PSNR that ``zoo:denoiser-gray`` loses by an estimate against the true level, unclipped and in 8
bits, and processor time of both. ``cameras``: gains of simulated cameras. ``halved``: PSNR of photographs of ``bsd400``
with noise whose colours JPEG keeps at half the resolution, by the network and by what it is told. Noise is where white
is 255; every table is printed as Markdown.
"""

import argparse
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.quality import Place, psnr
from lake.core.records import Array
from lake.images.noise import estimate, level_for_colors
from lake.images.photon_noise import estimate_camera
from model.bundle import Bundle
from model.denoiser import Denoiser
from model.pixels import to_unit
from model.runtime.runtime import Runtime

LEVELS = (0, 1, 2, 5, 10, 15, 25, 50, 75)
TOLD = (5, 15, 25, 50)
HALVED, QUALITIES = (10, 25, 50), (95, 85)
CAMERAS = ((1.0, 0.0, 0.0), (2.2, 3.3, 100.0))  # gain, read noise, black level
ELECTRONS = (10, 50, 300, 1000)  # at white


def white(clean: Array, level: float, seed: int) -> Array:
    """With white noise, float32 ``[H, W, K]`` with white at 1."""
    noise = np.random.default_rng([7, seed]).normal(0, level, clean.shape)
    noisy: Array = np.atleast_3d(((clean + noise) / 255).astype(np.float32))
    return noisy


def in_8_bits(clean: Array, level: float, seed: int) -> Array:
    """The same, clipped and rounded."""
    rounded: Array = np.rint(white(clean, level, seed) * 255).clip(0, 255).astype(np.uint8)
    return rounded


def photons(clean: Array, electrons: float, camera: tuple[float, float, float], seed: int) -> Array:
    """What a camera makes of it, uint16 ``[H, W, 1]``."""
    rng, (gain, read_noise, black) = np.random.default_rng([8, seed]), camera
    pixels = gain * rng.poisson(clean / 255 * electrons) + rng.normal(black, read_noise, clean.shape)
    rounded: Array = np.rint(pixels).clip(0, 65535).astype(np.uint16)[..., None]
    return rounded


def levels(images: Sequence[Array]) -> None:
    """Print bias, error and share within twice the stated error, by level."""
    print("| noise | unclipped: bias, error, within | in 8 bits: bias, error, within |\n|---|---|---|")
    for level in LEVELS:
        print(f"| {level} | {found(images, white, level)} | {found(images, in_8_bits, level)} |", flush=True)


def found(images: Sequence[Array], make: Callable[[Array, float, int], Array], level: float) -> str:
    """Bias and error of the estimates of one level."""
    estimates = [estimate(make(clean, level, seed)) for seed, clean in enumerate(images)]
    off = np.array([one.level * 255 - level for one in estimates])
    within = np.mean(np.abs(off) < 2 * 255 * np.array([one.error for one in estimates]))
    return f"{off.mean():+.2f}, {np.sqrt(np.mean(off**2)):.2f}, {within:.0%}"


def told(images: Sequence[Array]) -> None:
    """Print the loss of PSNR by an estimate."""
    denoiser = Denoiser(Runtime.load(Bundle.open("zoo:denoiser-gray")))
    print("| noise | unclipped: loss in dB, mean, worst | in 8 bits: loss, mean, worst | time of the estimate |")
    print("|---|---|---|---|")
    for level in TOLD:
        cells, spent = [], np.zeros(2)
        for make in (white, in_8_bits):
            losses = [
                lost(denoiser, make(clean, level, seed), clean, level, spent) for seed, clean in enumerate(images)
            ]
            cells.append(f"{np.mean(losses):.3f}, {max(losses):.3f}")
        print(f"| {level} | {' | '.join(cells)} | {spent[0] / spent[1]:.1%} of the denoiser's |", flush=True)


def lost(denoiser: Denoiser, noisy: Array, clean: Array, level: float, spent: Array) -> float:
    """The PSNR in dB that one image loses by an estimate; times of estimate and denoiser are added to ``spent``."""
    started = time.process_time()
    guess, between = estimate(noisy).level, time.process_time()
    by_guess, by_truth = (
        psnr(to_unit(denoiser.denoise(noisy[None], np.array([told], np.float32)).pixels[0, ..., 0]).clip(0, 1), clean)
        for told in (guess, level / 255)
    )
    spent += between - started, (time.process_time() - between) / 2
    return by_truth - by_guess


def cameras(images: Sequence[Array]) -> None:
    """Print estimated gains as shares of the true ones."""
    print("| gain, read noise, black level | electrons at white | gain found: mean, deviation |\n|---|---|---|")
    for camera in CAMERAS:
        for electrons in ELECTRONS:
            shots = [photons(clean, electrons, camera, seed) for seed, clean in enumerate(images)]
            gains = [estimate_camera(shot, camera[2])[0].gain / camera[0] for shot in shots]
            print(f"| {camera} | {electrons} | {np.mean(gains):.2f}, {np.std(gains):.2f} |", flush=True)


def halved(images: Sequence[Array]) -> None:
    """Print what is left of the noise of photographs whose colours JPEG has halved."""
    color, gray = (Denoiser(Runtime.load(Bundle.open(f"zoo:denoiser-{name}"))) for name in ("color", "gray"))
    print("| noise | quality | as it is | grey | colour, told what channels show | ... the estimate | ... the noise |")
    print("|---|---|---|---|---|---|---|")
    for level in HALVED:
        for quality in QUALITIES:
            found = [of_jpeg(color, gray, clean, level, quality, seed) for seed, clean in enumerate(images)]
            figures = " | ".join(f"{mean:.2f}" for mean in np.mean(found, axis=0))
            print(f"| {level} | {quality} | {figures} |", flush=True)


def of_jpeg(color: Denoiser, gray: Denoiser, clean: Array, level: float, quality: int, seed: int) -> list[float]:
    """PSNR of one photograph: as it is, by the grey network, and by that for colours with three levels."""
    file = io.BytesIO()
    Image.fromarray(in_8_bits(clean, level, seed)).save(file, "jpeg", quality=quality, subsampling="4:2:0")
    noisy = np.asarray(Image.open(file))
    found = estimate(noisy)
    ways = [(gray, found.level), (color, found.level), (color, level_for_colors(noisy, found)), (color, level / 255)]
    made = [way.denoise(noisy[None], np.array([told], np.float32), estimated=True).pixels[0] for way, told in ways]
    return [psnr(to_unit(image), clean) for image in (noisy, *made)]


SECTIONS = {"levels": levels, "colours": levels, "told": told, "cameras": cameras, "halved": halved}
_OF_COLOURS = ("colours", "halved")


def main() -> None:
    """Print the tables of the sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--images", type=int, default=68, help="of BSD68 (default 68)")
    parser.add_argument("sections", nargs="*", choices=SECTIONS, default=[*SECTIONS], metavar="SECTION")
    given = parser.parse_args()
    place = Place(data=given.data, zoo=Path("model/zoo"))
    for name in given.sections:
        images, _ = place.images(*(("bsd400", "", "RGB") if name in _OF_COLOURS else ("bsd68",)))
        chosen = [image.astype(np.float64) for image in images[: given.images]]
        print(f"\n## {name}, {len(chosen)} photographs\n", flush=True)
        SECTIONS[name](chosen)


if __name__ == "__main__":
    main()
