"""Checks and conversions of records that are numbers already: pixel arrays and vectors."""

from math import prod

import numpy as np

from lake.core.records import Array, Fault, Reason, Stage
from lake.images import color, geometry, white
from lake.images.types import Decoded, Group, ImageError, Target


def decode_arrays(payload: Array, target: Target, faults: dict[int, Fault]) -> Decoded:
    """Check a batch of pixels ``[n, H, W, C]`` or vectors ``[n, d]`` and bring it to the target's shape.

    Args:
      payload: uint8, uint16 or floating. Vectors and floating pixels become float32.
      target: shape and policies; orientation does not apply.
      faults: faults found by reading, by position; faults found here are added.

    Returns:
      At most one group. Records with faults, NaN, infinities or pixels of another scale are in no group.
    """
    rest = np.array([p for p in range(len(payload)) if p not in faults], np.int64)
    rows = _narrow(payload if len(rest) == len(payload) else payload[rest], target)
    try:
        pixels = _vectors(rows, target) if len(target.shape) == 1 else _pixels(rows, target)
    except ImageError as error:  # all rows of a batch have one shape, so the error applies to each of them
        faults.update(dict.fromkeys(rest.tolist(), error.fault()))
        return Decoded(groups=(), faults=faults)
    finite = _finite(rows)
    far = finite & white.off_scale(rows) if len(target.shape) == 3 else np.zeros(len(rows), bool)
    faults.update(dict.fromkeys(rest[~finite].tolist(), _NON_FINITE))
    faults.update({int(rest[at]): _wrong_scale(rows[at], target) for at in np.flatnonzero(far)})
    if not (good := finite & ~far).all():
        rest, pixels = rest[good], pixels[good]
    return Decoded(groups=(Group(positions=rest, pixels=pixels),) if len(rest) else (), faults=faults)


_NON_FINITE = Fault(stage=Stage.DECODE, reason=Reason.NON_FINITE_INPUT, detail="NaN or infinite values in the input")


def _wrong_scale(pixels: Array, target: Target) -> Fault:
    return ImageError(Reason.WRONG_SCALE, white.scale_advice(pixels, target.white)).fault()


def _narrow(rows: Array, target: Target) -> Array:
    """Vectors and floating pixels as float32, with white at 1. A value beyond float32 becomes infinite, a reject."""
    if len(target.shape) == 3 and not np.issubdtype(rows.dtype, np.floating):
        return rows
    with np.errstate(over="ignore"):
        rows = rows.astype(np.float32, copy=False)
        return rows if len(target.shape) == 1 else white.white_at_one(rows, target.white)


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
    rows = _folded(rows, target)
    geometry.fits(rows.shape[1:3], target.size, target.resize)
    rows = color.spread(rows, target.channels, target.color)
    if target.takes_as_it_is(rows.shape[1:3]):
        return rows
    return np.stack([resize_arrays(row, target) for row in rows]) if len(rows) else rows.reshape(0, *target.fixed)


def _folded(rows: Array, target: Target) -> Array:
    """Pixels that come in one line, as from a column of flat lists, as images of the model's size."""
    line = rows.shape[1] == rows.shape[3] == 1 and None not in target.shape
    return rows.reshape(len(rows), *target.fixed) if line and rows.shape[2] == prod(target.fixed) else rows


def resize_arrays(pixels: Array, target: Target, extent: geometry.Extent | None = None) -> Array:
    """Resize pixels to the target's size.

    Args:
      pixels: ``[H, W, K]`` of uint8, uint16 or float32.
      target: of one size, with a mode that ``geometry.fits`` accepts.
      extent: where the image lies in the pixels; None if it is all of them.

    Returns:
      ``[H', W', K]`` of the same dtype.
    """
    planes = geometry.resize_planes(geometry.planes_of(pixels), target.size, target.resize, extent)
    return geometry.pixels_of(planes, pixels.dtype.type)
