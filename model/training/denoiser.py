"""Train a denoiser on noisy crops of images, for a fixed number of steps, with checkpoints."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from lake.core.errors import UsageError
from lake.core.tensorflow import keras, tensorflow
from lake.images.types import Color
from lake.inputs.load import first_shape
from model.bundle import Bundle
from model.export_trained import export_trained
from model.keras.precision import multiplies_bfloat16
from model.preprocessing import Preprocessing
from model.spec import Json
from model.training.checkpoint import Checkpoint, Stops, check_output, never_stops, remove_interim
from model.training.crops import (
    LEVELS,
    Batch,
    Images,
    iter_images,
    load_images,
    make_batch,
)
from model.training.denoiser_step import DECIBEL, compiled
from model.training.flops import operations
from model.training.loss_curve import write_curve
from model.training.muon import muon
from model.training.networks import build_denoiser
from model.training.options import DenoiserOptions
from model.training.samples import normalized
from model.training.schedule import averaged_at, rate_at, side_at

_SHOWN_LEVELS = (15, 25, 50)  # noise levels of the held-out images, where white is 255
_SHOWN_SIDE = 320  # pixels; of a held-out image at most this much of either side is used
_REPORTED = 200  # steps between two reports


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


def _go_on() -> Stops:
    return never_stops


def train_denoiser(
    options: DenoiserOptions, watch: Watch, begin: Callable[[], Stops] = _go_on, *, resume: bool = False
) -> TrainedDenoiser:
    """Train a denoiser and write its bundle.

    Called again after an interruption, it continues from the last checkpoint. On one machine, equal options and inputs
    give equal weights, however often the training was interrupted.

    Args:
      options: everything that the training depends on.
      watch: called with each report and the total number of steps.
      begin: called once the images are read. What it returns is told after each step how many are done, and may stop
        the training: a bundle of the weights so far is written then.
      resume: whether a training is to go on that was stopped: its bundle is replaced.

    Raises:
      UsageError: the options do not fit the input, or the loss is not finite.
      InputError: the input cannot be read.
      OutputError: the output holds a bundle, or the checkpoint of another training; or with ``resume`` no checkpoint.
      KeyboardInterrupt: it was stopped before the first report.
    """
    check_output(options.output, resume=resume)
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


class _Run:
    """The state of a training: weights, their average, optimizer, reports."""

    def __init__(self, options: DenoiserOptions, channels: int, images: Images) -> None:
        tensorflow(training=True)
        self.options, self._channels, self._images = options, channels, images
        self.precision = training_precision(options.precision)
        keras().utils.set_random_seed(options.seed)
        self.model = build_denoiser(channels, self.precision)
        # A bundle computes in float32, whatever the training does: it runs on any processor.
        self.average = build_denoiser(channels)
        self._optimizer = muon(options.learning_rate)
        # Creates the optimizer's variables, which the checkpoint restores before the first step.
        self._optimizer.build(self.model.trainable_variables)
        self._learn, self._clean = compiled(self.model, self.average, self._optimizer, images)
        self.checkpoint = Checkpoint(options.output, self._identity())
        self.reports: list[TrainingReport] = []
        self._losses: list[float] = []

    def train(self, watch: Watch, stops: Stops) -> bool:
        """Run the remaining steps, and say whether it was stopped before the last one."""
        steps, done = self.options.steps, self._restore()
        started = time.monotonic() - self.reports[-1].seconds if self.reports else time.monotonic()
        # The next batch is made while the processor works on this one.
        with ThreadPoolExecutor(1) as ahead:
            next_batch = ahead.submit(self._batch, done)
            for step in range(done, steps):
                batch = next_batch.result()
                next_batch = ahead.submit(self._batch, step + 1)
                self._step(step, batch)
                if (step + 1) % _REPORTED == 0 or self._saves(step + 1):
                    watch(self._report(step + 1, time.monotonic() - started), steps)
                if self._saves(step + 1):
                    self.checkpoint.save([_value(report) for report in self.reports], self._variables())
                if step + 1 < steps and stops(step + 1):
                    self._stop(step + 1, time.monotonic() - started)
                    return True
        return False

    def _stop(self, done: int, seconds: float) -> None:
        """Complete the reports. The checkpoint stays that of its step: going on from there gives the same weights."""
        if not self.reports:
            raise KeyboardInterrupt
        if self._losses:
            self._report(done, seconds, measured=True)
        elif not self.reports[-1].psnr:
            self.reports[-1] = replace(self.reports[-1], psnr=self._measure_psnr())

    def _batch(self, step: int) -> Batch:
        side = side_at(min(step, self.options.steps - 1), self.options.steps)
        return make_batch(self._images.training, side, self.options.seed, step)

    def _step(self, step: int, batch: Batch) -> None:
        self._optimizer.learning_rate.assign(rate_at(step, self.options.steps, self.options.learning_rate))
        loss = float(self._learn(batch.clean, batch.level, batch.noise, np.float32(averaged_at(step))))
        if not math.isfinite(loss):
            raise UsageError(f"the loss is not finite in step {step}; give a smaller --learning-rate")
        self._losses.append(loss)

    def _saves(self, done: int) -> bool:
        return done % self.options.checkpoint_steps == 0 or done == self.options.steps

    def _report(self, done: int, seconds: float, *, measured: bool = False) -> TrainingReport:
        psnr = self._measure_psnr() if measured or self._saves(done) else {}
        report = TrainingReport(step=done, loss=float(np.mean(self._losses)), psnr=psnr, seconds=seconds)
        self._losses.clear()
        self.reports.append(report)
        return report

    def _measure_psnr(self) -> dict[str, float]:
        return {str(level): float(np.mean(list(self._ratios(level / 255)))) for level in _SHOWN_LEVELS}

    def _ratios(self, level: float) -> Any:
        for number, image in enumerate(self._images.held_out):
            # The network needs sides that are multiples of 8.
            height, width = (min(side, _SHOWN_SIDE) // 8 * 8 for side in image.shape[:2])
            clean = normalized(image[None, :height, :width])
            noise = np.random.default_rng([1, number]).standard_normal(clean.shape, np.float32)
            made = self._clean(clean + noise * np.float32(level), np.full((*clean.shape[:3], 1), level, np.float32))
            yield -DECIBEL * math.log(np.mean((np.clip(made.numpy(), 0, 1) - clean) ** 2))

    def _variables(self) -> list[Any]:
        return [*self.model.trainable_variables, *self.average.trainable_variables, *self._optimizer.variables]

    def _restore(self) -> int:
        saved = self.checkpoint.restore(self._variables())
        self.reports = [TrainingReport(**value) for value in saved or []]
        return self.reports[-1].step if self.reports else 0

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


def training_precision(asked: str) -> str:
    """The precision of a training: 'float32' or 'bfloat16', where 'auto' is asked the one that is faster here."""
    return ("bfloat16" if _has_bfloat16() else "float32") if asked == "auto" else asked


def _has_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 faster than float32."""
    return bool(tensorflow(training=True).config.list_physical_devices("GPU")) or multiplies_bfloat16()


def _value(report: TrainingReport) -> Json:
    return {"step": report.step, "loss": report.loss, "psnr": dict(report.psnr), "seconds": round(report.seconds, 3)}


def _bundle(options: DenoiserOptions, run: _Run, cost: float) -> Bundle:
    training = {**run.provenance(), "operations_per_pixel": cost}
    learned = min(LEVELS), max(LEVELS)
    preprocessing = Preprocessing(value_range=(0.0, 1.0), noise_input="noise_level", noise_range=learned)
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
