"""Conversion between a model's description and ``model.json``, with a complete check of the latter."""

import hashlib
import json
from collections.abc import Callable
from math import prod
from typing import Any, NoReturn, TypeVar

from lake.core.errors import BundleError
from lake.core.printable import printable
from lake.images.center_crop import CenterCrop, Interpolation
from lake.images.types import Resize
from model.code import CODE_FILE
from model.graphs import GRAPH_FILES, has_graphs
from model.normalization import Normalization
from model.spec import (
    CHANNELS,
    FUNCTIONS,
    KINDS,
    LARGEST,
    MAX_LATENT_REACH,
    MAX_MULTIPLE,
    MAX_REACH,
    FileEntry,
    Golden,
    Input,
    Json,
    Latent,
    Noise,
    OwnCode,
    Quantization,
    Shape,
    Spec,
    default_functions,
    is_range,
)

SCHEMA = 1  # version of model.json
_T = TypeVar("_T")
# A model.json may come from a stranger. These limits bound the memory that it can ask for.
_MAX_ELEMENTS = 1 << 28  # of one input, latent or output
_MAX_SIDE = 1 << 24
_MAX_NAME = 1000  # characters of a layer's path


def to_json(spec: Spec) -> Json:
    """Convert a description to the JSON values of ``model.json``."""
    # A field with its default is left out, so that bundles of earlier versions keep their digest.
    return {
        "schema": SCHEMA,
        "kind": spec.kind,
        **({} if spec.functions == default_functions(spec.kind) else {"functions": list(spec.functions)}),
        "input": _input_json(spec.input),
        "latent": None if spec.latent is None else _latent_json(spec.latent),
        **({} if spec.variance is None else {"variance": spec.variance}),
        **({} if spec.own_output_range is None else {"output_range": list(spec.own_output_range)}),
        **({} if spec.quantization is None else {"quantization": _quantization_json(spec.quantization)}),
        **({} if spec.code is None else {"code": {"name": spec.code.name, "classes": list(spec.code.classes)}}),
        "golden": {"count": spec.golden.count, "seed": spec.golden.seed, "tolerance": spec.golden.tolerance},
        "files": {name: {"size": f.size, "sha256": f.sha256} for name, f in spec.files.items()},
        "training": dict(spec.training),
    }


def _input_json(takes: Input) -> Json:
    return {
        "shape": list(takes.shape),
        "dtype": takes.dtype,
        "value_range": list(takes.value_range),
        "color": takes.color,
        **({} if takes.noise is None else {"noise": _noise_json(takes.noise)}),
        **({"any_size": True, "multiple": takes.multiple, "reach": takes.reach} if takes.any_size else {}),
        **({} if takes.resize is None else {"resize": _resize_json(takes.resize)}),
        **({} if takes.normalization is None else {"normalization": _normalization_json(takes.normalization)}),
    }


def _resize_json(given: Resize | CenterCrop) -> Json:
    if isinstance(given, CenterCrop):
        return {"shorter": given.shorter, "interpolation": str(given.interpolation)}
    return str(given)


def normalization_text(spec: Spec) -> str:
    """What a model does to images first, as JSON text for the metadata of tables; '' for nothing."""
    given = spec.input.normalization
    return "" if given is None else json.dumps(_normalization_json(given), sort_keys=True)


def _normalization_json(given: Normalization) -> Json:
    return {"mean": list(given.mean), "std": list(given.std), "bgr": given.bgr, "output": given.output}


def _noise_json(noise: Noise) -> Json:
    return {"form": noise.form, "input": noise.input, "scale": noise.scale}


def _quantization_json(quantization: Quantization) -> Json:
    return {
        "precision": quantization.precision,
        "calibration": {"samples": quantization.samples, "sha256": quantization.sha256},
        "layers": dict(quantization.layers),
        "cost": dict(quantization.cost),
    }


