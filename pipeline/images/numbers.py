"""Records that are numbers already: pixel arrays and vectors."""

import numpy as np

from pipeline.images import color, geometry
from pipeline.images.base import Decoded, Group, ImageError, Target
from pipeline.records import Array, Fault, Reason, Stage


def decode(payload: Array, target: Target, faults: dict[int, Fault]) -> Decoded:
    """Check a batch of pixels ``[n, H, W, C]`` or vectors ``[n, d]`` and bring it to the target's shape.

    Args:
      payload: uint8, uint16 or floating; vectors of any of them become float32.
      target: shape and policies; orientation does not apply.
      faults: what reading found; what is found here is added.
    """
    rest = np.array([p for p in range(len(payload)) if p not in faults], np.int64)
    rows = _narrow(payload if len(rest) == len(payload) else payload[rest], target)
    try:
        pixels = _vectors(rows, target) if len(target.shape) == 1 else _pixels(rows, target)
    except ImageError as error:  # the rows of a batch have one shape: what is wrong with one is wrong with all
        faults.update(dict.fromkeys(rest.tolist(), error.fault()))
        return Decoded(groups=(), faults=faults)
    finite = _finite(rows)
    faults.update(dict.fromkeys(rest[~finite].tolist(), _NON_FINITE))
    if not finite.all():
        rest, pixels = rest[finite], pixels[finite]
    return Decoded(groups=(Group(positions=rest, pixels=pixels),) if len(rest) else (), faults=faults)


_NON_FINITE = Fault(stage=Stage.DECODE, reason=Reason.NON_FINITE_INPUT, detail="NaN or infinite values in the input")


def _narrow(rows: Array, target: Target) -> Array:
    """Vectors and all floating numbers as float32; what is too large for it becomes infinite, and so a reject."""
    if len(target.shape) == 3 and not np.issubdtype(rows.dtype, np.floating):
        return rows
    with np.errstate(over="ignore"):
        return rows.astype(np.float32, copy=False)


def _finite(rows: Array) -> Array:
    if not np.issubdtype(rows.dtype, np.floating):
        return np.ones(len(rows), bool)
    finite: Array = np.isfinite(rows).all(axis=tuple(range(1, rows.ndim)))
    return finite


def _vectors(rows: Array, target: Target) -> Array:
    if rows.shape[1:] != target.shape:
        raise ImageError(
            Reason.WRONG_LENGTH, f"numbers of shape {rows.shape[1:]}, the model takes vectors of {target.shape[0]}"
        )
    return rows


def _pixels(rows: Array, target: Target) -> Array:
    if rows.ndim != 4:
        raise ImageError(Reason.WRONG_SIZE, f"numbers of shape {rows.shape[1:]}, the model takes images {target.shape}")
    geometry.fits(rows.shape[1:3], target.size, target.resize)
    rows = color.spread(rows, target.channels, target.color)
    if rows.shape[1:3] == target.size:
        return rows
    return np.stack([resized(row, target) for row in rows]) if len(rows) else rows.reshape(0, *target.fixed)


def resized(pixels: Array, target: Target) -> Array:
    """Pixels ``[H, W, K]`` of the target's size, by a mode that ``geometry.fits`` has agreed to; the same dtype."""
    planes = geometry.resized(geometry.planes_of(pixels), target.size, target.resize)
    return geometry.pixels_of(planes, pixels.dtype.type)
