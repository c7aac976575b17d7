"""``python -m model train``: from options to settings, and what is shown on the way and at the end."""

import json
import sys
import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from model.train_options import COURSE, OF_KINDS
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from model.bundle import Bundle
    from model.train import Trained, Watcher
    from model.train_denoiser import Report, TrainedDenoiser


def run(options: Namespace) -> int:
    """Train, and print the result; the exit status."""
    _refuse_others(options)
    value, text = (_denoiser if options.kind == "denoiser" else _passes)(options)
    print(json.dumps(value, indent=2) if options.json else "\n".join(text))
    return 0


def bundle_value(bundle: "Bundle") -> dict[str, object]:
    """A bundle as JSON values."""
    return {"bundle": bundle.uri, "digest": bundle.digest, "kind": bundle.spec.kind}


def _refuse_others(options: Namespace) -> None:
    for name, kinds in OF_KINDS.items():
        if getattr(options, name) is not None and options.kind not in kinds:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} is for --kind {' or '.join(kinds)}, not {options.kind}; leave it out")


def _given(options: Namespace, *, numeric: bool) -> dict[str, Any]:
    """Fields of the settings of any kind; what is not given has its default there."""
    from pipeline.images.base import Color, Orientation, Resize
    from pipeline.readers import Request

    return {
        "inputs": tuple(options.input),
        "output": options.output.rstrip("/"),
        "request": Request(image=options.image, carry=(), numeric=numeric, max_record_bytes=options.max_record_bytes),
        "format": options.format,
        "policy": {
            "resize": Resize(options.resize) if options.resize else None,
            "orientation": Orientation(options.orientation),
            "color": Color(options.color),
            "max_pixels": options.max_pixels,
        },
        **{o.field: getattr(options, o.field) for o in COURSE if getattr(options, o.field) is not None},
    }


def _passes(options: Namespace) -> tuple[dict[str, object], list[str]]:
    from model.kinds import TRAINED
    from model.train import Settings, train

    kind = TRAINED[options.kind]
    shape = tuple(options.input_shape) if options.input_shape else None
    settings = Settings(kind=options.kind, input_shape=shape, **_given(options, numeric=kind.numeric))
    describe = kind.objective(0.0, 0.0).describe
    trained = train(settings, _watcher(describe))
    return _value(trained), _text(trained, options, describe)


def _watcher(describe: Any) -> "Watcher":
    from model.train import Epoch, Watcher

    live = sys.stderr.isatty()

    class Terminal(Watcher):
        """A bar on a terminal, and a line for every epoch."""

        def __init__(self) -> None:
            self._shown = 0.0

        def loading(self) -> None:
            self._say("reading the samples")

        def step(self, epoch: int, done: int, samples: int) -> None:
            now = time.monotonic()
            if live and now - self._shown > 0.1:
                self._shown = now
                filled = 24 * done // samples
                bar = "█" * filled + "░" * (24 - filled)
                print(f"\r{bar} epoch {epoch}  {done:,} of {samples:,}\x1b[K", end="", file=sys.stderr, flush=True)

        def epoch(self, epoch: Epoch) -> None:
            losses = f"{describe(epoch.loss)}  validation {describe(epoch.val_loss)}"
            self._say(f"epoch {epoch.epoch:>3}  {losses}  {epoch.seconds:.1f} s")

        def _say(self, line: str) -> None:
            print(f"\r{line}\x1b[K" if live else line, file=sys.stderr, flush=True)

    return Terminal()


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
    }


def _text(trained: "Trained", options: Namespace, describe: Any) -> list[str]:
    best, uri = trained.best, trained.bundle.uri
    return [
        f"trained on {trained.samples:,} samples, best in epoch {best.epoch} of {len(trained.epochs)}",
        f"validation on {trained.validation_samples:,}: {describe(best.val_loss)}, PSNR {trained.psnr:.1f} dB",
        *_ending(trained.bundle),
        f"next: python -m pipeline encode --input {_quoted(options)} --model {uri} --output latents",
    ]


def _ending(bundle: "Bundle") -> list[str]:
    uri = bundle.uri
    return [f"bundle {uri} ({bundle.digest[:16]}), course of the training {uri}/training.json and {uri}/curve.svg"]


def _quoted(options: Namespace) -> str:
    return " ".join(f"'{uri}'" for uri in options.input)


def _denoiser(options: Namespace) -> tuple[dict[str, object], list[str]]:
    from model.train_denoiser import DenoiserSettings, train_denoiser

    print("reading the images", file=sys.stderr, flush=True)
    trained = train_denoiser(DenoiserSettings(**_given(options, numeric=False)), _say_step)
    return _denoiser_value(trained), _denoiser_text(trained, options)


def _say_step(report: "Report", steps: int) -> None:
    from model.course import share_done

    left = int(report.seconds * (1 / share_done(report.step, steps) - 1))
    parts = [
        f"step {report.step:,} of {steps:,}",
        f"loss {report.loss:.2f} (PSNR {-report.loss:.2f} dB)",
        *([f"held out {_ratios(report)}"] if report.psnr else []),
        f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left",
    ]
    print("  ".join(parts), file=sys.stderr, flush=True)


def _ratios(report: "Report") -> str:
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
    }


def _denoiser_text(trained: "TrainedDenoiser", options: Namespace) -> list[str]:
    last, job = trained.reports[-1], f"denoise --input {_quoted(options)} --model {trained.bundle.uri}"
    return [
        f"trained on {trained.images:,} images in {last.step:,} steps, {trained.operations / 1e6:.3f} MFLOP per pixel",
        f"held out {trained.held_out:,}: {_ratios(last)}",
        *_ending(trained.bundle),
        f"next: python -m pipeline {job} --noise-level 25 --output denoised",
    ]
