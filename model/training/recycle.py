"""Channels of a denoiser's blocks that are hardly ever active get new weights in the course of a training."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lake.core.tensorflow import keras
from model.pixels import Floats
from model.training.networks import residual_blocks

_ACTIVE = 1e-3  # share of the positions at which a channel is to be active
Mask: TypeAlias = npt.NDArray[np.bool_]


def recycle(model: Any, average: Any, noisy: Floats, levels: Floats, rng: np.random.Generator) -> int:
    """Give new weights to channels that a ReLU makes 0 at all but a thousandth of the positions.

    Such a channel adds nothing and learns next to nothing. Here it begins anew, as in ReDo (Sokar et al. 2023): what it
    reads is drawn, and what is read of it is 0, so that the network still gives what it gave. Channels die where the
    mean of what they read decides the sign of what they make; so the new weights are such that the mean adds nothing,
    and a new channel is active at about half of the positions.

    Args:
      model: the network that is trained, as ``build_denoiser`` makes it. Changed in place.
      average: another one of the same weights: their average. Its channels of the same numbers begin anew with them.
      noisy: images ``[n, H, W, C]`` as the training sees them.
      levels: of their noise, ``[n, H, W, 1]``.
      rng: source of the weights.

    Returns:
      The number of channels that were given new weights.
    """
    count = 0
    blocks = zip(residual_blocks(model), residual_blocks(average), _seen(model, noisy, levels), strict=True)
    for (first, second), averages, (read, made) in blocks:
        idle = _is_idle(made)
        if idle.any():
            kernel = _centred(rng, read, (*first.kernel.shape[:3], int(idle.sum())))
            for reads, is_read in ((first, second), averages):
                _assign(reads.kernel, (..., idle), kernel)
                _assign(is_read.kernel, (slice(None), slice(None), idle), 0)
        count += int(idle.sum())
    return count


def idle_channels(model: Any, noisy: Floats, levels: Floats) -> list[Mask]:
    """Which channels of each block of a denoiser are active at less than a thousandth of the positions.

    Args:
      model: as ``build_denoiser`` makes it.
      noisy: images ``[n, H, W, C]``.
      levels: of their noise, ``[n, H, W, 1]``.
    """
    return [_is_idle(made) for _, made in _seen(model, noisy, levels)]


def _seen(model: Any, noisy: Floats, levels: Floats) -> list[tuple[Floats, Floats]]:
    """Of each block what its first convolution reads, and what its ReLU makes."""
    probe = keras().Model(model.inputs, [[first.input, first.output] for first, _ in residual_blocks(model)])
    return [(read.numpy(), made.numpy()) for read, made in probe([noisy, levels], training=False)]


def _is_idle(made: Floats) -> Mask:
    return np.asarray((made > 0).mean((0, 1, 2)) < _ACTIVE)


def _centred(rng: np.random.Generator, read: Floats, shape: tuple[int, ...]) -> Floats:
    """Kernels ``[h, w, in, out]`` that make of the mean of what they read 0, and of the rest numbers of its size."""
    kernel = rng.standard_normal(shape).astype(np.float32)
    read = read.astype(np.float32)  # NumPy sums bfloat16 in bfloat16, where a mean of many is next to nothing
    mean = np.broadcast_to(read.mean((0, 1, 2)), shape[:3])
    kernel -= mean[..., None] * (np.tensordot(mean, kernel, 3) / np.maximum(np.sum(mean * mean), 1e-12))
    made = keras().ops.convert_to_numpy(keras().ops.conv(read, kernel, padding="same"))
    return np.asarray(kernel * (read.std((0, 1, 2)).mean() / np.maximum(made.std((0, 1, 2)), 1e-12)), np.float32)


def _assign(variable: Any, part: Any, value: Any) -> None:
    array = variable.numpy().copy()
    array[part] = value
    variable.assign(array)
