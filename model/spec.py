"""What ``model.json`` says of a model, and the check that it says it properly."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite, prod
from typing import Any, TypeAlias, TypeVar

from pipeline.errors import BundleError

Json: TypeAlias = Any
Shape: TypeAlias = tuple[int, ...]
_T = TypeVar("_T")

SCHEMA = 1
CHANNELS = {"gray": 1, "rgb": 3, "rgba": 4}
_MAX_ELEMENTS = 1 << 28  # of one input, latent or output
_MAX_SIDE = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What the model takes.

    Attributes:
      shape: (H, W, C), or (d,) for vectors.
      dtype: 'uint8' for images (the runtime takes uint16 and float32 in 0..1 too), 'float32' for vectors.
      value_range: what black and white are for the network; for vectors the range of the training data, which the
        errors are relative to.
      color: 'gray', 'rgb', 'rgba', or None for vectors and for channels that are no colours.
    """

    shape: Shape
    dtype: str
    value_range: tuple[float, float]
    color: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """Where the latent comes from: path of the layer, shape of its output, and length once flattened."""

    layer: str
    shape: Shape

    @property
    def dimension(self) -> int:
        """Length D of a latent vector."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Recorded outputs for seeded inputs; ``tolerance`` is relative to the largest magnitude of each output."""

    count: int
    seed: int
    tolerance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """Size in bytes and SHA-256 of a file of the bundle."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """The content of ``model.json``.

    Attributes:
      kind: 'encoder' gives latents only; every other kind gives latents and an output of the input's shape.
      files: ``model.keras`` and ``golden.npz``.
      training: provenance, for people; any JSON.
    """

    kind: str
    input: Input
    latent: Latent
    golden: Golden
    files: Mapping[str, FileEntry]
    training: Mapping[str, Json] = field(default_factory=dict)

    @property
    def functions(self) -> tuple[str, ...]:
        """Names of what the runtime can do with the model."""
        return ("encode",) if self.kind == "encoder" else ("encode", "reconstruct")

    @property
    def numeric(self) -> bool:
        """Whether the model takes vectors."""
        return len(self.input.shape) == 1

    @property
    def batch_size(self) -> int:
        """Records per call of the compiled functions: a power of two that bounds the memory of activations.

        About 256 MiB where a layer keeps 64 channels at the input's resolution.
        """
        sites = prod(self.input.shape[:2])
        fitting = (1 << 28) // (sites * 64 * 4)
        return min(4096 if self.numeric else 1024, 1 << max(0, fitting.bit_length() - 1))

    def require(self, function: str) -> None:
        """Refuse a function that the model does not offer.

        Raises:
          BundleError: the kind of model has no such function.
        """
        if function not in self.functions:
            raise BundleError(
                f"the model cannot {function}: a bundle of kind {self.kind!r} offers {', '.join(self.functions)}; "
                f"use a bundle of a whole autoencoder"
            )


KINDS = ("autoencoder", "dense", "encoder")


def to_json(spec: Spec) -> Json:
    """The spec as plain JSON values."""
    return {
        "schema": SCHEMA,
        "kind": spec.kind,
        "input": {
            "shape": list(spec.input.shape),
            "dtype": spec.input.dtype,
            "value_range": list(spec.input.value_range),
            "color": spec.input.color,
        },
        "latent": {
            "layer": spec.latent.layer,
            "shape": list(spec.latent.shape),
            "dimension": spec.latent.dimension,
        },
        "golden": {"count": spec.golden.count, "seed": spec.golden.seed, "tolerance": spec.golden.tolerance},
        "files": {name: {"size": f.size, "sha256": f.sha256} for name, f in spec.files.items()},
        "training": dict(spec.training),
    }


def digest(document: Json) -> str:
    """SHA-256, in hexadecimal, of the document in one canonical spelling; white space and order do not matter."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def from_json(document: Json, where: str) -> Spec:
    """Check the parsed ``model.json`` at ``where`` completely.

    Raises:
      BundleError: a field is missing, of a wrong type, or contradicts another; the text names it.
    """
    top = _Fields(document, where, "")
    schema = top.get("schema", int)
    if schema != SCHEMA:
        raise BundleError(f"{where}: schema {schema} is not {SCHEMA}; export the model again with this version")
    return Spec(
        kind=top.get("kind", str, lambda kind: kind in KINDS),
        input=_input(top.fields("input")),
        latent=_latent(top.fields("latent")),
        golden=_golden(top.fields("golden")),
        files=_files(top.fields("files")),
        training=top.get("training", dict),
    )


