"""Schedules of a denoiser's training: crop size and learning rate, stretched to any number of steps."""

import math

import numpy as np

STEPS = 33_000  # default length of a training; the numbers of steps below refer to it
# Progressive crops: steps and side in pixels. Small crops teach most for their cost, large ones at the end show
# context.
_PHASES = ((22_000, 64), (7_000, 96), (4_000, 128))
_WARM_UP = 200  # steps in which the learning rate rises


def side_at(step: int, steps: int) -> int:
    """Return the side of the crops at a step, in pixels.

    Args:
      step: number of the step, from 0.
      steps: number of all steps.

    >>> side_at(0, STEPS), side_at(STEPS - 1, STEPS)
    (64, 128)
    """
    ends = np.cumsum([length for length, _ in _PHASES]) * steps // STEPS
    return _PHASES[int(np.searchsorted(ends[:-1], step, side="right"))][1]


def share_done(done: int, steps: int) -> float:
    """Return the share of the work that is done, 0 to 1, where a step costs as much as its crops have pixels.

    Args:
      done: number of steps that are done.
      steps: number of all steps.

    >>> share_done(0, 100), share_done(100, 100)
    (0.0, 1.0)
    """
    work, before = [0.0, 0.0], 0.0
    for length, side in _PHASES:
        scaled = length * steps / STEPS
        work[0] += min(max(done - before, 0.0), scaled) * side**2
        work[1] += scaled * side**2
        before += scaled
    return work[0] / work[1]


def rate_at(step: int, steps: int, rate: float) -> float:
    """Return the learning rate at a step: a short linear warm-up, then a cosine decay to nearly 0.

    Args:
      step: number of the step, from 0.
      steps: number of all steps.
      rate: the largest learning rate.

    >>> rate_at(0, STEPS, 1.0) < rate_at(200, STEPS, 1.0) > rate_at(STEPS - 1, STEPS, 1.0)
    True
    """
    warm_up = max(1, _WARM_UP * steps // STEPS)
    return rate * min(1.0, (step + 1) / warm_up) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
