"""Conversion between what a model takes and the field ``input`` of ``model.json``."""

import json
from dataclasses import asdict, replace
from typing import Any

from lake.images.anscombe import PoissonGaussian
from lake.images.center_crop import CenterCrop, Interpolation
from lake.images.types import Resize
from model.condition import MAX_CLASSES, MAX_NUMBERS, Condition
from model.input_spec import CHANNELS, LARGEST, Input, Noise, NoiseRange, Shape, is_noise_range
from model.json_fields import MAX_SIDE, Fields
from model.names import MAX_NAME
from model.normalization import Normalization
from model.spec import MAX_LATENT_REACH, MAX_MULTIPLE, MAX_REACH, Json, Spec


def input_to_json(takes: Input) -> Json:
    """Convert what a model takes to JSON values."""
    return {
        "shape": list(takes.shape),
        "dtype": takes.dtype,
        "value_range": list(takes.value_range),
        "color": takes.color,
        **({} if takes.noise is None else {"noise": _noise_json(takes.noise)}),
        **({} if takes.condition is None else {"condition": _condition_json(takes.condition)}),
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
    # Left out where it is not known, so that bundles of earlier versions keep their digest.
    known: dict[str, Json] = {} if noise.range is None else {"range": list(noise.range)}
    known |= {} if noise.camera is None else {"camera": asdict(noise.camera)}
    return {"form": noise.form, "input": noise.input, "scale": noise.scale, **known}


def _condition_json(given: Condition) -> Json:
    return {
        "input": given.input,
        "column": given.column,
        "dtype": given.dtype,
        "shape": list(given.shape),
        "range": None if given.classes is None else [0, given.classes - 1],
        "one_hot": given.one_hot,
        **({"names": list(given.names)} if given.names else {}),
    }


def input_from_json(fields: Fields, kind: str) -> Input:
    """Convert the field ``input``, and check it completely.

    Args:
      fields: the field.
      kind: of the model.

    Raises:
      BundleError: a part is missing, of a wrong type, or contradicts another.
    """
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
        value_range=fields.limits("value_range"),
        color=color,
        noise=_noise(fields, kind),
        condition=_condition(fields, kind) if fields.has("condition") else None,
        normalization=_normalization(fields, shape) if fields.has("normalization") else None,
        resize=_resize(fields, shape) if fields.has("resize") else None,
        **(_any_size(fields, kind, shape) if fields.has("any_size") else {}),
    )


def _normalization(takes: Fields, shape: Shape) -> Normalization:
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


def _resize(takes: Fields, shape: Shape) -> Resize | CenterCrop:
    if len(shape) != 3 or takes.has("any_size"):
        takes.refuse("resize")
    if isinstance(takes.value["resize"], str):
        return Resize(takes.get("resize", str, lambda policy: policy in (*Resize,)))
    fields = takes.fields("resize")
    return CenterCrop(
        shorter=fields.get("shorter", int, lambda pixels: max(shape[:2]) <= pixels < MAX_SIDE),
        interpolation=Interpolation(fields.get("interpolation", str, lambda name: name in (*Interpolation,))),
    )


def _any_size(fields: Fields, kind: str, shape: Shape) -> dict[str, Any]:
    def fits(multiple: int) -> bool:
        power = 0 < multiple <= MAX_MULTIPLE and multiple & (multiple - 1) == 0
        return power and not any(side % multiple for side in shape[:2])

    most = MAX_REACH if kind == "denoiser" else MAX_LATENT_REACH
    return {
        "any_size": fields.get("any_size", bool, lambda value: value and len(shape) == 3 and kind != "decoder"),
        "multiple": fields.get("multiple", int, fits),
        "reach": fields.get("reach", int, lambda reach: 0 < reach <= most),
    }


def _noise(takes: Fields, kind: str) -> Noise | None:
    if not takes.has("noise"):
        return None
    if kind != "denoiser":
        takes.refuse("noise")
    fields = takes.fields("noise")
    form = fields.get("form", str, lambda form: form in ("map", "scalar", "channel"))
    return Noise(
        form=form,
        input=fields.name("input") if form != "channel" else None,
        scale=fields.get("scale", float, lambda scale: 0 < scale < float("inf")),
        range=_noise_range(fields) if fields.has("range") else None,
        camera=_camera(fields.fields("camera")) if fields.has("camera") else None,
    )


def _camera(fields: Fields) -> PoissonGaussian:
    return PoissonGaussian(
        gain=fields.get("gain", float, lambda gain: 0 < gain < LARGEST),
        read_noise=fields.get("read_noise", float, lambda deviation: 0 <= deviation < LARGEST),
        black_level=fields.get("black_level", float, lambda level: abs(level) < LARGEST),
    )


def _noise_range(fields: Fields) -> NoiseRange:
    def valid(ends: list[Json]) -> bool:
        return len(ends) == 2 and all(type(end) in (int, float) for end in ends) and is_noise_range(*ends)

    low, high = fields.get("range", list, valid)
    return float(low), float(high)


def _condition(takes: Fields, kind: str) -> Condition:
    if kind == "denoiser" or takes.has("any_size"):
        takes.refuse("condition")
    fields = takes.fields("condition")
    dtype = fields.get("dtype", str, lambda dtype: dtype in ("int64", "float32"))
    found = Condition(input=fields.name("input"), column=fields.name("column"), length=1)
    if dtype == "float32":
        if fields.has("range") or fields.has("names") or fields.get("one_hot", bool):
            takes.refuse("condition")
        (length,) = fields.get("shape", list, lambda shape: len(shape) == 1 and _counts(shape[0], 1, MAX_NUMBERS))
        return replace(found, length=length)
    fields.get("shape", list, lambda shape: not shape)
    last = fields.get("range", list, lambda ends: len(ends) == 2 and ends[0] == 0 and _counts(ends[1], 1, MAX_CLASSES))[
        1
    ]
    length = last + 1 if fields.get("one_hot", bool) else 1
    return replace(found, length=length, classes=last + 1, names=_class_names(fields, last + 1))


def _class_names(fields: Fields, classes: int) -> tuple[str, ...]:
    def valid(names: list[Json]) -> bool:
        known = all(type(name) is str and 0 < len(name) <= MAX_NAME for name in names)
        return known and len({*names}) == len(names) == classes

    return tuple(fields.get("names", list, valid)) if fields.has("names") else ()


def _counts(value: Json, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most
