"""The course of a training without clean images: steps, measurements, checkpoints, and the best weights so far."""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lake.core.errors import UsageError
from lake.core.tensorflow import keras, tensorflow
from model.pixels import Floats
from model.spec import Json
from model.training.checkpoint import Checkpoint, Stops
from model.training.crops import random_crop
from model.training.denoiser import training_precision
from model.training.muon import muon
from model.training.schedule import averaged_at, rate_at, side_at
from model.training.self_supervised.images import NoisyImages
from model.training.self_supervised.options import SelfSupervisedOptions
from model.training.self_supervised.step import compiled_step
from model.training.self_supervised.ways import Way

_SHOWN_SIDE = 320  # pixels; of a held-out image at most this much of either side is used
_REPORTED = 200  # steps between two reports


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyReport:
    """The state of a training.

    Attributes:
      step: number of steps that are done.
      loss: mean over the steps since the last report, in the way's own unit.
      error: root mean squared error of the held-out images, where white is 255, told without clean ones; of a
        blind-spot training the noise of the images is in it. None if it was not measured.
      seconds: duration of the training so far, including the time before an interruption.
    """

    step: int
    loss: float
    error: float | None
    seconds: float


WatchNoisy: TypeAlias = Callable[[NoisyReport, int], None]  # a report, and the steps in all


def make_noisy_batch(images: NoisyImages, way: Way, side: int, seed: int, step: int) -> tuple[Floats, ...]:
    """Make the batch of a training step, which is a function of the seed and the number of the step.

    Args:
      images: the images.
      way: what is drawn besides crops.
      side: side of the crops in pixels.
      seed: seed of the training.
      step: number of the step.

    Returns:
      Crops ``[n, side, side, shots * C]``, the levels of their noise ``[n, 1, 1, 1]``, and what the way draws.
    """
    rng = np.random.default_rng([seed, step])
    chosen = rng.integers(len(images.training), size=way.crops)
    noisy = images.shown(np.stack([random_crop(rng, images.training[n], side) for n in chosen]))
    level = (images.levels[chosen] / np.float32(images.std)).reshape(-1, 1, 1, 1)
    return noisy, level, *way.draw(rng, noisy)


