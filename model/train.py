"""Training: from the same inputs that the job reads to a bundle."""

import json
import math
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model.backend import keras, tensorflow
from model.bundle import Bundle, refuse_existing
from model.export import Preprocessing, export
from model.kinds import TRAINED, Kind
from model.runtime import Runtime
from model.samples import Samples, load, unit
from model.spec import Json, Shape
from pipeline.errors import UsageError
from pipeline.images.base import Target
from pipeline.inputs import first_shape, iter_pixels
from pipeline.readers import Request
from pipeline.storage import join, store_for

CURVE = "training.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that a training depends on.

    Attributes:
      kind: a key of ``TRAINED``.
      policy: fields of ``pipeline.images.base.Target`` besides the shape.
      input_shape: None for the shape of the first record.
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
    learning_rate: float = 1e-3
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
    _check_shape(settings.kind, kind, shape)
    watcher.loading()
    samples = load(lambda: _pixels(settings, shape), settings.validation_fraction)
    model, epochs, best = _fit(settings, kind, shape, samples, watcher)
    bundle = _bundle(settings, kind, model, samples, best)
    _write_curve(settings.output, epochs, best)
    return Trained(
        bundle=bundle,
        epochs=epochs,
        best=best,
        psnr=_psnr(Runtime.load(bundle), samples),
        samples=samples.count,
        validation_samples=len(samples.validation),
    )


def _check_shape(name: str, kind: Kind, shape: Shape) -> None:
    if kind.numeric != (len(shape) == 1):
        fitting = " or ".join(other for other, k in TRAINED.items() if k.numeric != kind.numeric)
        what = "vectors" if kind.numeric else "images"
        raise UsageError(f"--kind {name} takes {what}, and the records have the shape {shape}; use --kind {fitting}")


def _pixels(settings: Settings, shape: Shape) -> Any:
    target = Target(shape=shape, **settings.policy)
    return iter_pixels(settings.inputs, target=target, request=settings.request, format=settings.format)


def _fit(
    settings: Settings, kind: Kind, shape: Shape, samples: Samples, watcher: Watcher
) -> tuple[Any, tuple[Epoch, ...], Epoch]:
    tensorflow(training=True)
    keras().utils.set_random_seed(settings.seed)
    model = kind.build(shape, settings.latent_dim, samples.statistics)
    rng = np.random.default_rng(settings.seed)
    step, loss = _steps(model, settings.learning_rate, samples)
    epochs: list[Epoch] = []
    best, weights = None, model.get_weights()
    for number in range(1, settings.epochs + 1):
        epoch = _epoch(number, settings.batch_size, samples, rng, step, loss, watcher)
        epochs.append(epoch)
        watcher.epoch(epoch)
        if best is None or epoch.val_loss < best.val_loss:
            best, weights = epoch, model.get_weights()
        if number - best.epoch >= settings.patience:
            break
    model.set_weights(weights)
    assert best is not None
    return model, tuple(epochs), best


def _steps(model: Any, learning_rate: float, samples: Samples) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A training step and the loss: mean squared error, each element of a vector by its own variance."""
    tf = tensorflow()
    optimizer = keras().optimizers.Adam(learning_rate)
    numeric = samples.validation.ndim == 2
    weight = tf.constant(1 / samples.statistics.variance if numeric else 1.0, tf.float32)

    def error(x: Any, training: bool) -> Any:
        return tf.reduce_mean(tf.square(model(x, training=training) - x) * weight)

    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = error(x, True)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    signature = [tf.TensorSpec((None, *samples.validation.shape[1:]), tf.float32)]
    optimizer.build(model.trainable_variables)
    return (
        tf.function(step, input_signature=signature, autograph=False),
        tf.function(lambda x: error(x, False), input_signature=signature, autograph=False),
    )


def _epoch(
    number: int,
    size: int,
    samples: Samples,
    rng: np.random.Generator,
    step: Callable[..., Any],
    loss: Callable[..., Any],
    watcher: Watcher,
) -> Epoch:
    started = time.monotonic()
    total, done = 0.0, 0
    for batch in samples.batches(size, rng):
        total += float(step(batch)) * len(batch)
        done += len(batch)
        watcher.step(number, done, samples.count)
    validation = 0.0
    for start in range(0, len(samples.validation), size):
        batch = unit(samples.validation[start : start + size])
        validation += float(loss(batch)) * len(batch)
    epoch = Epoch(
        epoch=number,
        loss=total / done,
        val_loss=validation / len(samples.validation),
        seconds=time.monotonic() - started,
    )
    if not math.isfinite(epoch.loss + epoch.val_loss):
        raise UsageError(f"the loss is not finite in epoch {number}; give a smaller --learning-rate")
    return epoch


def _bundle(settings: Settings, kind: Kind, model: Any, samples: Samples, best: Epoch) -> Bundle:
    statistics = samples.statistics
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "trained.keras")
        model.save(path)
        _normalize(path)
        return export(
            path,
            kind.latent,
            settings.output,
            Preprocessing(value_range=(statistics.low, statistics.high)),
            kind=settings.kind,
            training=_provenance(settings, samples, best),
        )


def _normalize(path: Path) -> None:
    """Rewrite a ``.keras`` file without time stamps and memory addresses: equal weights make an equal bundle."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in sorted(archive.namelist())}
    metadata = json.loads(members["metadata.json"])
    metadata.pop("date_saved", None)
    addresses: dict[int, int] = {}

    def number(value: dict[str, Json]) -> dict[str, Json]:
        if "shared_object_id" in value:
            value["shared_object_id"] = addresses.setdefault(value["shared_object_id"], len(addresses))
        return value

    config = json.loads(members["config.json"], object_hook=number)
    members |= {"metadata.json": json.dumps(metadata).encode(), "config.json": json.dumps(config).encode()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)


def _provenance(settings: Settings, samples: Samples, best: Epoch) -> dict[str, Json]:
    return {
        "inputs": list(settings.inputs),
        "samples": samples.count,
        "validation_samples": len(samples.validation),
        "seed": settings.seed,
        "batch_size": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "best_epoch": best.epoch,
        "loss": best.loss,
        "val_loss": best.val_loss,
    }


def _write_curve(output: str, epochs: tuple[Epoch, ...], best: Epoch) -> None:
    curve = [{"epoch": e.epoch, "loss": e.loss, "val_loss": e.val_loss, "seconds": round(e.seconds, 3)} for e in epochs]
    where = join(output, CURVE)
    with store_for(where).create(where) as sink:
        sink.write(json.dumps({"best_epoch": best.epoch, "epochs": curve}, indent=2).encode() + b"\n")


def _psnr(runtime: Runtime, samples: Samples) -> float:
    size = runtime.batch_size
    parts = [samples.validation[i : i + size] for i in range(0, len(samples.validation), size)]
    mse = np.concatenate([runtime.reconstruct(part).mse for part in parts]).mean(dtype=np.float64)
    return -10 * math.log10(max(float(mse), 1e-12))
