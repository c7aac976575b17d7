"""The command ``latentlake train``, its progress and its result."""

import shlex
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from lake.cli.interrupt import deferring_interrupts
from lake.cli.options import INPUT, POISSON_GAUSSIAN, STORES, given
from lake.core.errors import UsageError
from lake.core.tensorflow import require_tensorflow
from lake.inputs.apart import check_apart
from model.cli.train_options import EPOCH_KINDS, KINDS_OF_FIELD, SELF_SUPERVISED
from model.cli.training_progress import TrainingProgress, step_text
from model.training.options import DenoiserOptions, TrainingOptions

if TYPE_CHECKING:
    from model.bundle import Bundle
    from model.training.autoencoder import Trained
    from model.training.checkpoint import Stops
    from model.training.denoiser import TrainedDenoiser, TrainingReport
    from model.training.epochs import Watcher
    from model.training.self_supervised.denoiser import TrainedOnNoise

_PROMISE = ": writing the bundle of the best weights so far, if there are any; once more to end at once"


def run(options: Namespace) -> tuple[dict[str, object], str]:
    """Train a model and write its bundle.

    Args:
      options: the parsed command line.

    Returns:
      The result as JSON values and as text.

    Raises:
      UsageError: an option does not apply to this kind of model.
    """
    require_tensorflow("train")
    kind = getattr(options, "kind", EPOCH_KINDS[0])
    _check_fields(options, kind)
    check_apart(options.input, options.output)
    if hasattr(options, "self_supervised"):
        value, text = _train_on_noise(options)
    else:
        value, text = _train_denoiser(options) if kind == "denoiser" else _train_epochs(options, kind)
    return value, "\n".join(text)


def bundle_value(bundle: "Bundle") -> dict[str, object]:
    """Return a bundle as JSON values."""
    return {"bundle": bundle.uri, "digest": bundle.digest, "kind": bundle.spec.kind}


def _check_fields(options: Namespace, kind: str) -> None:
    alone = hasattr(options, "self_supervised")
    for name in () if alone else SELF_SUPERVISED:
        if hasattr(options, name):
            raise UsageError(f"--{name.replace('_', '-')} goes with --self-supervised: give that too, or leave it out")
    if getattr(options, "pages", None) == "all" and not alone:
        raise UsageError("--pages all is for denoise; a model is trained on the first page of each file")
    photons = getattr(options, "noise", None) == POISSON_GAUSSIAN
    if photons and not alone:
        raise UsageError(f"--noise {POISSON_GAUSSIAN} goes with --self-supervised: give that too, or leave it out")
    shared = {"patience", *(["noise"] if photons else [])} if alone else set()
    for name, kinds in KINDS_OF_FIELD.items():
        if hasattr(options, name) and kind not in kinds and name not in shared:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} is for --kind {' or '.join(kinds)}, not {kind}; leave it out")


def _given(options: Namespace, kind: type[Any], *, numeric: bool) -> dict[str, Any]:
    """The fields of a training's options that were given; the others have their defaults."""
    from lake.formats.reader import ColumnSelection
    from lake.images.types import Target

    selected = given(options, ColumnSelection)
    return {
        **given(options, kind),
        "inputs": tuple(options.input),
        "output": options.output.rstrip("/"),
        "selection": ColumnSelection(**{**selected, "carry": (), "numeric": numeric}),
        "policy": given(options, Target),
    }


def _train_epochs(options: Namespace, name: str) -> tuple[dict[str, object], list[str]]:
    from model.training.autoencoder import train
    from model.training.kinds import TRAINED

    kind = TRAINED[name]
    fields = _given(options, TrainingOptions, numeric=kind.numeric)
    if "input_shape" in fields:
        fields["input_shape"] = tuple(fields["input_shape"])
    describe = kind.objective(0.0, 0.0).describe
    with _stoppable() as begin:
        chosen = TrainingOptions(**{**fields, "kind": name})
        trained = train(chosen, _watcher(describe, begin), resume=hasattr(options, "resume"))
    return _value(trained), _text(trained, options, describe)


def _watcher(describe: Any, begin: Callable[[], threading.Event]) -> "Watcher":
    from model.training.checkpoint import Stops
    from model.training.epochs import Epoch, Watcher

    class Terminal(Watcher):
        """A bar on a terminal, and a line for every epoch."""

        def __init__(self) -> None:
            self._progress = TrainingProgress()

        def loading(self) -> None:
            self._progress.line("reading the samples")

        def begin(self) -> Stops:
            asked = begin()
            return lambda _: asked.is_set()

        def step(self, epoch: int, done: int, samples: int) -> None:
            self._progress.steps(f"epoch {epoch}", done, samples)

        def epoch(self, epoch: Epoch) -> None:
            losses = f"{describe(epoch.loss)}  validation {describe(epoch.val_loss)}"
            self._progress.line(f"epoch {epoch.epoch:>3}  {losses}  {epoch.seconds:.1f} s")

    return Terminal()


