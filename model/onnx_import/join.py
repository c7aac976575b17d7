"""Join an encoder and a decoder, each an ONNX file, to one network."""

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from lake.core.errors import BundleError
from lake.core.printable import printable
from model.input_spec import Shape
from model.keras.signature import format_shape
from model.onnx_import.network import OURS, Network, Value
from model.onnx_import.network_signature import condition_sides
from model.onnx_import.package import onnx
from model.onnx_import.rows import free_rows

_PART = "decoder"  # before the names of a decoder


def latent_input(decoder: Network, second: str | None = None) -> Value:
    """The input of a decoder that takes the latent.

    Args:
      decoder: the decoder.
      second: name of an input that takes a condition, if it has one.

    Raises:
      BundleError: it takes several other tensors.
    """
    others = [value for name, value in decoder.inputs.items() if name != second]
    if len(others) != 1:
        shown = printable(", ".join(decoder.inputs), 500)
        raise BundleError(
            f"the decoder takes {len(decoder.inputs)} inputs ({shown}); only one of one input, the latent, is taken, "
            "and of two where --condition names the one that takes a class or other numbers of a record"
        )
    return others[0]


def taken_shape(decoder: Network, latent: Shape, second: str | None = None) -> Shape:
    """The shape in which a decoder takes a latent, for one record.

    Args:
      decoder: the decoder.
      latent: shape of the latent as the encoder gives it.
      second: name of an input that takes a condition.

    Raises:
      BundleError: it does not take it.
    """
    declared = latent_input(decoder, second).dimensions[1:]
    if len(declared) == len(latent) and all(d in (None, s) for d, s in zip(declared, latent, strict=True)):
        return latent
    if len(declared) == 1 and declared[0] in (None, prod(latent)):
        return (prod(latent),)
    known = tuple(side for side in declared if side is not None)
    if len(known) == len(declared) and prod(known) == prod(latent):
        return known
    raise BundleError(
        f"the decoder takes {format_shape(declared)}, and the latent is {format_shape(latent)}; see that both files "
        "are of one model, and name another output of the encoder by --latent"
    )


def join_networks(
    encoder: Network, decoder: Network, latent: str, shape: Shape, second: str | None = None
) -> tuple[Network, str]:
    """One network that decodes what an encoder gives. It takes any number of rows.

    Args:
      encoder: the encoder, whose tensors keep their names.
      decoder: the decoder.
      latent: the encoder's tensor that it takes.
      shape: shape of that tensor for one record.
      second: name of the input of both that takes a condition, or of one of them.

    Returns:
      The network, which puts out what the decoder does, and what stands before the names of the decoder's tensors. An
      input that only the decoder has is such a tensor.

    Raises:
      BundleError: the decoder does not take the latent, or follows another version of the standard.
    """
    if encoder.opset != decoder.opset:
        raise BundleError(
            f"the encoder is of opset {encoder.opset}, and the decoder of {decoder.opset}; export both with the same "
            "opset_version"
        )
    taken, first, last = taken_shape(decoder, shape, second), free_rows(encoder), free_rows(decoder)
    model = type(first.model)()
    model.CopyFrom(first.model)
    part = _free_name(model.graph)
    value = latent_input(decoder, second)
    _link(model.graph, OURS + latent, f"{OURS}{part}", value, None if taken == shape else taken)
    if second is not None and second in encoder.inputs and second in decoder.inputs:
        told = decoder.inputs[second]
        _link(model.graph, OURS + second, f"{OURS}{part}", told, condition_sides(told, 1)[1:])
    _add(model.graph, last.model.graph, part)
    joined = replace(
        first,
        model=model,
        outputs=[f"{part}/{name}" for name in decoder.outputs],
        sampled=encoder.sampled or decoder.sampled,
        freed=first.freed or last.freed,
    )
    return joined, f"{part}/"


def _free_name(graph: Any) -> str:
    """What no name of an encoder begins with."""
    part, names = _PART, [*_names(graph)]
    while any(name.startswith(OURS + part) for name in names):
        part += "_"
    return part


def _names(graph: Any) -> Iterator[str]:
    for node in graph.node:
        yield from (*node.input, *node.output)
    yield from (one.name for one in graph.initializer)


def _link(graph: Any, given: str, part: str, value: Value, shape: Shape | None) -> None:
    """Give an input of a decoder a tensor of the encoder, of its type, and in another shape if there is one."""
    helper = onnx().helper
    if shape is not None:
        name = f"{part} {value.name}"
        sides = helper.make_tensor(f"{name} sides", onnx().TensorProto.INT64, [len(shape) + 1], [-1, *shape])
        graph.initializer.append(sides)
        graph.node.append(helper.make_node("Reshape", [given, sides.name], [f"{name} shaped"]))
        given = f"{name} shaped"
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
    graph.node.append(helper.make_node("Cast", [given], [f"{part}/{value.name}"], to=dtype))


def _add(graph: Any, other: Any, part: str) -> None:
    """Add the nodes and weights of a decoder, under other names."""

    def renamed(name: str) -> str:
        return name and f"{OURS}{part}/{name.removeprefix(OURS)}"

    for node in other.node:
        made = graph.node.add()
        made.CopyFrom(node)
        made.input[:], made.output[:] = map(renamed, node.input), map(renamed, node.output)
    for weight in other.initializer:
        made = graph.initializer.add()
        made.CopyFrom(weight)
        made.name = renamed(weight.name)
