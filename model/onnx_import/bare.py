"""A network as it is, without what a bundle puts around it: the truth that the bundle's graphs are compared with."""

from collections.abc import Mapping, Sequence

import numpy as np

from model.condition import Condition, golden_conditions
from model.golden import golden_inputs, golden_levels
from model.input_spec import Input
from model.onnx_import.network import OURS, Network, Value
from model.onnx_import.network_signature import FIRST, FLAT, PLANE, NetworkSignature, condition_sides
from model.pixels import Floats, Pixels, to_unit
from model.runtime.onnx import open_session

_ROWS = 2  # at once, where the network takes any number


def run_bare(
    network: Network, signature: NetworkSignature, takes: Input, seed: int, tensors: Sequence[str]
) -> Mapping[str, Pixels]:
    """What a network gives for the golden inputs, prepared by NumPy.

    Args:
      network: as its file has it.
      signature: what it takes.
      takes: what its bundle takes.
      seed: of the golden inputs.
      tensors: names of what is asked for.

    Returns:
      The tensors by name, ``[n, ...]``, without those that do not have a row for each image.

    Raises:
      Exception: of any class; ONNX Runtime does not run it.
    """
    pixels = golden_inputs(takes, seed)
    shown = {
        signature.image.name: _as_type(_image(pixels, signature, takes), signature.image),
        **({} if signature.level is None else {signature.level.name: _level(signature, pixels.shape)}),
        **(
            {}
            if signature.told is None
            else {signature.told.name: shown_condition(signature.told, takes.condition, len(pixels), seed)}
        ),
    }
    return run_rows(network, shown, tensors, any_size=takes.any_size)


def run_rows(
    network: Network, shown: Mapping[str, Pixels], tensors: Sequence[str], *, any_size: bool
) -> Mapping[str, Pixels]:
    """What a network gives for some rows, as many at a time as its file is for.

    Args:
      network: as its file has it.
      shown: what each of its inputs is given, ``[n, ...]``.
      tensors: names of what is asked for.
      any_size: sides of its inputs are free.

    Returns:
      As of ``run_bare``.

    Raises:
      Exception: of any class; ONNX Runtime does not run it.
    """
    session = open_session(_with_outputs(network, tensors), any_size=any_size)
    count, rows = len(next(iter(shown.values()))), network.batch or _ROWS
    made: dict[str, list[Pixels]] = {name: [] for name in tensors}
    for start in range(0, count, rows):
        part = np.arange(start, start + rows) % count
        feed = {OURS + name: values[part] for name, values in shown.items()}
        for name, values in zip(tensors, session.run([OURS + name for name in tensors], feed), strict=True):
            made[name].append(values)
    by_rows = {name: parts for name, parts in made.items() if all(part.shape[:1] == (rows,) for part in parts)}
    return {name: np.concatenate(parts)[:count] for name, parts in by_rows.items()}


def _with_outputs(network: Network, tensors: Sequence[str]) -> bytes:
    model = type(network.model)()
    model.CopyFrom(network.model)
    del model.graph.output[:]
    for name in tensors:
        model.graph.output.add(name=OURS + name)
    data: bytes = model.SerializeToString()
    return data


def _image(pixels: Pixels, signature: NetworkSignature, takes: Input) -> Floats:
    """Golden inputs as the network sees them."""
    if pixels.dtype == np.float32:
        return np.asarray(pixels, np.float32)
    low, high = takes.value_range
    values = np.asarray(to_unit(pixels) * np.float32(high - low) + np.float32(low), np.float32)
    if given := takes.normalization:
        values = np.asarray((values - np.array(given.mean)) / np.array(given.std), np.float32)
        values = values[..., [2, 1, 0, *range(3, values.shape[3])]] if given.bgr else values
    if takes.noise is not None and takes.noise.form == "channel":
        values = np.concatenate([values, _map(values, takes.noise.scale)], axis=3)
    return _laid_out(values, signature.layout)


def _laid_out(values: Floats, layout: str) -> Floats:
    if layout == FIRST:
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2))
    return values[..., 0] if layout == PLANE else values.reshape(len(values), -1) if layout == FLAT else values


def _map(values: Floats, scale: float) -> Floats:
    levels = golden_levels(len(values)) * np.float32(scale)
    return np.broadcast_to(levels[:, None, None, None], (*values.shape[:3], 1))


def _level(signature: NetworkSignature, shape: Sequence[int]) -> Pixels:
    value, noise = signature.level, signature.record.noise
    assert value is not None and noise is not None
    if noise.form == "map":
        told = _laid_out(_map(np.zeros((*shape[:3], 1), np.float32), noise.scale), signature.layout)
    else:
        told = (golden_levels(shape[0]) * np.float32(noise.scale)).reshape(-1, *(1 for _ in value.dimensions[1:]))
    return _as_type(told, value)


def shown_condition(told: Value, condition: Condition | None, count: int, seed: int) -> Pixels:
    """The golden conditions as a network's input takes them.

    Args:
      told: the input.
      condition: what it is told.
      count: of the golden inputs.
      seed: of the numbers.
    """
    assert condition is not None
    values = condition.told(golden_conditions(condition, count, seed))
    return values.reshape(condition_sides(told, count)).astype(told.dtype)


def _as_type(values: Floats, value: Value) -> Pixels:
    return (np.rint(values) if value.dtype == "uint8" else values).astype(value.dtype)


def as_image(values: Pixels, layout: str, takes: Input) -> Floats:
    """What a network puts out, as the bundle gives it, by NumPy.

    Args:
      values: the network's output, ``[n, ...]``.
      layout: of a row.
      takes: what the bundle takes.
    """
    floats = values.astype(np.float32)
    images = floats.transpose(0, 2, 3, 1) if layout == FIRST else floats.reshape(-1, *takes.shape)
    if (given := takes.normalization) is None:
        return images
    images = images[..., [2, 1, 0, *range(3, images.shape[3])]] if given.bgr else images
    if not given.output:
        return images
    return images * np.array(given.std, np.float32) + np.array(given.mean, np.float32)