@contextmanager
def _stoppable() -> Iterator[Callable[[], threading.Event]]:
    """Give a function that begins to wait for an interruption, which then ends the training and not the block."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(deferring_interrupts(_PROMISE))


def _stopped(trained: "Trained | TrainedDenoiser | TrainedOnNoise", what: str) -> list[str]:
    from lake.storage import join, store_for
    from model.training.checkpoint import FILE

    uri = trained.bundle.uri
    if not trained.interrupted:
        return []
    if store_for(uri).stat(join(uri, FILE)) is None:
        return [f"interrupted: the bundle has {what}; there is no checkpoint yet: remove {uri} to train again"]
    return [f"interrupted: the bundle has {what}; the same command with --resume goes on"]


def _value(trained: "Trained") -> dict[str, object]:
    return {
        **bundle_value(trained.bundle),
        "samples": trained.samples,
        "validation_samples": trained.validation_samples,
        "epochs": len(trained.epochs),
        "best_epoch": trained.best.epoch,
        "loss": trained.best.loss,
        "val_loss": trained.best.val_loss,
        "psnr_db": round(trained.psnr, 2),
        **({"interrupted": True} if trained.interrupted else {}),
    }


def _text(trained: "Trained", options: Namespace, describe: Any) -> list[str]:
    best, uri = trained.best, trained.bundle.uri
    return [
        f"trained on {trained.samples:,} samples, best in epoch {best.epoch} of {len(trained.epochs)}",
        f"validation on {trained.validation_samples:,}: {describe(best.val_loss)}, PSNR {trained.psnr:.1f} dB",
        *_stopped(trained, f"the weights of epoch {best.epoch}, the best so far"),
        *_bundle_lines(trained.bundle),
        f"next: latentlake encode {_reading(options)} --model {uri} --output latents",
    ]


def _bundle_lines(bundle: "Bundle") -> list[str]:
    uri = bundle.uri
    return [f"bundle {uri} ({bundle.digest[:16]}), loss curve in {uri}/training.json and {uri}/curve.svg"]


def _reading(options: Namespace) -> str:
    """What a job is given to read the same images in the same way. How they are resized is in the bundle."""
    parts = ["--input", *(f"'{uri}'" for uri in options.input)]
    for option in (*INPUT, *STORES):
        if option.field not in ("input", "resize") and hasattr(options, option.field):
            value = option.plain(getattr(options, option.field))
            parts.append(option.flag)
            parts += [] if option.switch else [_typed(value)]
    return " ".join(parts)


def _typed(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else shlex.quote(str(value))


def _train_denoiser(options: Namespace) -> tuple[dict[str, object], list[str]]:
    from model.training.denoiser import train_denoiser

    progress, chosen = TrainingProgress(), DenoiserOptions(**_given(options, DenoiserOptions, numeric=False))
    with _stoppable() as begin:
        trained = train_denoiser(
            chosen,
            lambda report, steps: progress.line(_step_line(report, steps)),
            _stops_of_steps(begin, progress, chosen.steps),
            reading=lambda: progress.line("reading the images"),
            resume=hasattr(options, "resume"),
        )
    return _denoiser_value(trained), _denoiser_text(trained, options)


def _stops_of_steps(
    begin: Callable[[], threading.Event], progress: TrainingProgress, steps: int
) -> "Callable[[], Stops]":
    """What a training by steps calls once its images are read: it shows each step, and an interruption stops it."""

    def begin_steps() -> "Stops":
        asked = begin()

        def stops(done: int) -> bool:
            progress.steps("steps", done, steps)
            return asked.is_set()

        return stops

    return begin_steps


def _train_on_noise(options: Namespace) -> tuple[dict[str, object], list[str]]:
    from model.cli.train_self_supervised import next_options, step_line, value_of
    from model.training.self_supervised.card import facts
    from model.training.self_supervised.denoiser import train_on_noise
    from model.training.self_supervised.options import SelfSupervisedOptions

    given = _given(options, SelfSupervisedOptions, numeric=False)
    progress, chosen = TrainingProgress(), SelfSupervisedOptions(**given)
    with _stoppable() as begin:
        trained = train_on_noise(
            chosen,
            lambda report, steps: progress.line(step_line(report, steps)),
            _stops_of_steps(begin, progress, chosen.steps),
            reading=lambda: progress.line("reading the images"),
            resume=hasattr(options, "resume"),
        )
    uri = trained.bundle.uri
    pages = " --image-format same" if getattr(options, "pages", None) == "all" else ""
    job = f"denoise {_reading(options)}{pages} --model {uri}{next_options(trained)}"
    text = [
        *facts(trained),
        *_stopped(trained, f"the weights of step {trained.best.step:,}, the best so far"),
        *_bundle_lines(trained.bundle),
        f"next: latentlake {job} --output denoised",
    ]
    return {**bundle_value(trained.bundle), **value_of(trained)}, text


def _step_line(report: "TrainingReport", steps: int) -> str:
    loss = f"{report.loss:.2f} (PSNR {-report.loss:.2f} dB)"
    return step_text(report, steps, loss, _ratios(report))


def _ratios(report: "TrainingReport") -> str:
    return ", ".join(f"{ratio:.2f} dB at noise {level}" for level, ratio in report.psnr.items())


def _denoiser_value(trained: "TrainedDenoiser") -> dict[str, object]:
    return {
        **bundle_value(trained.bundle),
        "images": trained.images,
        "held_out": trained.held_out,
        "loss": trained.reports[-1].loss,
        "psnr_db": dict(trained.reports[-1].psnr),
        "operations_per_pixel": trained.operations,
        "seconds": trained.reports[-1].seconds,
        **({"interrupted": True} if trained.interrupted else {}),
    }


def _denoiser_text(trained: "TrainedDenoiser", options: Namespace) -> list[str]:
    last, job = trained.reports[-1], f"denoise {_reading(options)} --model {trained.bundle.uri}"
    return [
        f"trained on {trained.images:,} images in {last.step:,} steps, {trained.operations / 1e6:.3f} MFLOP per pixel",
        f"held out {trained.held_out:,}: {_ratios(last)}",
        *_stopped(trained, f"the weights of step {last.step:,}"),
        *_bundle_lines(trained.bundle),
        f"next: latentlake {job} --noise-level 25 --output denoised",
    ]
