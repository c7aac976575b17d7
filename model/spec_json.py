"""Conversion between a model's description and ``model.json``, with a complete check of the latter."""

import hashlib
import json

from lake.core.errors import BundleError
from lake.core.printable import printable
from model.code import CODE_FILE
from model.graphs import GRAPH_FILES, has_graphs
from model.input_json import input_from_json, input_to_json
from model.input_spec import Input, Shape
from model.json_fields import Fields
from model.names import MAX_LATENTS, MAX_NAME, is_latent_name
from model.spec import (
    FUNCTIONS,
    KINDS,
    FileEntry,
    Golden,
    Json,
    Latent,
    OwnCode,
    Quantization,
    Spec,
    default_functions,
)

SCHEMA = 1  # version of model.json


def to_json(spec: Spec) -> Json:
    """Convert a description to the JSON values of ``model.json``."""
    # A field with its default is left out, so that bundles of earlier versions keep their digest.
    return {
        "schema": SCHEMA,
        "kind": spec.kind,
        **({} if spec.functions == default_functions(spec.kind) else {"functions": list(spec.functions)}),
        "input": input_to_json(spec.input),
        "latent": None if spec.latent is None else _latent_json(spec.latent),
        **({"further_latents": [_latent_json(one) for one in spec.further]} if spec.further else {}),
        **({} if spec.variance is None else {"variance": spec.variance}),
        **({} if spec.own_output_range is None else {"output_range": list(spec.own_output_range)}),
        **({} if spec.quantization is None else {"quantization": _quantization_json(spec.quantization)}),
        **({} if spec.code is None else {"code": {"name": spec.code.name, "classes": list(spec.code.classes)}}),
        "golden": {"count": spec.golden.count, "seed": spec.golden.seed, "tolerance": spec.golden.tolerance},
        "files": {name: {"size": f.size, "sha256": f.sha256} for name, f in spec.files.items()},
        "training": dict(spec.training),
    }


def _quantization_json(quantization: Quantization) -> Json:
    return {
        "precision": quantization.precision,
        "calibration": {"samples": quantization.samples, "sha256": quantization.sha256},
        "layers": dict(quantization.layers),
        "cost": dict(quantization.cost),
    }


def _latent_json(latent: Latent) -> Json:
    name = {} if latent.own_name is None else {"name": latent.own_name}
    return {**name, "layer": latent.layer, "shape": list(latent.shape), "dimension": latent.dimension}


