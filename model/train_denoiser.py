"""Training a denoiser: a fixed number of steps on noisy pieces of images, which can be interrupted and goes on."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from model.backend import keras, tensorflow
from model.bundle import Bundle, refuse_existing
from model.checkpoint import Checkpoint
from model.cost import operations
from model.course import STEPS, rate_at, side_at
from model.crops import LEVELS, Batch, Images, iter_images, load_images, make_batch
from model.curve import write_curve
from model.export import Preprocessing
from model.networks import build_denoiser
from model.precision import multiplies_bfloat16
from model.samples import unit
from model.shipping import ship
from model.spec import Json
from pipeline.errors import UsageError
from pipeline.images.base import Color
from pipeline.inputs import first_shape
from pipeline.readers import Request

_SHOWN_LEVELS = (15, 25, 50)  # of the held-out images
_SHOWN_SIDE = 320  # of which no more than this is looked at
_REPORTED = 200  # steps between two reports
_DECIBEL = 10 / math.log(10)


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiserSettings:
    """Everything that the training of a denoiser depends on.

    Attributes:
      policy: fields of ``pipeline.images.base.Target`` besides the shape.
      steps: of 8 pieces each. The pieces' sizes and the learning rate run through the same course however many.
      precision: of the computation: 'float32', 'bfloat16', or 'auto' for the latter where the processor has it.
      checkpoint_steps: after so many steps where the training stands is written.
    """

    inputs: tuple[str, ...]
    output: str
    request: Request
    format: str = "auto"
    policy: Mapping[str, Any] = field(default_factory=dict)
    steps: int = STEPS
    learning_rate: float = 2e-3
    seed: int = 0
    validation_fraction: float = 0.02
    precision: str = "auto"
    checkpoint_steps: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a training stands after ``step`` steps.

    Attributes:
      loss: mean over the steps since the report before, of 10 log10 of a piece's mean squared error: minus the PSNR.
      psnr: of the held-out images by noise level, in dB; empty where they were not looked at.
      seconds: of training so far, those before an interruption included.
    """

    step: int
    loss: float
    psnr: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedDenoiser:
    """A finished training; ``operations`` are floating-point operations per pixel."""

    bundle: Bundle
    reports: tuple[Report, ...]
    images: int
    held_out: int
    operations: float


Watch: TypeAlias = Callable[[Report, int], None]  # a report, and the steps in all


def train_denoiser(settings: DenoiserSettings, watch: Watch) -> TrainedDenoiser:
    """Train a denoiser and write its bundle; interrupted, it goes on where it was when called again.

    The same settings and input give the same weights on one machine, however often the training was interrupted.

    Raises:
      UsageError: the settings do not fit the input.
      InputError: the input cannot be read.
      OutputError: the output holds a bundle, or the checkpoint of another training.
    """
    refuse_existing(settings.output)
    channels = _channels(settings)
    images = load_images(_iter_images(settings, channels), settings.validation_fraction)
    run = _Run(settings, channels, images)
    run.go(watch)
    cost = operations(run.model, (64, 64, channels), (64, 64, 1)) / 64**2
    bundle = _bundle(settings, run, cost)
    run.checkpoint.remove()
    return TrainedDenoiser(
        bundle=bundle,
        reports=tuple(run.reports),
        images=len(images.training),
        held_out=len(images.held_out),
        operations=cost,
    )


def _channels(settings: DenoiserSettings) -> int:
    shape = first_shape(settings.inputs, request=settings.request, format=settings.format)
    if len(shape) != 3:
        raise UsageError(f"--kind denoiser takes images, and the records have the shape {shape}; use --kind dense")
    return 1 if settings.policy.get("color") == Color.CONVERT else shape[2]


def _iter_images(settings: DenoiserSettings, channels: int) -> Any:
    return iter_images(
        settings.inputs,
        channels=channels,
        policy=settings.policy,
        request=settings.request,
        format=settings.format,
    )


