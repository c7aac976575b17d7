"""The course of a training without clean images: steps, measurements, checkpoints, and the best weights so far."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lake.core.tensorflow import tensorflow
from lake.images.anscombe import PoissonGaussian
from model.pixels import Floats, Pixels
from model.spec import Json
from model.training.checkpoint import Checkpoint
from model.training.crops import random_crop
from model.training.schedule import RECYCLINGS, SIDES, side_at
from model.training.self_supervised.images import NoisyImages
from model.training.self_supervised.options import SelfSupervisedOptions
from model.training.self_supervised.step import compiled_step
from model.training.self_supervised.ways import Shown, Way
from model.training.steps import WATCHED, Steps, measured_part


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyReport:
    """The state of a training.

    Attributes:
      step: number of steps that are done.
      loss: mean over the steps since the last report, in the way's own unit.
      error: root mean squared error of the held-out images, where white is 255, told without clean ones; of a
        blind-spot training the noise of the images is in it. Below 0 where the estimate of its square is. None if it
        was not measured.
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
    crops = np.stack([random_crop(rng, images.training[n], side) for n in chosen])
    shown = shown_to_network(images, crops, images.levels[chosen], images.blacks[chosen])
    return shown.noisy, shown.level, *way.draw(rng, shown)


def shown_to_network(images: NoisyImages, some: Pixels, levels: Floats, blacks: Floats) -> Shown:
    """Some of the images ``[n, H, W, shots * C]``, of these levels and blacks ``[n]``, as the network sees them."""
    noisy, camera = images.shown(some, levels, blacks), images.camera
    return Shown(
        noisy=noisy,
        light=noisy if camera is None else camera.electrons(some),
        level=(levels / np.float32(images.std)).reshape(-1, 1, 1, 1),
        zero=images.zeros(levels, blacks),
    )


class Course(Steps[NoisyReport, tuple[Floats, ...]]):
    """A training without clean images, with the best average so far.

    Args:
      options: what it depends on.
      way: how it learns.
      images: what it learns from.
      camera: whose noise is made white in them, in the numbers of the files; None where none is.
    """

    options: SelfSupervisedOptions

    def __init__(
        self, options: SelfSupervisedOptions, way: Way, images: NoisyImages, camera: PoissonGaussian | None = None
    ) -> None:
        super().__init__(options, partial(way.build, len(images.mean)))
        self._way, self._images, self.camera = way, images, camera
        self._best = [tensorflow().Variable(variable.value) for variable in self.average.trainable_variables]
        self._learn, self._network = compiled_step(way, self.model, self.average, self._optimizer, len(images.mean))
        self.checkpoint = Checkpoint(options.output, self.identity())

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
            **({"recyclings": RECYCLINGS} if self._way.told else {}),
            **self.began,
            **({} if self.camera is None else {"camera": asdict(self.camera)}),
        }

    def correlation(self) -> tuple[float, float]:
        """Correlation of what is removed from held-out images, of neighbours in a row and in a column; of noise, 0."""
        across, down = np.mean([neighbour_correlation(residual) for residual in self._residuals()], axis=0)
        return float(across), float(down)

    def _residuals(self) -> Iterator[Floats]:
        """What is removed from each held-out image; of a pair, from its first shot."""
        for shown in self._held_out():
            shot = shown.noisy[..., : len(self._images.mean)]
            yield shot - self._network_of_arrays(shot, shown.level)

    def _exhausted(self) -> bool:
        """Whether the last measurements, as many as the patience, were none of them better than the one before."""
        errors = [report.error for report in self.measured]
        best = self.best_report if errors else None
        return best is not None and len(errors) - 1 - errors.index(best.error) >= self.options.patience

    def _batch(self, step: int) -> tuple[Floats, ...]:
        return self._crops(step, side_at(step, self.options.steps))

    def _crops(self, step: int, side: int) -> tuple[Floats, ...]:
        images = self._images
        return make_noisy_batch(images, self._way, min(side, images.smallest), self.options.seed, step)

    def _watched(self, step: int) -> tuple[Floats, Floats] | None:
        if not self._way.told:  # the network of blind spots has other blocks
            return None
        batches = [self._crops(number, min(SIDES)) for number in range(step, step + WATCHED)]
        noisy = np.concatenate([crops[..., : len(self._images.mean)] for crops, *_ in batches])
        levels = np.concatenate([level for _, level, *_ in batches])
        return noisy, np.broadcast_to(levels, (*noisy.shape[:3], 1))

    def _loss(self, batch: tuple[Floats, ...], share: np.float32) -> float:
        return float(self._learn(share, *batch))

    def _reported(self, done: int, loss: float, seconds: float, *, measured: bool) -> NoisyReport:
        error = self._measure() if measured else None
        return NoisyReport(step=done, loss=loss, error=error, seconds=round(seconds, 3))

    def _measure_last(self) -> None:
        if not self.measured:
            self.reports[-1] = replace(self.reports[-1], error=self._measure())

    def _value(self, report: NoisyReport) -> Json:
        return asdict(report)

    def _report_of(self, value: Any) -> NoisyReport:
        return NoisyReport(**value)

    def _measure(self) -> float:
        """The error of the held-out images, by which the best weights are kept."""
        errors = []
        for number, shown in enumerate(self._held_out()):
            errors.append(self._way.error(self._network_of_arrays, shown, np.random.default_rng([1, number])))
        # Unbiased estimates of a small square may be below 0; of noise that is said to be stronger than it is all are.
        # Which weights are better they tell all the same.
        square = float(np.mean(errors))
        error = 255 * self._images.std * math.copysign(math.sqrt(abs(square)), square)
        if not self.measured or error < (self.best_report.error or 0.0):
            for kept, variable in zip(self._best, self.average.trainable_variables, strict=True):
                kept.assign(variable.value)
        return error

    def _held_out(self) -> Iterator[Shown]:
        images = self._images
        for at, image in enumerate(images.held_out):
            known = images.held_out_levels[at : at + 1], images.held_out_blacks[at : at + 1]
            yield shown_to_network(images, measured_part(image), *known)

    def _network_of_arrays(self, noisy: Floats, level: Floats) -> Floats:
        made: Floats = self._network(noisy, np.asarray(level, np.float32)).numpy()
        return made

    def _variables(self) -> list[Any]:
        return [*super()._variables(), *self._best]


def neighbour_correlation(residual: npt.NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Correlation of neighbours in a row, and of neighbours in a column, of ``[n, H, W, C]``; 0 for white noise.

    >>> neighbour_correlation(np.tile([1.0, -1.0], 8).reshape(1, 4, 4, 1))
    (-1.0, 1.0)
    """
    centred = residual - residual.mean(axis=(1, 2), keepdims=True)
    variance = max(float(np.mean(centred**2)), 1e-30)
    across = float(np.mean(centred[:, :, 1:] * centred[:, :, :-1])) / variance
    return across, float(np.mean(centred[:, 1:] * centred[:, :-1])) / variance
