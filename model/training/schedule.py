"""Schedules of a denoiser's training: crop size, learning rate and average, stretched to any number of steps."""

import numpy as np

STEPS = 40_000  # default length of a training; the numbers of steps below refer to it
# Progressive crops: steps and side in pixels. Small crops teach most for their cost, large ones at the end show
# context.
_PHASES = ((28_000, 64), (8_000, 96), (4_000, 128))
SIDES = tuple(side for _, side in _PHASES)
_WARM_UP = 200  # steps in which the learning rate rises
_FALLS = _PHASES[0][0]  # step from which on it falls
_REMEMBERED = 1000  # steps of which the weights are averaged
RECYCLINGS = 32  # times, at least, that idle channels begin anew, until the learning rate falls


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
    """Return the learning rate at a step: a short linear warm-up, constant for long, then a linear fall to nearly 0.

    As good as a cosine (Hägele et al. 2024), and what is learnt before the fall does not depend on where the end is.

    Args:
      step: number of the step, from 0.
      steps: number of all steps.
      rate: the largest learning rate.

    >>> [rate_at(step, STEPS, 1.0) for step in (0, 199, 27_999, 34_000, 39_999)]
    [0.005, 1.0, 1.0, 0.5, 8.333333333333333e-05]
    """
    warm_up, falls = max(1, _WARM_UP * steps // STEPS), _FALLS * steps // STEPS
    return rate * min(1.0, (step + 1) / warm_up, (steps - step) / (steps - falls))


def averaged_at(step: int) -> float:
    """Return the weight of a step's network in the average of all: an exponential mean of about the last 1,000.

    The first ones, which are far off, are forgotten faster (Karras et al. 2024).

    Args:
      step: number of the step, from 0.

    >>> averaged_at(0), averaged_at(9), averaged_at(100_000)
    (1.0, 0.5, 0.001)
    """
    return max(1 / _REMEMBERED, 9 / (9 + step))


def recycles_at(step: int, steps: int) -> bool:
    """Return whether idle channels are given new weights before a step: from step 0 on, evenly.

    That is ``RECYCLINGS`` times, or more where the steps are no multiple of that. None are when the learning rate
    falls, as they would not have the time to learn.

    Args:
      step: number of the step, from 0.
      steps: number of all steps.

    >>> [step for step in range(STEPS) if recycles_at(step, STEPS)][:3]
    [0, 875, 1750]
    >>> sum(recycles_at(step, STEPS) for step in range(STEPS))
    32
    """
    return step < _FALLS * steps // STEPS and step % max(1, _FALLS * steps // STEPS // RECYCLINGS) == 0
