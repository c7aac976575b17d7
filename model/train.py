"""Training: from the same inputs that the job reads to a bundle."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model.backend import keras, tensorflow
from model.bundle import Bundle, refuse_existing
from model.curve import write_curve
from model.export import Preprocessing
from model.kinds import TRAINED, Kind
from model.objectives import Loss, Objective
from model.runtime import Runtime
from model.samples import Samples, load, unit
from model.shipping import ship
from model.spec import Json, Shape
from pipeline.errors import UsageError
from pipeline.images.base import Target
from pipeline.inputs import first_shape, iter_pixels
from pipeline.readers import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that a training depends on.

    Attributes:
      kind: a key of ``TRAINED``.
      policy: fields of ``pipeline.images.base.Target`` besides the shape.
      input_shape: None for the shape of the first record.
      noise: standard deviation of normal noise on the input of an autoencoder of images, where white is 255.
      agreement: weight of the disagreement between latents of an image and of a slightly moved copy; of the same kind.
      patience: epochs without a better validation loss before training stops.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    request: Request
    format: str = "auto"
    policy: Mapping[str, Any] = field(default_factory=dict)
    input_shape: Shape | None = None
    latent_dim: int = 128
    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 2e-3
    noise: float = 0.0
    agreement: float = 0.0
    seed: int = 0
    validation_fraction: float = 0.1
    patience: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """Mean losses of one pass over the samples."""

    epoch: int
    loss: float
    val_loss: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A finished training. ``psnr`` is over the validation samples, in dB, of the bundle as it was written."""

    bundle: Bundle
    epochs: tuple[Epoch, ...]
    best: Epoch
    psnr: float
    samples: int
    validation_samples: int


class Watcher:
    """Told how a training goes; the default does not care."""

    def loading(self) -> None:
        """The samples are about to be read."""

    def step(self, epoch: int, done: int, samples: int) -> None:
        """``done`` of ``samples`` are trained on in this epoch."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch ended."""


def train(settings: Settings, watcher: Watcher | None = None) -> Trained:
    """Train a model and write its bundle; the same settings and inputs give the same weights on one machine.

    Raises:
      UsageError: the settings do not fit the inputs.
      InputError: the inputs cannot be read.
      OutputError: there is a bundle at the output already.
    """
    refuse_existing(settings.output)
    watcher = watcher or Watcher()
    kind = TRAINED[settings.kind]
    shape = settings.input_shape or first_shape(settings.inputs, request=settings.request, format=settings.format)
    _check(settings, kind, shape)
    watcher.loading()
    samples = load(lambda: _pixels(settings, shape), settings.validation_fraction)
    objective = kind.objective(settings.noise / 255, settings.agreement)
    model, epochs, best = _fit(settings, kind, objective, shape, samples, watcher)
    bundle = _bundle(settings, kind, model, samples, best)
    _write_curve(settings.output, objective.measure, epochs, best)
    return Trained(
        bundle=bundle,
        epochs=epochs,
        best=best,
        psnr=_psnr(Runtime.load(bundle), samples),
        samples=samples.count,
        validation_samples=len(samples.validation),
    )


def _check(settings: Settings, kind: Kind, shape: Shape) -> None:
    if kind.numeric != (len(shape) == 1):
        fitting = " or ".join(other for other, k in TRAINED.items() if k.numeric != kind.numeric)
        what = "vectors" if kind.numeric else "images"
        raise UsageError(
            f"--kind {settings.kind} takes {what}, and the records have the shape {shape}; use --kind {fitting}"
        )
    for name in ("noise", "agreement"):
        if getattr(settings, name) and name not in kind.options:
            raise UsageError(f"--kind {settings.kind} has no --{name}; use --kind autoencoder, or leave it out")


def _pixels(settings: Settings, shape: Shape) -> Any:
    target = Target(shape=shape, **settings.policy)
    return iter_pixels(settings.inputs, target=target, request=settings.request, format=settings.format)


def _fit(
    settings: Settings, kind: Kind, objective: Objective, shape: Shape, samples: Samples, watcher: Watcher
) -> tuple[Any, tuple[Epoch, ...], Epoch]:
    tensorflow(training=True)
    keras().utils.set_random_seed(settings.seed)
    model = kind.build(shape, settings.latent_dim, samples.statistics)
    course = _Course(settings, kind.decay, objective, model, samples)
    epochs: list[Epoch] = []
    best, weights = None, model.get_weights()
    for number in range(1, settings.epochs + 1):
        epoch = course.epoch(number, watcher)
        epochs.append(epoch)
        watcher.epoch(epoch)
        if best is None or epoch.val_loss < best.val_loss:
            best, weights = epoch, model.get_weights()
        if number - best.epoch >= settings.patience:
            break
    model.set_weights(weights)
    assert best is not None
    return model, tuple(epochs), best