def _latent_json(latent: Latent) -> Json:
    return {"layer": latent.layer, "shape": list(latent.shape), "dimension": latent.dimension}


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
    top = _Fields(document, where, "")
    schema = top.get("schema", int)
    if schema != SCHEMA:
        shown = printable(str(schema), 40)
        raise BundleError(f"{where}: schema {shown} is not {SCHEMA}; export the model again with this version")
    kind = top.get("kind", str, lambda kind: kind in KINDS)
    takes = _input(top.fields("input"), kind)
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
        own_output_range=_range(top, "output_range") if top.has("output_range") else None,
        quantization=_quantization(top.fields("quantization")) if top.has("quantization") else None,
        code=_code(top) if top.has("code") else None,
        training=top.get("training", dict),
    )
    if not spec.has_keras_model and not has_graphs(spec):
        raise top.wrong("files", sorted(spec.files))
    return spec


class _Fields:
    """A JSON object that knows its place in the document, so that errors can name it."""

    def __init__(self, value: Json, where: str, path: str) -> None:
        self.where, self.path = where, path
        if not isinstance(value, dict):
            raise self.wrong("", value)
        self.value = value

    def get(self, name: str, kind: type[_T], valid: Callable[[Any], bool] = lambda _: True) -> _T:
        value = self.value.get(name)
        # Not isinstance: a bool is an int in Python, but true is no number in JSON.
        if type(value) is not kind or not valid(value):
            raise self.wrong(name, value)
        return value

    def has(self, name: str) -> bool:
        return self.value.get(name) is not None

    def fields(self, name: str) -> "_Fields":
        return _Fields(self.value.get(name), self.where, f"{self.path}{name}.")

    def name(self, name: str) -> str:
        return self.get(name, str, lambda text: 0 < len(text) <= _MAX_NAME and text.isprintable())

    def shape(self, name: str) -> Shape:
        def valid(shape: list[Json]) -> bool:
            sides = all(type(side) is int and 0 < side < _MAX_SIDE for side in shape)
            return bool(shape) and len(shape) <= 4 and sides and prod(shape) <= _MAX_ELEMENTS

        return tuple(self.get(name, list, valid))

    def wrong(self, name: str, value: Json) -> BundleError:
        field_name = f"{self.path}{name}".rstrip(".") or "the document"
        shown = printable(repr(value), 80)
        return BundleError(f"{self.where}: {field_name} is {shown}, which no bundle has; export the model again")


def _input(fields: _Fields, kind: str) -> Input:
    shape = fields.shape("shape")
    images = len(shape) == 3
    if len(shape) not in ((3,) if kind in ("denoiser", "decoder") else (1, 3)):
        raise fields.wrong("shape", list(shape))
    color = fields.value.get("color")
    if color is not None and not (images and CHANNELS.get(str(color)) == shape[-1]):
        raise fields.wrong("color", color)
    dtype = "uint8" if images else "float32"
    return Input(
        shape=shape,
        dtype=fields.get("dtype", str, lambda value: value == dtype),
        value_range=_range(fields, "value_range"),
        color=color,
        noise=_noise(fields, kind),
        normalization=_normalization(fields, shape) if fields.has("normalization") else None,
        resize=_resize(fields, shape) if fields.has("resize") else None,
        **(_any_size(fields, kind, shape) if fields.has("any_size") else {}),
    )


def _normalization(takes: _Fields, shape: Shape) -> Normalization:
    fields = takes.fields("normalization")

    def numbers(name: str, least: float) -> tuple[float, ...]:
        def valid(values: list[Json]) -> bool:
            known = all(type(value) in (int, float) and least < value < LARGEST for value in values)
            return known and len(shape) == 3 and len(values) == shape[-1]

        return tuple(float(value) for value in fields.get(name, list, valid))

    return Normalization(
        mean=numbers("mean", -LARGEST),
        std=numbers("std", 0.0),
        bgr=fields.get("bgr", bool, lambda bgr: not bgr or shape[-1] in (3, 4)),
        output=fields.get("output", bool),
    )


def _resize(takes: _Fields, shape: Shape) -> Resize | CenterCrop:
    if len(shape) != 3 or takes.has("any_size"):
        _reject(takes, "resize")
    if isinstance(takes.value["resize"], str):
        return Resize(takes.get("resize", str, lambda policy: policy in (*Resize,)))
    fields = takes.fields("resize")
    return CenterCrop(
        shorter=fields.get("shorter", int, lambda pixels: max(shape[:2]) <= pixels < _MAX_SIDE),
        interpolation=Interpolation(fields.get("interpolation", str, lambda name: name in (*Interpolation,))),
    )


