"""Similarity of two images: PSNR and SSIM, computed as in the tables of the denoising literature."""

from collections.abc import Callable, Iterator
from math import inf, log10
from typing import TypeAlias

import numpy as np

from lake.core.records import Array
from lake.images.color import is_alpha

_WINDOW, _SIGMA = 11, 1.5  # side and standard deviation of the Gaussian window, in pixels
_C1, _C2 = 0.01**2, 0.03**2  # (K1 L)^2 and (K2 L)^2 of the paper, for pixels in 0..1
_STRIP = 1 << 18  # numbers of one strip; about a dozen arrays of this size are in memory
_WHITE = {"u1": 255.0, "u2": 65535.0}

_Rows: TypeAlias = Callable[[int, int], Array]  # (start, stop) -> rows [start, stop) as float64 [rows, W, K] in 0..1


def psnr(mse: Array) -> Array:
    """Peak signal-to-noise ratio in dB of mean squared errors of pixels in 0..1.

    Args:
      mse: mean squared errors, any shape.

    Returns:
      float32 of the same shape; infinite where the error is 0.

    >>> psnr(np.array([0.01, 0.0]))
    array([20., inf], dtype=float32)
    """
    with np.errstate(divide="ignore"):
        ratio: Array = (-10 * np.log10(mse.astype(np.float64))).astype(np.float32)
    return ratio


def compare(output: Array, reference: Array, *, bands: bool = False) -> tuple[float, float]:
    """PSNR in dB and SSIM of an image against its reference.

    As in published tables, the output is clipped to 0..1 first, and equal images have an infinite PSNR. Alpha is
    ignored.

    Args:
      output: ``[H, W]`` or ``[H, W, K]``. uint8 and uint16 are divided by their largest value; floating
        numbers are used as they are.
      reference: of the same height, width and colours; any of these types.
      bands: the last channel is data, also of two or four.

    Raises:
      ValueError: the shapes differ.

    >>> image = np.full((16, 16), 0.5)
    >>> compare(image, image)
    (inf, 1.0)
    """
    one, other = _colours(output, bands=bands), _colours(reference, bands=bands)
    if one.shape != other.shape:
        raise ValueError(f"an image {output.shape} and a reference {reference.shape}")
    one, other = _upright(one), _upright(other)
    first, second = _rows(one, clip=True), _rows(other)
    # Strip by strip, so that no float64 copy of a whole image is made.
    squares = sum(float(np.sum((first(*at) - second(*at)) ** 2)) for at in _strips(one))
    ratio = -10 * log10(squares / one.size) if squares else inf
    return ratio, _ssim(one.shape, first, second)


def ssim(one: Array, other: Array) -> float:
    """Structural similarity of two images (Wang et al., "Image quality assessment", IEEE TIP 2004).

    The window is Gaussian, 11 x 11 with sigma 1.5; K1 = 0.01, K2 = 0.03. The result is the mean over all places where
    the window lies within the image, and over the channels. If a side is shorter than 11, the window is the largest odd
    one that fits. Memory is bounded, whatever the size.

    Args:
      one: ``[H, W]`` or ``[H, W, K]``; uint8, uint16, or floating numbers in 0..1.
      other: of the same shape.

    Returns:
      At most 1, which equal images have.

    Raises:
      ValueError: the shapes differ.

    >>> image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    >>> ssim(image, image)
    1.0
    """
    if one.shape != other.shape:
        raise ValueError(f"images {one.shape} and {other.shape}")
    one, other = (_upright(image if image.ndim == 3 else image[..., np.newaxis]) for image in (one, other))
    return _ssim(one.shape, _rows(one), _rows(other))


def _ssim(shape: tuple[int, ...], one: _Rows, other: _Rows) -> float:
    height, width, channels = shape
    window = _window(min(height, width))
    places = (height - len(window) + 1) * (width - len(window) + 1) * channels
    total = 0.0
    step = max(1, _STRIP // (width * channels))
    for start in range(0, height - len(window) + 1, step):
        stop = min(start + step + len(window) - 1, height)
        total += float(np.sum(_similarity(one(start, stop), other(start, stop), window)))
    return total / places


def _similarity(one: Array, other: Array, window: Array) -> Array:
    """SSIM at every place of a strip, from the sum and the difference of the two images, which saves one filter."""
    total, change = one + other, one - other
    mean_total, mean_change = _filtered(total, window) ** 2, _filtered(change, window) ** 2  # (a + b)^2, (a - b)^2
    var_total, var_change = _filtered(total**2, window) - mean_total, _filtered(change**2, window) - mean_change
    luminance = ((mean_total - mean_change) / 2 + _C1) / ((mean_total + mean_change) / 2 + _C1)
    structure = ((var_total - var_change) / 2 + _C2) / ((var_total + var_change) / 2 + _C2)
    product: Array = luminance * structure
    return product


def _filtered(values: Array, window: Array) -> Array:
    """Weighted means over the window: ``[rows, W, K]`` to ``[rows - n + 1, W - n + 1, K]``."""
    return _along(_along(values, window, 0), window, 1)


def _along(values: Array, window: Array, axis: int) -> Array:
    """Filter along one axis. The window is symmetric, so places at equal distance share a product."""
    half, length = len(window) // 2, values.shape[axis] - len(window) + 1

    def shifted(at: int) -> Array:
        part: Array = values[at : at + length] if axis == 0 else values[:, at : at + length]
        return part

    total: Array = shifted(half) * window[half]
    pair = np.empty_like(total)
    for at in range(half):
        np.add(shifted(at), shifted(len(window) - 1 - at), out=pair)
        np.multiply(pair, window[at], out=pair)
        np.add(total, pair, out=total)
    return total


def _window(side: int) -> Array:
    half = (min(_WINDOW, side + side % 2 - 1) - 1) // 2
    weights = np.exp(-0.5 * (np.arange(-half, half + 1) / _SIGMA) ** 2)
    weights /= weights.sum()
    return weights


def _colours(image: Array, *, bands: bool) -> Array:
    """``[H, W, K]`` without the alpha channel."""
    image = image if image.ndim == 3 else image[..., np.newaxis]
    return image[..., :-1] if is_alpha(image.shape[2], bands=bands) else image


def _upright(image: Array) -> Array:
    """The image with its longer side first, so that strips are short. PSNR and SSIM do not depend on it."""
    return image.swapaxes(0, 1) if image.shape[1] > image.shape[0] else image


def _strips(image: Array) -> Iterator[tuple[int, int]]:
    step = max(1, _STRIP // image[0].size)
    for start in range(0, len(image), step):
        yield start, min(start + step, len(image))


def _rows(image: Array, clip: bool = False) -> _Rows:
    white = _WHITE.get(image.dtype.str[1:], 1.0)

    def rows(start: int, stop: int) -> Array:
        part = image[start:stop].astype(np.float64, order="C") / white
        return np.clip(part, 0, 1) if clip else part

    return rows