class _Course:
    """Passes over the samples, with a learning rate that falls to 0 at the end, from batch to batch."""

    def __init__(self, settings: Settings, decay: float, objective: Objective, model: Any, samples: Samples) -> None:
        self._settings, self._samples, self._present, self._decay = settings, samples, objective.present, decay
        self._rng = np.random.default_rng(settings.seed)
        self._optimizer = keras().optimizers.Adam(settings.learning_rate)
        variance = samples.statistics.variance if samples.validation.ndim == 2 else np.ones(1)
        signature = [tensorflow().TensorSpec((None, *samples.validation.shape[1:]), "float32")] * objective.arrays
        self._step, self._loss = _functions(self._optimizer, objective.loss(model, variance), signature)

    def epoch(self, number: int, watcher: Watcher) -> Epoch:
        """One pass, and the loss of the validation samples after it."""
        started = time.monotonic()
        epoch = Epoch(
            epoch=number,
            loss=self._learn(number, watcher),
            val_loss=self._validate(),
            seconds=time.monotonic() - started,
        )
        if not math.isfinite(epoch.loss + epoch.val_loss):
            raise UsageError(f"the loss is not finite in epoch {number}; give a smaller --learning-rate")
        return epoch

    def _learn(self, number: int, watcher: Watcher) -> float:
        total, done, count = 0.0, 0, self._samples.count
        for batch in self._samples.batches(self._settings.batch_size, self._rng):
            self._optimizer.learning_rate.assign(self._rate((number - 1 + done / count) / self._settings.epochs))
            total += float(self._step(*self._present(batch, self._rng))) * len(batch)
            done += len(batch)
            watcher.step(number, done, count)
        return total / done

    def _rate(self, share: float) -> float:
        """When this share of the training is done."""
        falling = max(0.0, (share - (1 - self._decay)) / self._decay)
        return self._settings.learning_rate * (0.5 + 0.5 * math.cos(math.pi * falling))

    def _validate(self) -> float:
        rng, total = np.random.default_rng(self._settings.seed), 0.0  # what is drawn is the same after every pass
        samples, size = self._samples.validation, self._settings.batch_size
        for start in range(0, len(samples), size):
            batch = unit(samples[start : start + size])
            total += float(self._loss(*self._present(batch, rng))) * len(batch)
        return total / len(samples)


def _functions(optimizer: Any, loss: Loss, signature: list[Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A training step, and the loss without one."""
    tf = tensorflow()

    def step(*arrays: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss.value(arrays, True)
        optimizer.apply(tape.gradient(value, loss.variables), loss.variables)
        return value

    optimizer.build(loss.variables)
    return (
        tf.function(step, input_signature=signature, autograph=False),
        tf.function(lambda *arrays: loss.value(arrays, False), input_signature=signature, autograph=False),
    )


def _bundle(settings: Settings, kind: Kind, model: Any, samples: Samples, best: Epoch) -> Bundle:
    statistics = samples.statistics
    return ship(
        model,
        settings.output,
        kind=settings.kind,
        latent=kind.latent,
        variance=kind.variance,
        preprocessing=Preprocessing(value_range=(statistics.low, statistics.high)),
        training=_provenance(settings, samples, best),
    )


def _provenance(settings: Settings, samples: Samples, best: Epoch) -> dict[str, Json]:
    return {
        "inputs": list(settings.inputs),
        "samples": samples.count,
        "validation_samples": len(samples.validation),
        "seed": settings.seed,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "epochs": settings.epochs,
        **{name: getattr(settings, name) for name in ("noise", "agreement") if getattr(settings, name)},
        "best_epoch": best.epoch,
        "loss": best.loss,
        "val_loss": best.val_loss,
    }


def _write_curve(output: str, measure: str, epochs: tuple[Epoch, ...], best: Epoch) -> None:
    curve = [{"epoch": e.epoch, "loss": e.loss, "val_loss": e.val_loss, "seconds": round(e.seconds, 3)} for e in epochs]
    lines = {
        "training": [(epoch.epoch, epoch.loss) for epoch in epochs],
        "validation": [(epoch.epoch, epoch.val_loss) for epoch in epochs],
    }
    write_curve(output, {"best_epoch": best.epoch, "measure": measure, "epochs": curve}, lines, "epoch", measure)


def _psnr(runtime: Runtime, samples: Samples) -> float:
    size = runtime.batch_size
    parts = [samples.validation[i : i + size] for i in range(0, len(samples.validation), size)]
    mse = np.concatenate([runtime.reconstruct(part).mse for part in parts]).mean(dtype=np.float64)
    return -10 * math.log10(max(float(mse), 1e-12))
