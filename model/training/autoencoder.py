"""Train an autoencoder in epochs over samples of one shape, and write its bundle."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lake.cli.check import check_decode
from lake.core.errors import UsageError
from lake.core.tensorflow import keras, tensorflow
from lake.images.types import Target
from lake.inputs.load import first_shape, iter_pixels
from model.bundle import Bundle, refuse_existing
from model.export_trained import export_trained
from model.runtime.runtime import Runtime
from model.spec import Json, Preprocessing, Shape
from model.training.kinds import TRAINED, Kind
from model.training.loss_curve import write_curve
from model.training.losses import Loss, Objective
from model.training.options import TrainingOptions
from model.training.samples import TrainingSamples, load_samples, normalized


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """The result of one epoch.

    Attributes:
      epoch: its number, from 1.
      loss: mean loss of the training samples.
      val_loss: mean loss of the validation samples afterwards.
      seconds: how long it took.
    """

    epoch: int
    loss: float
    val_loss: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The result of a training.

    Attributes:
      bundle: the bundle.
      epochs: all epochs, in order.
      best: the epoch with the lowest validation loss, whose weights the bundle has.
      psnr: mean PSNR in dB over the validation samples, of the bundle as it was written.
      samples: number of training samples.
      validation_samples: number of validation samples.
    """

    bundle: Bundle
    epochs: tuple[Epoch, ...]
    best: Epoch
    psnr: float
    samples: int
    validation_samples: int


class Watcher:
    """Receives the progress of a training. This base class ignores it."""

    def loading(self) -> None:
        """Called before the samples are read."""

    def step(self, epoch: int, done: int, samples: int) -> None:
        """Called after each step.

        Args:
          epoch: number of the epoch.
          done: number of samples that were trained on in this epoch.
          samples: number of all training samples.
        """

    def epoch(self, epoch: Epoch) -> None:
        """Called after each epoch."""


def train(options: TrainingOptions, watcher: Watcher | None = None) -> Trained:
    """Train a model and write its bundle.

    On one machine, equal options and inputs give equal weights.

    Args:
      options: everything that the training depends on.
      watcher: receives the progress; None for nobody.

    Raises:
      UsageError: the options do not fit the input, or the loss is not finite.
      InputError: the input cannot be read.
      OutputError: ``options.output`` holds a bundle already.
    """
    refuse_existing(options.output)
    watcher = watcher or Watcher()
    kind = TRAINED[options.kind]
    shape = options.input_shape or first_shape(options.inputs, selection=options.selection, format=options.format)
    _check(options, kind, shape)
    watcher.loading()
    samples = load_samples(lambda: _pixels(options, shape), options.validation_fraction)
    objective = kind.objective(options.noise / 255, options.agreement)
    model, epochs, best = _fit(options, kind, objective, shape, samples, watcher)
    bundle = _bundle(options, kind, model, samples, best)
    _write_curve(options.output, objective.measure, epochs, best)
    return Trained(
        bundle=bundle,
        epochs=epochs,
        best=best,
        psnr=_psnr(Runtime.load(bundle), samples),
        samples=samples.count,
        validation_samples=len(samples.validation),
    )


def _check(options: TrainingOptions, kind: Kind, shape: Shape) -> None:
    if kind.numeric != (len(shape) == 1):
        fitting = " or ".join(other for other, k in TRAINED.items() if k.numeric != kind.numeric)
        what = "vectors" if kind.numeric else "images"
        raise UsageError(
            f"--kind {options.kind} takes {what}, and the records have the shape {shape}; use --kind {fitting}"
        )
    check_decode(Target(shape=shape, **options.policy))
    for name in ("noise", "agreement"):
        if getattr(options, name) and name not in kind.options:
            raise UsageError(f"--kind {options.kind} has no --{name}; use --kind autoencoder, or leave it out")


def _pixels(options: TrainingOptions, shape: Shape) -> Any:
    target = Target(shape=shape, **options.policy)
    return iter_pixels(options.inputs, target=target, selection=options.selection, format=options.format)


