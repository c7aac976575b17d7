"""Train a denoiser on noisy crops of images, for a fixed number of steps, with checkpoints."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from lake.core.errors import UsageError
from lake.images.types import Color
from lake.inputs.load import first_shape
from model.bundle import Bundle
from model.export_trained import export_trained
from model.input_spec import NoiseRange
from model.pixels import Floats
from model.preprocessing import Preprocessing
from model.spec import Json
from model.training.checkpoint import Checkpoint, Stops, check_output, go_on, remove_interim, say_nothing
from model.training.crops import (
    LEVELS,
    Batch,
    Images,
    iter_images,
    load_images,
    make_batch,
    noisy_crops,
)
from model.training.denoiser_step import DECIBEL, compiled
from model.training.flops import operations
from model.training.loss_curve import write_curve
from model.training.networks import build_denoiser
from model.training.options import DenoiserOptions
from model.training.samples import normalized
from model.training.schedule import RECYCLINGS, SIDES, side_at
from model.training.start import open_start
from model.training.steps import WATCHED, Steps, measured_part

_SHOWN_LEVELS = (15, 25, 50)  # noise levels of the held-out images, where white is 255
_PROBED = (15.0, 10.0, 7.5, 5.0, 3.0, 2.0, 1.0)  # likewise, at which is looked for the least that it learned
_UNSEEN = 10**0.005  # of the squared error, 0.05 dB more


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """The state of a training.

    Attributes:
      step: number of steps that are done.
      loss: mean, over the steps since the last report, of 10 log10 of a crop's mean squared error: minus the PSNR in
        dB.
      psnr: noise level -> mean PSNR of the held-out images in dB; empty if it was not measured.
      seconds: duration of the training so far, including the time before an interruption.
    """

    step: int
    loss: float
    psnr: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedDenoiser:
    """The result of a training.

    Attributes:
      bundle: the bundle.
      reports: all reports, in order.
      images: number of training images.
      held_out: number of held-out images.
      operations: floating-point operations per pixel.
      interrupted: whether it was stopped before its end. The last checkpoint is still there, if there was one.
    """

    bundle: Bundle
    reports: tuple[TrainingReport, ...]
    images: int
    held_out: int
    operations: float
    interrupted: bool = False


Watch: TypeAlias = Callable[[TrainingReport, int], None]  # a report, and the steps in all


def train_denoiser(
    options: DenoiserOptions,
    watch: Watch,
    begin: Callable[[], Stops] = go_on,
    *,
    reading: Callable[[], None] = say_nothing,
    resume: bool = False,
) -> TrainedDenoiser:
    """Train a denoiser and write its bundle.

    Called again after an interruption, it continues from the last checkpoint. On one machine, equal options and inputs
    give equal weights, however often the training was interrupted.

    Args:
      options: everything that the training depends on.
      watch: called with each report and the total number of steps.
      begin: called once the images are read. What it returns is told after each step how many are done, and may stop
        the training: a bundle of the weights so far is written then.
      reading: called once the options are checked, before the images are read.
      resume: whether a training is to go on that was stopped: its bundle is replaced.

    Raises:
      UsageError: the options do not fit the input, or the loss is not finite.
      InputError: the input cannot be read.
      OutputError: the output holds a bundle, or the checkpoint of another training; or with ``resume`` no checkpoint.
      KeyboardInterrupt: it was stopped before the first report.
    """
    check_output(options.output, resume=resume)
    open_start(options.start_from)
    reading()
    channels = channels_trained(options)
    images = load_images(_iter_images(options, channels), options.validation_fraction)
    run = _Run(options, channels, images)
    interrupted = run.train(watch, begin())
    cost = operations(run.model, (64, 64, channels), (64, 64, 1)) / 64**2
    remove_interim(options.output)
    bundle = _bundle(options, run, cost)
    if not interrupted:
        run.checkpoint.remove()
    return TrainedDenoiser(
        bundle=bundle,
        reports=tuple(run.reports),
        images=len(images.training),
        held_out=len(images.held_out),
        operations=cost,
        interrupted=interrupted,
    )


def channels_trained(options: DenoiserOptions) -> int:
    """The number of channels of the first image, 1 where colour becomes grey."""
    shape = first_shape(options.inputs, selection=options.selection, format=options.format)
    if len(shape) != 3:
        raise UsageError(f"--kind denoiser takes images, and the records have the shape {shape}; use --kind dense")
    return 1 if options.policy.get("color") == Color.CONVERT else shape[2]


def _iter_images(options: DenoiserOptions, channels: int) -> Any:
    return iter_images(
        options.inputs,
        channels=channels,
        policy=options.policy,
        selection=options.selection,
        format=options.format,
    )


class _Run(Steps[TrainingReport, Batch]):
    """A training on clean images."""

    def __init__(self, options: DenoiserOptions, channels: int, images: Images) -> None:
        super().__init__(options, partial(build_denoiser, channels))
        self._channels, self._images = channels, images
        self._learn, self._clean = compiled(self.model, self.average, self._optimizer, images)
        self.checkpoint = Checkpoint(options.output, self._identity())

    def _batch(self, step: int) -> Batch:
        return make_batch(self._images.training, side_at(step, self.options.steps), self.options.seed, step)

    def _watched(self, step: int) -> tuple[Floats, Floats]:
        return noisy_crops(self._images.training, min(SIDES), self.options.seed, range(step, step + WATCHED))

    def _loss(self, batch: Batch, share: np.float32) -> float:
        return float(self._learn(batch.clean, batch.level, batch.noise, share))

    def _reported(self, done: int, loss: float, seconds: float, *, measured: bool) -> TrainingReport:
        psnr = self._measure_psnr() if measured else {}
        return TrainingReport(step=done, loss=loss, psnr=psnr, seconds=seconds)

    def _measure_last(self) -> None:
        if not self.reports[-1].psnr:
            self.reports[-1] = replace(self.reports[-1], psnr=self._measure_psnr())

    def _value(self, report: TrainingReport) -> Json:
        return _value(report)

    def _report_of(self, value: Any) -> TrainingReport:
        return TrainingReport(**value)

    def _measure_psnr(self) -> dict[str, float]:
        return {str(level): float(np.mean(list(self._ratios(level / 255)))) for level in _SHOWN_LEVELS}

    def _ratios(self, level: float) -> Iterator[float]:
        """PSNR of each held-out image at a noise level, white is 1, in dB."""
        for clean, _, made in self._restored(level):
            yield -DECIBEL * math.log(np.mean((made - clean) ** 2))

    def _restored(self, level: float) -> Iterator[tuple[Floats, Floats, Floats]]:
        """Each held-out image, the same with noise, and what is made of that."""
        for number, image in enumerate(self._images.held_out):
            clean = normalized(measured_part(image))
            noisy = clean + np.random.default_rng([1, number]).standard_normal(clean.shape, np.float32) * np.float32(
                level
            )
            made = self._clean(noisy, np.full((*clean.shape[:3], 1), level, np.float32))
            yield clean, noisy, np.clip(made.numpy(), 0, 1)

    def learned(self) -> NoiseRange:
        """The noise levels that it learned: down to the least at which no held-out image becomes worse.

        Weak noise is hard, and rare in a training. What is kept of a change below this level relies on that
        (``model.noise_range``).
        """
        low = _PROBED[0]
        for level in _PROBED:
            if any(_harmed(*images) for images in self._restored(level / 255)):
                return low, max(LEVELS)
            low = level
        return min(LEVELS), max(LEVELS)

    def _identity(self) -> dict[str, Json]:
        options = self.options
        return {
            "steps": options.steps,
            "learning_rate": options.learning_rate,
            "seed": options.seed,
            "validation_fraction": options.validation_fraction,
            "precision": self.precision,
            "channels": self._channels,
            "noise_levels": list(LEVELS),
            "images": self._images.digest,
            "recyclings": RECYCLINGS,
            **self.began,
        }

    def provenance(self) -> dict[str, Json]:
        """Return what the bundle says about its training."""
        return {
            "inputs": list(self.options.inputs),
            **self._identity(),
            "training_images": len(self._images.training),
            "loss": self.reports[-1].loss,
            "validation_psnr": dict(self.reports[-1].psnr),
        }


def _harmed(clean: Floats, noisy: Floats, made: Floats) -> bool:
    """Whether an image is worse than it was, by more than is seen."""
    return float(np.mean((made - clean) ** 2)) > _UNSEEN * float(np.mean((noisy - clean) ** 2))


def _value(report: TrainingReport) -> Json:
    return {"step": report.step, "loss": report.loss, "psnr": dict(report.psnr), "seconds": round(report.seconds, 3)}


def _bundle(options: DenoiserOptions, run: _Run, cost: float) -> Bundle:
    training = {**run.provenance(), "operations_per_pixel": cost}
    preprocessing = Preprocessing(value_range=(0.0, 1.0), noise_input="noise_level", noise_range=run.learned())
    bundle = export_trained(
        run.average, options.output, kind="denoiser", latent=None, preprocessing=preprocessing, training=training
    )
    _write_curve(options.output, run.reports)
    return bundle


def _write_curve(output: str, reports: Sequence[TrainingReport]) -> None:
    lines = {"training": [(report.step, -report.loss) for report in reports]}
    for level in _SHOWN_LEVELS:
        lines[f"held out, noise {level}"] = [(r.step, r.psnr[str(level)]) for r in reports if r.psnr]
    write_curve(output, {"reports": [_value(report) for report in reports]}, lines, "step", "PSNR, dB")