def digest(document: Json) -> str:
    """Return the SHA-256 of a JSON document, as 64 hexadecimal digits.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    # One canonical spelling: white space and the order of keys do not change the digest.
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def from_json(document: Json, where: str) -> Spec:
    """Convert a parsed ``model.json`` to a description, and check it completely.

    Args:
      document: what ``json.loads`` returned.
      where: name of the file, for messages.

    Raises:
      BundleError: a field is missing, of a wrong type, or contradicts another; the text names it.
    """
    top = Fields(document, where, "")
    schema = top.get("schema", int)
    if schema != SCHEMA:
        shown = printable(str(schema), 40)
        raise BundleError(f"{where}: schema {shown} is not {SCHEMA}; export the model again with this version")
    kind = top.get("kind", str, lambda kind: kind in KINDS)
    takes = input_from_json(top.fields("input"), kind)
    latent = _latent(top, kind, takes)
    if top.has("code") != (CODE_FILE in top.fields("files").value):
        raise top.wrong("code", top.value.get("code"))
    spec = Spec(
        kind=kind,
        input=takes,
        latent=latent,
        functions=_functions(top, kind, takes),
        golden=_golden(top.fields("golden")),
        files=_files(top.fields("files")),
        variance=_variance(top, kind),
        further=_further(top, latent, takes),
        own_output_range=top.limits("output_range") if top.has("output_range") else None,
        quantization=_quantization(top.fields("quantization")) if top.has("quantization") else None,
        code=_code(top) if top.has("code") else None,
        training=top.get("training", dict),
    )
    if not spec.has_keras_model and not has_graphs(spec):
        raise top.wrong("files", sorted(spec.files))
    return spec


def _functions(top: Fields, kind: str, takes: Input) -> tuple[str, ...]:
    defaults = default_functions(kind)
    if not top.has("functions"):
        return defaults
    # A denoiser has no latent and an encoder no output, so neither can do more. Jobs write images, not vectors.
    possible_of_kind = {
        "autoencoder": ("decode", "denoise"),
        "vae": ("decode", "denoise", "generate"),
        "decoder": ("generate",),
    }
    further = possible_of_kind.get(kind, ())
    # What is sampled has a size.
    possible = {*defaults, *(further if len(takes.shape) == 3 else ())} - ({"generate"} if takes.any_size else set())

    def valid(names: list[Json]) -> bool:
        return names == [name for name in FUNCTIONS if name in names and name in possible] and {*defaults} <= {*names}

    return tuple(top.get("functions", list, valid))


def _latent(top: Fields, kind: str, takes: Input) -> Latent | None:
    if kind == "denoiser":
        return top.refuse("latent") if top.has("latent") else None
    fields = top.fields("latent")
    latent = _one_latent(fields)
    if takes.any_size and not _is_grid(latent.shape, takes):
        raise fields.wrong("shape", list(latent.shape))
    return latent


def _one_latent(fields: Fields) -> Latent:
    own = fields.get("name", str, is_latent_name) if fields.has("name") else None
    latent = Latent(layer=fields.name("layer"), shape=fields.shape("shape"), own_name=own)
    fields.get("dimension", int, lambda value: value == latent.dimension)
    return latent


def _further(top: Fields, first: Latent | None, takes: Input) -> tuple[Latent, ...]:
    if not top.has("further_latents"):
        return ()
    values = top.get("further_latents", list, lambda values: 0 < len(values) < MAX_LATENTS)
    if first is None or first.own_name is None or takes.any_size:
        raise top.wrong("further_latents", values)
    found = tuple(_one_latent(top.item("further_latents", number)) for number in range(len(values)))
    names = [(one.own_name or "").lower() for one in (first, *found)]
    if "" in names or len({*names}) < len(names):
        raise top.wrong("further_latents", values)
    return found


def _is_grid(latent: Shape, takes: Input) -> bool:
    """Whether a latent has a position for each square of pixels, of a side that divides the multiple."""
    height, width = takes.shape[:2]
    if len(latent) != 3 or height % latent[0]:
        return False
    stride = height // latent[0]
    return takes.multiple % stride == 0 and takes.reach % stride == 0 and width == latent[1] * stride


def _variance(top: Fields, kind: str) -> str | None:
    if kind == "vae":
        return top.name("variance")
    return top.refuse("variance") if top.has("variance") else None


def _golden(fields: Fields) -> Golden:
    return Golden(
        count=fields.get("count", int, lambda value: 0 < value <= 64),
        seed=fields.get("seed", int),
        tolerance=fields.get("tolerance", float, lambda value: 0 < value < 0.1),
    )


def _quantization(fields: Fields) -> Quantization:
    calibration, layers = fields.fields("calibration"), fields.fields("layers")
    return Quantization(
        precision=fields.get("precision", str, lambda value: value == "int8"),
        samples=calibration.get("samples", int, lambda value: value > 0),
        sha256=calibration.get("sha256", str, _is_sha256),
        layers={name: layers.get(name, int, lambda value: value >= 0) for name in ("int8", "float32")},
        cost=fields.get("cost", dict),
    )


def _code(top: Fields) -> OwnCode:
    fields = top.fields("code")

    def valid(names: list[Json]) -> bool:
        return all(type(name) is str and name.isidentifier() and len(name) <= MAX_NAME for name in names)

    return OwnCode(name=fields.name("name"), classes=tuple(fields.get("classes", list, valid)))


def _files(fields: Fields) -> dict[str, FileEntry]:
    if not {"golden.npz"} <= fields.value.keys() <= {"model.keras", "golden.npz", *GRAPH_FILES, CODE_FILE}:
        raise fields.wrong("", sorted(fields.value))
    return {name: _file_entry(fields.fields(name)) for name in sorted(fields.value)}


def _file_entry(fields: Fields) -> FileEntry:
    return FileEntry(
        size=fields.get("size", int, lambda size: 0 < size < 1 << 34),
        sha256=fields.get("sha256", str, _is_sha256),
    )


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")