def _any_size(fields: _Fields, kind: str, shape: Shape) -> dict[str, Any]:
    def fits(multiple: int) -> bool:
        power = 0 < multiple <= MAX_MULTIPLE and multiple & (multiple - 1) == 0
        return power and not any(side % multiple for side in shape[:2])

    most = MAX_REACH if kind == "denoiser" else MAX_LATENT_REACH
    return {
        "any_size": fields.get("any_size", bool, lambda value: value and len(shape) == 3 and kind != "decoder"),
        "multiple": fields.get("multiple", int, fits),
        "reach": fields.get("reach", int, lambda reach: 0 < reach <= most),
    }


def _range(fields: _Fields, name: str) -> tuple[float, float]:
    value = fields.get(name, list)
    if not (len(value) == 2 and all(type(v) in (int, float) for v in value) and is_range(*value)):
        raise fields.wrong(name, value)
    return float(value[0]), float(value[1])


def _functions(top: _Fields, kind: str, takes: Input) -> tuple[str, ...]:
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


def _latent(top: _Fields, kind: str, takes: Input) -> Latent | None:
    if kind == "denoiser":
        return _reject(top, "latent") if top.has("latent") else None
    fields = top.fields("latent")
    latent = Latent(layer=fields.name("layer"), shape=fields.shape("shape"))
    fields.get("dimension", int, lambda value: value == latent.dimension)
    if takes.any_size and not _is_grid(latent.shape, takes):
        raise fields.wrong("shape", list(latent.shape))
    return latent


def _is_grid(latent: Shape, takes: Input) -> bool:
    """Whether a latent has a position for each square of pixels, of a side that divides the multiple."""
    height, width = takes.shape[:2]
    if len(latent) != 3 or height % latent[0]:
        return False
    stride = height // latent[0]
    return takes.multiple % stride == 0 and takes.reach % stride == 0 and width == latent[1] * stride


def _noise(takes: _Fields, kind: str) -> Noise | None:
    if not takes.has("noise"):
        return None
    if kind != "denoiser":
        _reject(takes, "noise")
    fields = takes.fields("noise")
    form = fields.get("form", str, lambda form: form in ("map", "scalar", "channel"))
    return Noise(
        form=form,
        input=fields.name("input") if form != "channel" else None,
        scale=fields.get("scale", float, lambda scale: 0 < scale < float("inf")),
    )


def _variance(top: _Fields, kind: str) -> str | None:
    if kind == "vae":
        return top.name("variance")
    return _reject(top, "variance") if top.has("variance") else None


def _reject(fields: _Fields, name: str) -> NoReturn:
    raise fields.wrong(name, fields.value[name])


def _golden(fields: _Fields) -> Golden:
    return Golden(
        count=fields.get("count", int, lambda value: 0 < value <= 64),
        seed=fields.get("seed", int),
        tolerance=fields.get("tolerance", float, lambda value: 0 < value < 0.1),
    )


def _quantization(fields: _Fields) -> Quantization:
    calibration, layers = fields.fields("calibration"), fields.fields("layers")
    return Quantization(
        precision=fields.get("precision", str, lambda value: value == "int8"),
        samples=calibration.get("samples", int, lambda value: value > 0),
        sha256=calibration.get("sha256", str, _is_sha256),
        layers={name: layers.get(name, int, lambda value: value >= 0) for name in ("int8", "float32")},
        cost=fields.get("cost", dict),
    )


def _code(top: _Fields) -> OwnCode:
    fields = top.fields("code")

    def valid(names: list[Json]) -> bool:
        return all(type(name) is str and name.isidentifier() and len(name) <= _MAX_NAME for name in names)

    return OwnCode(name=fields.name("name"), classes=tuple(fields.get("classes", list, valid)))


def _files(fields: _Fields) -> dict[str, FileEntry]:
    if not {"golden.npz"} <= fields.value.keys() <= {"model.keras", "golden.npz", *GRAPH_FILES, CODE_FILE}:
        raise fields.wrong("", sorted(fields.value))
    return {name: _file_entry(fields.fields(name)) for name in sorted(fields.value)}


def _file_entry(fields: _Fields) -> FileEntry:
    return FileEntry(
        size=fields.get("size", int, lambda size: 0 < size < 1 << 34),
        sha256=fields.get("sha256", str, _is_sha256),
    )


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")
