"""The command ``latentlake export``."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake.cli.options import STORES, given
from lake.core.errors import UsageError
from lake.core.tensorflow import require_tensorflow
from model.cli.export_options import EXPORT
from model.cli.train import bundle_value
from model.graphs import has_graphs
from model.parts import Parts
from model.preprocessing import Preprocessing
from model.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model.bundle import Bundle
    from model.likeness import Likeness


def run(options: Namespace) -> tuple[dict[str, Any], str]:
    """Export a Keras model to a bundle.

    Args:
      options: the parsed command line.

    Returns:
      The bundle as JSON values and as text.
    """
    if hasattr(options, "again"):
        return _again(options)
    if not hasattr(options, "output"):
        raise UsageError("--output is missing: the directory to write the bundle to")
    from model.export import export

    if hasattr(options, "calibrate"):
        print("reading images, and trying each layer in 8 bits", file=sys.stderr, flush=True)
    found: list[Likeness] = []
    named = given(options, Preprocessing)
    tuples = {name: tuple(value) for name, value in named.items() if isinstance(value, list)}
    bundle = export(
        _source(options),
        getattr(options, "latent", None),
        options.output.rstrip("/"),
        Preprocessing(**{**named, **tuples}),
        variance=getattr(options, "variance", None),
        allow_graph=hasattr(options, "allow_graph"),
        serving_signature=getattr(options, "serving_signature", None),
        code=Path(options.code) if hasattr(options, "code") else None,
        precision=getattr(options, "precision", None),
        calibrate=getattr(options, "calibrate", None),
        judge=lambda looks: _judge(looks, any_output=hasattr(options, "any_output"), found=found),
    )
    value = {**bundle_value(bundle), "functions": list(bundle.spec.functions)}
    value |= {"golden_outputs": found[0].to_value()} if found else {}
    return value, _text(bundle, found)


def _source(options: Namespace) -> Path | Parts:
    """What is exported: one file, or parts in files of their own."""
    parts = given(options, Parts)
    if options.file is None:
        files: dict[str, Any] = {name: Path(parts[name]) for name in ("encoder", "decoder") if name in parts}
        return Parts(**{**parts, **files})
    if parts:
        flag = f"--{next(iter(parts)).replace('_', '-')}"
        raise UsageError(f"{flag} does not go with {options.file}; name the parts by --encoder and --decoder alone")
    return Path(options.file)


def _again(options: Namespace) -> tuple[dict[str, Any], str]:
    from model.export_graphs import export_again

    if options.file is None:
        raise UsageError("--again needs the bundle: latentlake export --again BUNDLE")
    require_tensorflow("export --again")

    others = {option.field: option.flag for option in EXPORT if option not in STORES} | {"output": "", "again": ""}
    if unused := [flag for field, flag in others.items() if flag and hasattr(options, field)]:
        raise UsageError(f"{unused[0]} does not go with --again, which changes nothing of a bundle; leave it out")
    output = options.output.rstrip("/") if hasattr(options, "output") else None
    bundle = export_again(options.file.rstrip("/"), output)
    value = {**bundle_value(bundle), "functions": list(bundle.spec.functions)}
    return value, _text(bundle, [])


def _judge(looks: "Likeness", *, any_output: bool, found: "list[Likeness]") -> None:
    found.append(looks)
    if not any_output:
        looks.refuse_grave()


def _text(bundle: "Bundle", found: "Sequence[Likeness]") -> str:
    from model.check import describe_condition, describe_input, describe_quantization

    spec = bundle.spec
    also = f", with {' and '.join(one.name for one in spec.further)}" if spec.further else ""
    latent = f", latent {spec.latent.layer!r} of {' x '.join(map(str, spec.latent.shape))}" if spec.latent else ""
    lines = [f"bundle {bundle.uri} ({bundle.digest[:16]}): {spec.kind}{latent}{also}: {', '.join(spec.functions)}"]
    if spec.quantization:
        lines += describe_quantization(spec.quantization)
    if spec.quantization and spec.latent:
        lines.append("in int8 it encodes and does nothing else; keep the bundle in float32 for the rest")
    elif spec.kind == "decoder":
        lines.append(f"it takes latents of {spec.dimension} numbers and gives {describe_input(spec.input)}")
        if "generate" not in spec.functions:
            lines.append("add --normal-prior to generate images, if its latents have a standard normal prior")
    elif spec.kind == "encoder":
        lines.append("its output does not have the input's shape, so it can encode, but not reconstruct")
    elif spec.latent and not spec.numeric and "decode" not in spec.functions:
        lines.append("its output depends on more than the latent, so it cannot decode")
    if spec.further:
        lines.append(f"latents in one pass: latentlake encode {' '.join(f'--latent {name}' for name in spec.latents)}")
    if spec.code:
        lines.append(f"code of its own, in the bundle: {', '.join(spec.code.classes)}; {_code_needed(spec)}")
    if spec.input.any_size or spec.input.normalization or spec.input.resize:
        lines.append(f"input: {describe_input(spec.input)}")
    if spec.input.condition:
        lines.append(f"told of each record: {describe_condition(spec.input.condition)}")
    lines.append(f"executors: {_executors(spec)}")
    for looks in found:
        lines += [f"golden: {looks.describe()}", *(f"warning: {doubt.text}" for doubt in looks.doubts)]
    return "\n".join([*lines, f"next: latentlake check {bundle.uri}"])


def _code_needed(spec: Spec) -> str:
    if has_graphs(spec):
        return "jobs on ONNX Runtime do without it, on TensorFlow they need --allow-code"
    return "jobs need --allow-code, for it runs on TensorFlow"


def _executors(spec: Spec) -> str:
    if spec.quantization:
        return "onnx only, for it is in int8"
    if not spec.has_keras_model:
        return "onnx"
    return "onnx, tensorflow" if has_graphs(spec) else "tensorflow only, for it does not convert to ONNX"