class Course:
    """The state of a training: weights, their average, the best average, optimizer, reports.

    Args:
      options: what it depends on.
      way: how it learns.
      images: what it learns from.
    """

    def __init__(self, options: SelfSupervisedOptions, way: Way, images: NoisyImages) -> None:
        tensorflow(training=True)
        self.options, self._way, self._images = options, way, images
        self.precision = training_precision(options.precision)
        keras().utils.set_random_seed(options.seed)
        self.model = way.build(len(images.mean), self.precision)
        # A bundle computes in float32, whatever the training does: it runs on any processor.
        self.average = way.build(len(images.mean), "float32")
        self._optimizer = muon(options.learning_rate)
        # Creates the optimizer's variables, which the checkpoint restores before the first step.
        self._optimizer.build(self.model.trainable_variables)
        self._best = [tensorflow().Variable(variable.value) for variable in self.average.trainable_variables]
        self._learn, self._network = compiled_step(way, self.model, self.average, self._optimizer, len(images.mean))
        self.checkpoint = Checkpoint(options.output, self.identity())
        self.reports: list[NoisyReport] = []
        self._losses: list[float] = []

    def train(self, watch: WatchNoisy, stops: Stops) -> bool:
        """Run the remaining steps, and say whether it was stopped by ``stops``."""
        steps, done = self.options.steps, self._restore()
        started = time.monotonic() - (self.reports[-1].seconds if self.reports else 0)
        with ThreadPoolExecutor(1) as ahead:  # the next batch is made while the processor works on this one
            next_batch = ahead.submit(self._batch, done)
            for step in range(done, steps):
                if self._exhausted():
                    break
                batch = next_batch.result()
                next_batch = ahead.submit(self._batch, step + 1)
                self._step(step, batch)
                if (step + 1) % _REPORTED == 0 or self._saves(step + 1):
                    watch(self._report(step + 1, time.monotonic() - started, measured=self._saves(step + 1)), steps)
                if self._saves(step + 1):
                    self.checkpoint.save([asdict(report) for report in self.reports], self._variables())
                if step + 1 < steps and stops(step + 1):
                    self._stop(step + 1, time.monotonic() - started)
                    return True
        return False

    def best_model(self) -> Any:
        """The network of the best average, in float32."""
        for variable, value in zip(self.average.trainable_variables, self._best, strict=True):
            variable.assign(value)
        return self.average

    @property
    def measured(self) -> Sequence[NoisyReport]:
        """The reports with an error."""
        return [report for report in self.reports if report.error is not None]

    @property
    def best_report(self) -> NoisyReport:
        """The report of the best weights."""
        return min(self.measured, key=lambda report: report.error or 0.0)

    def identity(self) -> dict[str, Json]:
        """Everything that the weights depend on."""
        options, images = self.options, self._images
        return {
            "self_supervised": self._way.name,
            "steps": options.steps,
            "learning_rate": options.learning_rate,
            "seed": options.seed,
            "validation_fraction": options.validation_fraction,
            "checkpoint_steps": options.checkpoint_steps,
            "patience": options.patience,
            "precision": self.precision,
            "noise_level": options.noise_level,
            "images": images.digest,
        }

    def correlation(self) -> tuple[float, float]:
        """Correlation of what is removed from held-out images, of neighbours in a row and in a column; of noise, 0."""
        pairs = [neighbour_correlation(noisy - self._clean(noisy, level)) for noisy, level in self._held_out()]
        across, down = np.mean(pairs, axis=0)
        return float(across), float(down)

    def _exhausted(self) -> bool:
        """Whether the last measurements, as many as the patience, were none of them better than the one before."""
        errors = [report.error for report in self.measured]
        best = self.best_report if errors else None
        return best is not None and len(errors) - 1 - errors.index(best.error) >= self.options.patience

    def _stop(self, done: int, seconds: float) -> None:
        """Complete the reports. The checkpoint stays that of its step: going on from there gives the same weights."""
        if not self.reports:
            raise KeyboardInterrupt
        if self._losses:
            self._report(done, seconds, measured=True)
        elif not self.measured:
            self.reports[-1] = replace(self.reports[-1], error=self._measure())

    def _batch(self, step: int) -> tuple[Floats, ...]:
        step = min(step, self.options.steps - 1)
        side = min(side_at(step, self.options.steps), self._images.smallest)
        return make_noisy_batch(self._images, self._way, side, self.options.seed, step)

    def _step(self, step: int, batch: tuple[Floats, ...]) -> None:
        self._optimizer.learning_rate.assign(rate_at(step, self.options.steps, self.options.learning_rate))
        loss = float(self._learn(np.float32(averaged_at(step)), *batch))
        if not math.isfinite(loss):
            raise UsageError(f"the loss is not finite in step {step}; give a smaller --learning-rate")
        self._losses.append(loss)

    def _saves(self, done: int) -> bool:
        return done % self.options.checkpoint_steps == 0 or done == self.options.steps

    def _report(self, done: int, seconds: float, *, measured: bool) -> NoisyReport:
        error = self._measure() if measured else None
        report = NoisyReport(step=done, loss=float(np.mean(self._losses)), error=error, seconds=round(seconds, 3))
        self._losses.clear()
        self.reports.append(report)
        return report

    def _measure(self) -> float:
        """The error of the held-out images, by which the best weights are kept."""
        errors = []
        for number, (noisy, level) in enumerate(self._held_out()):
            errors.append(self._way.error(self._network_of_arrays, noisy, level, np.random.default_rng([1, number])))
        # An unbiased estimate of a small error may be below 0.
        error = 255 * self._images.std * math.sqrt(max(float(np.mean(errors)), 0.0))
        if not self.measured or error < (self.best_report.error or 0.0):
            for kept, variable in zip(self._best, self.average.trainable_variables, strict=True):
                kept.assign(variable.value)
        return error

    def _held_out(self) -> Any:
        for image, level in zip(self._images.held_out, self._images.held_out_levels, strict=True):
            height, width = (min(side, _SHOWN_SIDE) // 8 * 8 for side in image.shape[:2])
            told = np.full((1, 1, 1, 1), level / self._images.std, np.float32)
            yield self._images.shown(image[None, :height, :width]), told

    def _network_of_arrays(self, noisy: Floats, level: Floats) -> Floats:
        made: Floats = self._network(noisy, np.asarray(level, np.float32)).numpy()
        return made

    def _clean(self, noisy: Floats, level: Floats) -> Floats:
        return self._network_of_arrays(noisy[..., : len(self._images.mean)], level)

    def _variables(self) -> list[Any]:
        networks = [*self.model.trainable_variables, *self.average.trainable_variables]
        return [*networks, *self._optimizer.variables, *self._best]

    def _restore(self) -> int:
        saved = self.checkpoint.restore(self._variables())
        self.reports = [NoisyReport(**value) for value in saved or []]
        return self.reports[-1].step if self.reports else 0


def neighbour_correlation(residual: npt.NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Correlation of neighbours in a row, and of neighbours in a column, of ``[n, H, W, C]``; 0 for white noise.

    >>> neighbour_correlation(np.tile([1.0, -1.0], 8).reshape(1, 4, 4, 1))
    (-1.0, 1.0)
    """
    centred = residual - residual.mean(axis=(1, 2), keepdims=True)
    variance = max(float(np.mean(centred**2)), 1e-30)
    across = float(np.mean(centred[:, :, 1:] * centred[:, :, :-1])) / variance
    return across, float(np.mean(centred[:, 1:] * centred[:, :-1])) / variance