class _Fields:
    """An object of the document that knows its place, so that errors can name it."""

    def __init__(self, value: Json, where: str, path: str) -> None:
        self.where, self.path = where, path
        if not isinstance(value, dict):
            raise self.wrong("", value)
        self.value = value

    def get(self, name: str, kind: type[_T], valid: Callable[[Any], bool] = lambda _: True) -> _T:
        value = self.value.get(name)
        if type(value) is not kind or not valid(value):
            raise self.wrong(name, value)
        return value

    def fields(self, name: str) -> "_Fields":
        return _Fields(self.value.get(name), self.where, f"{self.path}{name}.")

    def shape(self, name: str) -> Shape:
        def valid(shape: list[Json]) -> bool:
            sides = all(type(side) is int and 0 < side < _MAX_SIDE for side in shape)
            return bool(shape) and len(shape) <= 4 and sides and prod(shape) <= _MAX_ELEMENTS

        return tuple(self.get(name, list, valid))

    def wrong(self, name: str, value: Json) -> BundleError:
        field_name = f"{self.path}{name}".rstrip(".") or "the document"
        shown = repr(value)
        shown = shown if len(shown) < 80 else shown[:80] + "…"
        return BundleError(f"{self.where}: {field_name} is {shown}, which no bundle has; export the model again")


def _input(fields: _Fields) -> Input:
    shape = fields.shape("shape")
    images = len(shape) == 3
    if len(shape) not in (1, 3):
        raise fields.wrong("shape", list(shape))
    color = fields.value.get("color")
    if color is not None and not (images and CHANNELS.get(str(color)) == shape[-1]):
        raise fields.wrong("color", color)
    dtype = "uint8" if images else "float32"
    return Input(
        shape=shape,
        dtype=fields.get("dtype", str, lambda value: value == dtype),
        value_range=_value_range(fields),
        color=color,
    )


def _value_range(fields: _Fields) -> tuple[float, float]:
    value = fields.get("value_range", list)
    if not (len(value) == 2 and all(type(v) in (int, float) and isfinite(v) for v in value) and value[0] < value[1]):
        raise fields.wrong("value_range", value)
    return float(value[0]), float(value[1])


def _latent(fields: _Fields) -> Latent:
    latent = Latent(layer=fields.get("layer", str), shape=fields.shape("shape"))
    fields.get("dimension", int, lambda value: value == latent.dimension)
    return latent


def _golden(fields: _Fields) -> Golden:
    return Golden(
        count=fields.get("count", int, lambda value: 0 < value <= 64),
        seed=fields.get("seed", int),
        tolerance=fields.get("tolerance", float, lambda value: 0 < value < 0.1),
    )


def _files(fields: _Fields) -> dict[str, FileEntry]:
    if set(fields.value) != {"model.keras", "golden.npz"}:
        raise fields.wrong("", sorted(fields.value))
    return {name: _file_entry(fields.fields(name)) for name in sorted(fields.value)}


def _file_entry(fields: _Fields) -> FileEntry:
    hexadecimal = frozenset("0123456789abcdef")
    return FileEntry(
        size=fields.get("size", int, lambda size: 0 < size < 1 << 34),
        sha256=fields.get("sha256", str, lambda text: len(text) == 64 and set(text) <= hexadecimal),
    )
