"""The command line: ``python -m model train|export|check``."""

import json
import sys
import time
import traceback
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from model.parser import parse
from pipeline.errors import LatentlakeError

if TYPE_CHECKING:
    from model.bundle import Bundle
    from model.train import Settings, Trained, Watcher


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the result is the exit status (see ``pipeline.errors``)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        options = parse(arguments)
        return _COMMANDS[options.command](options)
    except (LatentlakeError, OSError) as error:
        if "--verbose" in arguments:
            traceback.print_exception(error)
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status if isinstance(error, LatentlakeError) else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 1


def _train(options: Namespace) -> int:
    from model.train import train

    trained = train(_settings(options), _watcher())
    print(json.dumps(_train_value(trained), indent=2) if options.json else _train_text(trained, options))
    return 0


def _settings(options: Namespace) -> "Settings":
    from model.kinds import TRAINED
    from model.train import Settings
    from pipeline.images.base import Color, Orientation, Resize
    from pipeline.readers import Request

    return Settings(
        kind=options.kind,
        inputs=tuple(options.input),
        output=options.output.rstrip("/"),
        request=Request(
            image=options.image,
            carry=(),
            numeric=TRAINED[options.kind].numeric,
            max_record_bytes=options.max_record_bytes,
        ),
        format=options.format,
        policy={
            "resize": Resize(options.resize) if options.resize else None,
            "orientation": Orientation(options.orientation),
            "color": Color(options.color),
            "max_pixels": options.max_pixels,
        },
        input_shape=_shape(options),
        latent_dim=options.latent_dim,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
        validation_fraction=options.validation_fraction,
        patience=options.patience,
    )


def _shape(options: Namespace) -> tuple[int, ...] | None:
    return tuple(options.input_shape) if options.input_shape else None


def _watcher() -> "Watcher":
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
            losses = f"loss {epoch.loss:.5f}  val_loss {epoch.val_loss:.5f}"
            self._say(f"epoch {epoch.epoch:>3}  {losses}  {epoch.seconds:.1f} s")

        def _say(self, line: str) -> None:
            print(f"\r{line}\x1b[K" if live else line, file=sys.stderr, flush=True)

    return Terminal()


def _train_value(trained: "Trained") -> dict[str, object]:
    return {
        **_bundle_value(trained.bundle),
        "samples": trained.samples,
        "validation_samples": trained.validation_samples,
        "epochs": len(trained.epochs),
        "best_epoch": trained.best.epoch,
        "loss": trained.best.loss,
        "val_loss": trained.best.val_loss,
        "psnr_db": round(trained.psnr, 2),
    }


def _train_text(trained: "Trained", options: Namespace) -> str:
    inputs = " ".join(f"'{uri}'" for uri in options.input)
    best, uri = trained.best, trained.bundle.uri
    return "\n".join(
        [
            f"trained on {trained.samples:,} samples, best in epoch {best.epoch} of {len(trained.epochs)}",
            f"validation on {trained.validation_samples:,}: loss {best.val_loss:.5f}, PSNR {trained.psnr:.1f} dB",
            f"bundle {uri} ({trained.bundle.digest[:16]}), loss curve {uri}/training.json",
            f"next: python -m pipeline encode --input {inputs} --model {uri} --output latents",
        ]
    )


def _bundle_value(bundle: "Bundle") -> dict[str, object]:
    return {"bundle": bundle.uri, "digest": bundle.digest, "kind": bundle.spec.kind}


def _export(options: Namespace) -> int:
    from model.export import Preprocessing, export

    low, high = options.value_range
    given = Preprocessing(value_range=(low, high), color=options.color, input_shape=_shape(options))
    bundle = export(Path(options.file), options.latent, options.output.rstrip("/"), given)
    print(json.dumps(_bundle_value(bundle), indent=2) if options.json else _export_text(bundle))
    return 0


def _export_text(bundle: "Bundle") -> str:
    spec = bundle.spec
    latent_shape = " x ".join(map(str, spec.latent.shape))
    lines = [f"bundle {bundle.uri} ({bundle.digest[:16]}): {spec.kind}, latent {spec.latent.layer!r} of {latent_shape}"]
    if "reconstruct" not in spec.functions:
        lines.append("its output does not have the input's shape, so it can encode, but not reconstruct")
    return "\n".join([*lines, f"next: python -m model check {bundle.uri}"])


def _check(options: Namespace) -> int:
    from model.check import check

    report = check(options.bundle.rstrip("/"))
    print(json.dumps(report.to_value(), indent=2) if options.json else report.describe())
    return 0


_COMMANDS = {"train": _train, "export": _export, "check": _check}
