"""The command line: ``python -m model train|export|check``."""

import json
import sys
import traceback
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from model.parser import parse
from model.train_cli import bundle_value
from pipeline.errors import LatentlakeError
from pipeline.storage import configure
from pipeline.storage.options import given

if TYPE_CHECKING:
    from model.bundle import Bundle


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the result is the exit status (see ``pipeline.errors``)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        options = parse(arguments)
        configure(given(options))
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
    from model.train_cli import run

    return run(options)


def _export(options: Namespace) -> int:
    from model.export import Preprocessing, export

    low, high = options.value_range
    given = Preprocessing(
        value_range=(low, high),
        color=options.color,
        input_shape=tuple(options.input_shape) if options.input_shape else None,
        noise_input=options.noise_input,
        noise_scale=options.noise_scale,
    )
    output = options.output.rstrip("/")
    bundle = export(
        Path(options.file),
        options.latent,
        output,
        given,
        variance=options.log_variance,
        precision=options.precision,
    )
    value = {**bundle_value(bundle), "functions": list(bundle.spec.functions)}
    print(json.dumps(value, indent=2) if options.json else _export_text(bundle))
    return 0


def _export_text(bundle: "Bundle") -> str:
    from model.check import describe_input

    spec = bundle.spec
    latent = f", latent {spec.latent.layer!r} of {' x '.join(map(str, spec.latent.shape))}" if spec.latent else ""
    lines = [f"bundle {bundle.uri} ({bundle.digest[:16]}): {spec.kind}{latent}: {', '.join(spec.functions)}"]
    if spec.kind == "encoder":
        lines.append("its output does not have the input's shape, so it can encode, but not reconstruct")
    elif spec.latent and not spec.numeric and "decode" not in spec.functions:
        lines.append("its output depends on more than the latent, so it cannot decode")
    if spec.input.any_size:
        lines.append(f"input: {describe_input(spec.input)}")
    return "\n".join([*lines, f"next: python -m model check {bundle.uri}"])


def _check(options: Namespace) -> int:
    from model.check import check

    report = check(options.bundle.rstrip("/"))
    print(json.dumps(report.to_value(), indent=2) if options.json else report.describe())
    return 0


_COMMANDS = {"train": _train, "export": _export, "check": _check}