def _fit(
    options: TrainingOptions,
    kind: Kind,
    objective: Objective,
    shape: Shape,
    samples: TrainingSamples,
    watcher: Watcher,
) -> tuple[Any, tuple[Epoch, ...], Epoch]:
    tensorflow(training=True)
    # Before the network is built, because its initial weights are random.
    keras().utils.set_random_seed(options.seed)
    model = kind.build(shape, options.latent_dim, samples.statistics)
    trainer = _Trainer(options, kind.decay, objective, model, samples)
    epochs: list[Epoch] = []
    best, weights = None, model.get_weights()
    for number in range(1, options.epochs + 1):
        epoch = trainer.epoch(number, watcher)
        epochs.append(epoch)
        watcher.epoch(epoch)
        if best is None or epoch.val_loss < best.val_loss:
            best, weights = epoch, model.get_weights()
        if number - best.epoch >= options.patience:
            break
    # Early stopping: the last epochs are worse than the best one.
    model.set_weights(weights)
    assert best is not None
    return model, tuple(epochs), best


class _Trainer:
    """Runs epochs. The learning rate is constant at first and falls to 0 along a cosine at the end of the training."""

    def __init__(
        self, options: TrainingOptions, decay: float, objective: Objective, model: Any, samples: TrainingSamples
    ) -> None:
        self._options, self._samples, self._prepare, self._decay = options, samples, objective.prepare, decay
        self._rng = np.random.default_rng(options.seed)
        self._optimizer = keras().optimizers.Adam(options.learning_rate)
        # Elements of a vector may have different units, so each is weighted; pixels all have the same.
        variance = samples.statistics.variance if samples.validation.ndim == 2 else np.ones(1)
        signature = [tensorflow().TensorSpec((None, *samples.validation.shape[1:]), "float32")] * objective.arrays
        self._step, self._loss = _functions(self._optimizer, objective.loss(model, variance), signature)

    def epoch(self, number: int, watcher: Watcher) -> Epoch:
        """Train for one epoch and measure the validation loss."""
        started = time.monotonic()
        epoch = Epoch(
            epoch=number,
            loss=self._train(number, watcher),
            val_loss=self._validate(),
            seconds=time.monotonic() - started,
        )
        if not math.isfinite(epoch.loss + epoch.val_loss):
            raise UsageError(f"the loss is not finite in epoch {number}; give a smaller --learning-rate")
        return epoch

    def _train(self, number: int, watcher: Watcher) -> float:
        total, done, count = 0.0, 0, self._samples.count
        for batch in self._samples.batches(self._options.batch_size, self._rng):
            self._optimizer.learning_rate.assign(self._rate((number - 1 + done / count) / self._options.epochs))
            total += float(self._step(*self._prepare(batch, self._rng))) * len(batch)
            done += len(batch)
            watcher.step(number, done, count)
        return total / done

    def _rate(self, share: float) -> float:
        """Return the learning rate when this share of the training is done, 0 to 1."""
        falling = max(0.0, (share - (1 - self._decay)) / self._decay)
        return self._options.learning_rate * (0.5 + 0.5 * math.cos(math.pi * falling))

    def _validate(self) -> float:
        rng, total = np.random.default_rng(self._options.seed), 0.0  # the same noise after every epoch
        samples, size = self._samples.validation, self._options.batch_size
        for start in range(0, len(samples), size):
            batch = normalized(samples[start : start + size])
            total += float(self._loss(*self._prepare(batch, rng))) * len(batch)
        return total / len(samples)


def _functions(optimizer: Any, loss: Loss, signature: list[Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Compile the training step, and the loss without a step."""
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


def _bundle(options: TrainingOptions, kind: Kind, model: Any, samples: TrainingSamples, best: Epoch) -> Bundle:
    statistics = samples.statistics
    return export_trained(
        model,
        options.output,
        kind=options.kind,
        latent=kind.latent,
        variance=kind.variance,
        preprocessing=Preprocessing(value_range=(statistics.low, statistics.high), resize=options.policy.get("resize")),
        training=_provenance(options, samples, best),
    )


def _provenance(options: TrainingOptions, samples: TrainingSamples, best: Epoch) -> dict[str, Json]:
    return {
        "inputs": list(options.inputs),
        "samples": samples.count,
        "validation_samples": len(samples.validation),
        "seed": options.seed,
        "batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "epochs": options.epochs,
        **{name: getattr(options, name) for name in ("noise", "agreement") if getattr(options, name)},
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


def _psnr(runtime: Runtime, samples: TrainingSamples) -> float:
    size = runtime.batch_size
    parts = [samples.validation[i : i + size] for i in range(0, len(samples.validation), size)]
    mse = np.concatenate([runtime.reconstruct(part).mse for part in parts]).mean(dtype=np.float64)
    return -10 * math.log10(max(float(mse), 1e-12))
