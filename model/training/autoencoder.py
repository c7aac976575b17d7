"""Train an autoencoder in epochs over samples of one shape, and write its bundle."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lake.cli.check import check_decode
from lake.core.errors import UsageError
from lake.images.types import Target
from lake.inputs.load import first_shape, iter_pixels
from model.bundle import Bundle
from model.export_trained import export_trained
from model.input_spec import Shape
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime
from model.spec import Json
from model.training.checkpoint import check_output, remove_interim
from model.training.epochs import Epoch, Epochs, Watcher
from model.training.kinds import TRAINED, Kind
from model.training.loss_curve import write_curve
from model.training.options import TrainingOptions
from model.training.samples import TrainingSamples, load_samples
from model.training.start import open_start


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
      interrupted: whether the watcher stopped it before its end. The checkpoint is still there.
    """

    bundle: Bundle
    epochs: tuple[Epoch, ...]
    best: Epoch
    psnr: float
    samples: int
    validation_samples: int
    interrupted: bool = False


def train(options: TrainingOptions, watcher: Watcher | None = None, *, resume: bool = False) -> Trained:
    """Train a model and write its bundle.

    Called again after an interruption, it continues after the last epoch that had ended. On one machine, equal options
    and inputs give equal weights, however often the training was interrupted.

    Args:
      options: everything that the training depends on.
      watcher: receives the progress, and may stop the training; None for nobody. A bundle of the best weights so far is
        written then.
      resume: whether a training is to go on that was stopped: its bundle is replaced.

    Raises:
      UsageError: the options do not fit the input, or the loss is not finite.
      InputError: the input cannot be read.
      OutputError: ``options.output`` holds a bundle already, or the checkpoint of another training; or with ``resume``
        no checkpoint.
      KeyboardInterrupt: it was stopped before the first epoch had ended.
    """
    check_output(options.output, resume=resume)
    open_start(options.start_from)
    watcher = watcher or Watcher()
    kind = TRAINED[options.kind]
    shape = options.input_shape or first_shape(options.inputs, selection=options.selection, format=options.format)
    _check(options, kind, shape)
    watcher.loading()
    samples = load_samples(lambda: _pixels(options, shape), options.validation_fraction)
    objective = kind.objective(options.noise / 255, options.agreement)
    run = Epochs(options, kind, objective, shape, samples)
    interrupted = run.train(watcher)
    epochs, best = tuple(run.epochs), run.best
    remove_interim(options.output)
    bundle = _bundle(options, kind, run, samples)
    _write_curve(options.output, objective.measure, epochs, best)
    if not interrupted:
        run.checkpoint.remove()
    return Trained(
        bundle=bundle,
        epochs=epochs,
        best=best,
        interrupted=interrupted,
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


def _bundle(options: TrainingOptions, kind: Kind, run: Epochs, samples: TrainingSamples) -> Bundle:
    statistics = samples.statistics
    return export_trained(
        run.model,
        options.output,
        kind=options.kind,
        latent=kind.latent,
        variance=kind.variance,
        preprocessing=Preprocessing(value_range=(statistics.low, statistics.high), resize=options.policy.get("resize")),
        training={**_provenance(options, samples, run.best), **run.began},
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
