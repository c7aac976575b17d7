"""The protocol of papers on denoising: white Gaussian noise of a known level, neither clipped nor quantised; PSNR."""

from collections.abc import Callable

import numpy as np

from model.pixels import Floats

LEVELS = (15, 25, 50)  # standard deviations where white is 255
HARM_LEVELS = (0, 1, 2, 5)


def noisy_image(image: np.ndarray, level: float, number: int) -> Floats:
    """An image with noise of a seed of its own, float32 of the image's shape, where white is 1.

    Args:
      image: uint8 [H, W] or [H, W, C].
      level: standard deviation of the noise where white is 255.
      number: of the image in its set, which is its seed.
    """
    noise = np.random.default_rng([0, number]).standard_normal(image.shape, np.float32)
    return image / np.float32(255) + noise * np.float32(level / 255)


def psnr(made: np.ndarray, clean: np.ndarray) -> float:
    """In dB, of values in 0..1 against uint8, over all pixels and channels of one image; infinite where they are equal.

    >>> round(psnr(np.full((2, 2), 0.1), np.zeros((2, 2), np.uint8)), 6)
    20.0
    """
    error = float(np.mean((made.astype(np.float64) - clean / 255) ** 2))
    return -10 * float(np.log10(error)) if error else float("inf")


def rounded(made: np.ndarray) -> np.ndarray:
    """Values as an image of 8 bits has them, still in 0..1. The code of most papers measures these.

    >>> rounded(np.array([-1.0, 0.5, 2.0])).tolist() == [0.0, 128 / 255, 1.0]
    True
    """
    return (made.astype(np.float64).clip(0, 1) * 255).round() / 255


def mean_psnr(images: list[np.ndarray], level: float, restore: Callable[[Floats], np.ndarray]) -> dict[str, float]:
    """Mean PSNR over a set.

    Args:
      images: uint8 [H, W] or [H, W, C] each.
      level: of the noise.
      restore: what makes a clean image of a noisy one, of its shape.

    Returns:
      ``noisy``: of the noisy images; ``psnr``: of what was made of them, clipped to 0..1; ``rounded``: the same in 8
      bits.
    """
    found = []
    for number, image in enumerate(images):
        noisy = noisy_image(image, level, number)
        made = restore(noisy)
        found.append((psnr(noisy, image), psnr(made.clip(0, 1), image), psnr(rounded(made), image)))
    return dict(zip(("noisy", "psnr", "rounded"), np.mean(found, axis=0).tolist(), strict=True))