class _Run:
    """The state of a training: weights, optimizer, reports."""

    def __init__(self, settings: DenoiserSettings, channels: int, images: Images) -> None:
        tensorflow(training=True)
        self.settings, self._channels, self._images = settings, channels, images
        self.precision = _precision(settings.precision)
        keras().utils.set_random_seed(settings.seed)
        self.model = build_denoiser(channels, self.precision)
        self._optimizer = keras().optimizers.Adam(settings.learning_rate, beta_2=0.99)
        self._optimizer.build(self.model.trainable_variables)
        self._learn, self._clean = _functions(self.model, self._optimizer, images)
        self.checkpoint = Checkpoint(settings.output, self._described())
        self.reports: list[Report] = []
        self._losses: list[float] = []

    def go(self, watch: Watch) -> None:
        """Take the steps that are left."""
        steps, done = self.settings.steps, self._restore()
        started = time.monotonic() - self.reports[-1].seconds if self.reports else time.monotonic()
        with ThreadPoolExecutor(1) as ahead:
            waiting = ahead.submit(self._batch, done)
            for step in range(done, steps):
                batch = waiting.result()
                waiting = ahead.submit(self._batch, step + 1)
                self._step(step, batch)
                if (step + 1) % _REPORTED == 0 or self._saves(step + 1):
                    watch(self._report(step + 1, time.monotonic() - started), steps)
                if self._saves(step + 1):
                    self.checkpoint.save([_value(report) for report in self.reports], self._variables())

    def _batch(self, step: int) -> Batch:
        side = side_at(min(step, self.settings.steps - 1), self.settings.steps)
        return make_batch(self._images.training, side, self.settings.seed, step)

    def _step(self, step: int, batch: Batch) -> None:
        self._optimizer.learning_rate.assign(rate_at(step, self.settings.steps, self.settings.learning_rate))
        loss = float(self._learn(batch.clean, batch.level, batch.noise))
        if not math.isfinite(loss):
            raise UsageError(f"the loss is not finite in step {step}; give a smaller --learning-rate")
        self._losses.append(loss)

    def _saves(self, done: int) -> bool:
        return done % self.settings.checkpoint_steps == 0 or done == self.settings.steps

    def _report(self, done: int, seconds: float) -> Report:
        psnr = self._look() if self._saves(done) else {}
        report = Report(step=done, loss=float(np.mean(self._losses)), psnr=psnr, seconds=seconds)
        self._losses.clear()
        self.reports.append(report)
        return report

    def _look(self) -> dict[str, float]:
        return {str(level): float(np.mean(list(self._ratios(level / 255)))) for level in _SHOWN_LEVELS}

    def _ratios(self, level: float) -> Any:
        for number, image in enumerate(self._images.held_out):
            height, width = (min(side, _SHOWN_SIDE) // 8 * 8 for side in image.shape[:2])
            clean = unit(image[None, :height, :width])
            noise = np.random.default_rng([1, number]).standard_normal(clean.shape, np.float32)
            made = self._clean(clean + noise * np.float32(level), np.full((*clean.shape[:3], 1), level, np.float32))
            yield -_DECIBEL * math.log(np.mean((np.clip(made.numpy(), 0, 1) - clean) ** 2))

    def _variables(self) -> list[Any]:
        return [*self.model.trainable_variables, *self._optimizer.variables]

    def _restore(self) -> int:
        saved = self.checkpoint.restore(self._variables())
        self.reports = [Report(**value) for value in saved or []]
        return self.reports[-1].step if self.reports else 0

    def _described(self) -> dict[str, Json]:
        settings = self.settings
        return {
            "steps": settings.steps,
            "learning_rate": settings.learning_rate,
            "seed": settings.seed,
            "validation_fraction": settings.validation_fraction,
            "precision": self.precision,
            "channels": self._channels,
            "noise_levels": list(LEVELS),
            "images": self._images.digest,
        }

    def provenance(self) -> dict[str, Json]:
        """What the bundle says of its training."""
        return {
            "inputs": list(self.settings.inputs),
            **self._described(),
            "training_images": len(self._images.training),
            "loss": self.reports[-1].loss,
            "validation_psnr": dict(self.reports[-1].psnr),
        }


def _functions(model: Any, optimizer: Any, images: Images) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A training step, and the model in inference."""
    tf = tensorflow()
    shape = (None, None, None, images.training[0].shape[-1])
    image, level = tf.TensorSpec(shape, tf.float32), tf.TensorSpec((None, 1, 1, 1), tf.float32)
    white = 255 if images.dtype == np.uint8 else 1

    def learn(pixels: Any, level: Any, noise: Any) -> Any:
        clean = tf.cast(pixels, tf.float32) / white
        noisy = clean + noise * level
        levels = tf.broadcast_to(level, tf.shape(clean[..., :1]))
        with tf.GradientTape() as tape:
            error = tf.reduce_mean(tf.square(model([noisy, levels], training=True) - clean), axis=(1, 2, 3))
            loss = tf.reduce_mean(tf.math.log(error + 1e-6)) * _DECIBEL  # each piece counts, however noisy
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    levels = tf.TensorSpec((None, None, None, 1), tf.float32)
    return (
        tf.function(learn, input_signature=[tf.TensorSpec(shape, images.dtype), level, image], autograph=False),
        tf.function(
            lambda noisy, levels: model([noisy, levels], training=False),
            input_signature=[image, levels],
            autograph=False,
        ),
    )


def _precision(asked: str) -> str:
    return ("bfloat16" if _has_bfloat16() else "float32") if asked == "auto" else asked


def _has_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 faster than float32."""
    return bool(tensorflow(training=True).config.list_physical_devices("GPU")) or multiplies_bfloat16()


def _value(report: Report) -> Json:
    return {"step": report.step, "loss": report.loss, "psnr": dict(report.psnr), "seconds": round(report.seconds, 3)}


def _bundle(settings: DenoiserSettings, run: _Run, cost: float) -> Bundle:
    model = build_denoiser(run.model.inputs[0].shape[-1])
    model.set_weights(run.model.get_weights())
    training = {**run.provenance(), "operations_per_pixel": cost}
    taken = Preprocessing(value_range=(0.0, 1.0), noise_input="noise_level")
    bundle = ship(model, settings.output, kind="denoiser", latent=None, preprocessing=taken, training=training)
    _write_curve(settings.output, run.reports)
    return bundle


def _write_curve(output: str, reports: Sequence[Report]) -> None:
    lines = {"training": [(report.step, -report.loss) for report in reports]}
    for level in _SHOWN_LEVELS:
        lines[f"held out, noise {level}"] = [(r.step, r.psnr[str(level)]) for r in reports if r.psnr]
    write_curve(output, {"reports": [_value(report) for report in reports]}, lines, "step", "PSNR, dB")
