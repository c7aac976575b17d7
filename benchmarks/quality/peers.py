"""Section: what people use besides, on the same images, with the processor time of each."""

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.quality.networks import COLOR, GRAY, network
from benchmarks.quality.place import AbsentError, Place
from benchmarks.quality.protocol import noisy_image, psnr
from model.pixels import Floats

Restore = Callable[[Floats, float], np.ndarray]  # of a noisy image in 0..1, and the level where white is 255
LEVEL = 25
FIRST = {"bsd68": 5, "CBSD68": 3}  # images; BM3D takes long
_STRENGTHS = (0.85, 0.6)  # of OpenCV for grey and colour, in levels: the best of some on four and three other images


def bm3d(noisy: Floats, level: float) -> np.ndarray:
    """BM3D of grey images and CBM3D of colour, by its authors' package, as it comes."""
    package = import_module("bm3d")
    restore = package.bm3d if noisy.ndim == 2 else package.bm3d_rgb
    return np.asarray(restore(noisy, level / 255))


def non_local_means(noisy: Floats, level: float) -> np.ndarray:
    """scikit-image's, fast, told the level, with the sizes and strength of its example."""
    package = import_module("skimage.restoration")
    axis, sigma = (None if noisy.ndim == 2 else 2), level / 255
    given = {"patch_size": 5, "patch_distance": 6, "fast_mode": True, "h": 0.6 * sigma, "sigma": sigma}
    return np.asarray(package.denoise_nl_means(noisy, channel_axis=axis, **given))


def wavelets(noisy: Floats, level: float) -> np.ndarray:
    """scikit-image's BayesShrink with soft thresholds, of colour in YCbCr, told the level."""
    package = import_module("skimage.restoration")
    color = noisy.ndim == 3
    given = {"channel_axis": 2, "convert2ycbcr": True} if color else {}
    return np.asarray(package.denoise_wavelet(noisy, sigma=level / 255, rescale_sigma=True, **given))


def opencv(noisy: Floats, level: float) -> np.ndarray:
    """OpenCV's fastNlMeansDenoising of 8 bits, with its default sizes, and the strength that is best at noise 25."""
    package = import_module("cv2")
    package.setNumThreads(1)
    pixels = (noisy.clip(0, 1) * 255).round().astype(np.uint8)
    if noisy.ndim == 2:
        made = package.fastNlMeansDenoising(pixels, h=_STRENGTHS[0] * level)
    else:
        made = package.fastNlMeansDenoisingColored(pixels, h=_STRENGTHS[1] * level, hColor=_STRENGTHS[1] * level)
    return np.asarray(made) / 255


OTHERS: dict[str, Restore] = {
    "BM3D": bm3d,
    "non-local means (scikit-image)": non_local_means,
    "wavelets (scikit-image)": wavelets,
    "non-local means (OpenCV)": opencv,
}


def peers(place: Place) -> dict[str, Any]:
    """Every side on the first images of a set at noise 25, image by image, all sides in turn; one thread each."""
    found: dict[str, Any] = {}
    for name, count in FIRST.items():
        mode = "RGB" if name == "CBSD68" else "L"
        try:
            images = place.photographs(name, mode)[:count]
        except AbsentError as why:
            found[name] = {"absent": str(why)}
            continue
        found[name] = {"images": len(images), **_compared(place, images)}
        print(f"  {name}: {found[name]}", flush=True)
    return found


def _compared(place: Place, images: list[np.ndarray]) -> dict[str, Any]:
    names = GRAY if images[0].ndim == 2 else COLOR
    found, sides = dict[str, Any](), dict[str, Restore]()
    for name in (name for name in (*names, *OTHERS) if not place.networks or name in place.networks):
        try:
            sides[name] = _side(place, name, images[0])
        except (AbsentError, ImportError) as why:
            found[name] = {"absent": str(why)}
    for name, (ratio, seconds) in in_turn(sides, images, LEVEL).items():
        found[name] = {"psnr": ratio, "seconds_per_megapixel": seconds}
    return found


def _side(place: Place, name: str, image: np.ndarray) -> Restore:
    """A method that has run once.

    Raises:
      AbsentError: its bundle or weights are not there.
      ImportError: its package is not there.
    """
    restore = OTHERS.get(name) or network(place, name, LEVEL, 1 if image.ndim == 2 else 3).restore
    restore(noisy_image(image[:64, :64], LEVEL, 0), LEVEL)
    return restore


def in_turn(sides: dict[str, Restore], images: list[np.ndarray], level: int) -> dict[str, tuple[float, float]]:
    """Mean PSNR of each side, and its seconds of a processor for a megapixel: the median over images."""
    ratios, seconds = np.empty((2, len(images), len(sides)))
    for number, image in enumerate(images):
        noisy = noisy_image(image, level, number)
        for column, restore in enumerate(sides.values()):
            begun = time.process_time()
            made = restore(noisy, level)
            seconds[number, column] = (time.process_time() - begun) / (image.shape[0] * image.shape[1] / 1e6)
            ratios[number, column] = psnr(made.clip(0, 1), image)
    columns = zip(ratios.mean(axis=0).tolist(), np.median(seconds, axis=0).tolist(), strict=True)
    return dict(zip(sides, columns, strict=True))
