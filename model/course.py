"""What a denoiser learns from, and how fast, from step to step: the same course for any number of steps."""

import math

import numpy as np

STEPS = 33_000
_PHASES = ((22_000, 64), (7_000, 96), (4_000, 128))  # of STEPS, and the sides of pieces in pixels
_WARM_UP = 200  # of STEPS, in which the learning rate rises


def side_at(step: int, steps: int) -> int:
    """Side in pixels of the pieces in this step: small first, since most is learned from them, and large at the end."""
    ends = np.cumsum([share for share, _ in _PHASES]) * steps // STEPS
    return _PHASES[int(np.searchsorted(ends[:-1], step, side="right"))][1]


def share_done(done: int, steps: int) -> float:
    """Share of all work in the first steps: one costs as much as its pieces have pixels."""
    work, before = [0.0, 0.0], 0.0
    for share, side in _PHASES:
        length = share * steps / STEPS
        work[0] += min(max(done - before, 0.0), length) * side**2
        work[1] += length * side**2
        before += length
    return work[0] / work[1]


def rate_at(step: int, steps: int, rate: float) -> float:
    """Learning rate in this step: it rises at the very beginning, then falls as a cosine does, to nearly 0."""
    warm_up = max(1, _WARM_UP * steps // STEPS)
    return rate * min(1.0, (step + 1) / warm_up) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
