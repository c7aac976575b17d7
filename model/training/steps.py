"""The steps of a denoiser's training: batches ahead, learning rate, average, reports, checkpoints, interruptions."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from lake.core.errors import UsageError
from lake.core.tensorflow import keras, tensorflow
from model.keras.precision import multiplies_bfloat16
from model.pixels import Floats, Pixels
from model.spec import Json
from model.training.checkpoint import Checkpoint, Stops
from model.training.muon import muon
from model.training.options import DenoiserOptions
from model.training.recycle import recycle
from model.training.schedule import averaged_at, rate_at, recycles_at
from model.training.start import began

_SHOWN_SIDE = 320  # pixels; of a held-out image at most this much of either side is used
_REPORTED = 200  # steps between two reports
WATCHED = 4  # batches on which channels are looked for that are not active


class StepReport(Protocol):
    """What every report of a training by steps has."""

    @property
    def step(self) -> int:
        """Number of steps that are done."""

    @property
    def seconds(self) -> float:
        """Duration of the training so far, including the time before an interruption."""


_Report = TypeVar("_Report", bound=StepReport)
_Batch = TypeVar("_Batch")


class Steps(ABC, Generic[_Report, _Batch]):
    """The state of a training: weights, their average, optimizer, reports.

    A subclass says what a batch is, what is learnt from it, and what is measured on held-out images.

    Args:
      options: what it depends on.
      build: makes the untrained network in a precision.
    """

    checkpoint: Checkpoint

    def __init__(self, options: DenoiserOptions, build: Callable[[str], Any]) -> None:
        tensorflow(training=True)
        self.options = options
        self.precision = _precision(options.precision)
        keras().utils.set_random_seed(options.seed)
        self.model = build(self.precision)
        # A bundle computes in float32, whatever the training does: it runs on any processor.
        self.average = build("float32")
        # What a checkpoint and a card say of the weights at the start.
        self.began = began(options.start_from, self.model, self.average)
        self._optimizer = muon(options.learning_rate)
        # Creates the optimizer's variables, which the checkpoint restores before the first step.
        self._optimizer.build(self.model.trainable_variables)
        self.reports: list[_Report] = []
        self._losses: list[float] = []

    def train(self, watch: Callable[[_Report, int], None], stops: Stops) -> bool:
        """Run the remaining steps, and say whether it was stopped before the last one."""
        steps, done = self.options.steps, self._restore()
        started = time.monotonic() - (self.reports[-1].seconds if self.reports else 0)
        with ThreadPoolExecutor(1) as ahead:  # the next batch is made while the processor works on this one
            next_batch = ahead.submit(self._batch, done)
            for step in range(done, steps):
                if self._exhausted():
                    break
                batch = next_batch.result()
                next_batch = ahead.submit(self._batch, min(step + 1, steps - 1))
                self._step(step, batch)
                if (step + 1) % _REPORTED == 0 or self._saves(step + 1):
                    watch(self._report(step + 1, time.monotonic() - started, measured=self._saves(step + 1)), steps)
                if self._saves(step + 1):
                    self.checkpoint.save([self._value(report) for report in self.reports], self._variables())
                if step + 1 < steps and stops(step + 1):
                    self._stop(step + 1, time.monotonic() - started)
                    return True
        return False

    @abstractmethod
    def _batch(self, step: int) -> _Batch:
        """Make the batch of a step, on another thread."""

    @abstractmethod
    def _loss(self, batch: _Batch, share: np.float32) -> float:
        """Learn from a batch: the loss, with this share of the new weights in the average."""

    @abstractmethod
    def _reported(self, done: int, loss: float, seconds: float, *, measured: bool) -> _Report:
        """Make a report, measured on the held-out images or not."""

    @abstractmethod
    def _measure_last(self) -> None:
        """Measure for the last report what it lacks."""

    @abstractmethod
    def _value(self, report: _Report) -> Json:
        """What a checkpoint keeps of a report: the arguments that make it."""

    @abstractmethod
    def _report_of(self, value: Any) -> _Report:
        """The report that a checkpoint kept."""

    def _exhausted(self) -> bool:
        """Whether further steps are not worth it."""
        return False

    def _variables(self) -> list[Any]:
        return [*self.model.trainable_variables, *self.average.trainable_variables, *self._optimizer.variables]

    def _stop(self, done: int, seconds: float) -> None:
        """Complete the reports. The checkpoint stays that of its step: going on from there gives the same weights."""
        if not self.reports:
            raise KeyboardInterrupt
        if self._losses:
            self._report(done, seconds, measured=True)
        else:
            self._measure_last()

    @abstractmethod
    def _watched(self, step: int) -> tuple[Floats, Floats] | None:
        """Noisy images and maps of their levels that show which channels are idle; None if none begin anew."""

    def _recycle(self, step: int) -> None:
        """Give new weights to channels that are idle, before some of the steps."""
        options = self.options
        if recycles_at(step, options.steps) and (shown := self._watched(step)) is not None:
            recycle(self.model, self.average, *shown, np.random.default_rng([options.seed, step, 1]))

    def _step(self, step: int, batch: _Batch) -> None:
        options = self.options
        self._recycle(step)
        self._optimizer.learning_rate.assign(rate_at(step, options.steps, options.learning_rate))
        loss = self._loss(batch, np.float32(averaged_at(step)))
        if not math.isfinite(loss):
            raise UsageError(f"the loss is not finite in step {step}; give a smaller --learning-rate")
        self._losses.append(loss)

    def _saves(self, done: int) -> bool:
        return done % self.options.checkpoint_steps == 0 or done == self.options.steps

    def _report(self, done: int, seconds: float, *, measured: bool) -> _Report:
        report = self._reported(done, float(np.mean(self._losses)), seconds, measured=measured)
        self._losses.clear()
        self.reports.append(report)
        return report

    def _restore(self) -> int:
        saved: Sequence[Any] = self.checkpoint.restore(self._variables()) or []
        self.reports = [self._report_of(value) for value in saved]
        return self.reports[-1].step if self.reports else 0


def measured_part(image: Pixels) -> Pixels:
    """What is measured of a held-out image ``[H, W, C]``: ``[1, h, w, C]``, with sides as the network needs them.

    >>> measured_part(np.zeros((100, 1000, 3), np.uint8)).shape
    (1, 96, 320, 3)
    """
    height, width = (min(side, _SHOWN_SIDE) // 8 * 8 for side in image.shape[:2])
    return image[None, :height, :width]


def learn_from(tape: Any, loss: Any, model: Any, average: Any, optimizer: Any, share: Any) -> None:
    """Take a step of the optimizer, in a compiled function, and move the average towards the new weights.

    Args:
      tape: has recorded how the loss came about.
      loss: the loss.
      model: the network that is trained.
      average: another one of the same weights: their average.
      optimizer: built for the model's variables.
      share: of the new weights in the average.
    """
    optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
    for mean, weight in zip(average.trainable_variables, model.trainable_variables, strict=True):
        mean.assign_add((weight - mean) * share)


def _precision(asked: str) -> str:
    """Of a training: 'float32' or 'bfloat16', where 'auto' is asked the one that is faster here."""
    return ("bfloat16" if _has_bfloat16() else "float32") if asked == "auto" else asked


def _has_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 faster than float32."""
    return bool(tensorflow(training=True).config.list_physical_devices("GPU")) or multiplies_bfloat16()
