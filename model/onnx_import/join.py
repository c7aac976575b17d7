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
from model.onnx_import.package import onnx
from model.onnx_import.rows import free_rows

_PART = "decoder"  # before the names of a decoder


def only_input(decoder: Network) -> Value:
    """What a decoder takes.

    Raises:
      BundleError: it takes several tensors.
    """
    if len(decoder.inputs) != 1:
        shown = printable(", ".join(decoder.inputs), 500)
        raise BundleError(
            f"the decoder takes {len(decoder.inputs)} inputs ({shown}); only one of one input, the latent, is taken"
        )
    return next(iter(decoder.inputs.values()))


def taken_shape(decoder: Network, latent: Shape) -> Shape:
    """The shape in which a decoder takes a latent, for one record.

    Args:
      decoder: the decoder.
      latent: shape of the latent as the encoder gives it.

    Raises:
      BundleError: it does not take it.
    """
    declared = only_input(decoder).dimensions[1:]
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


def join_networks(encoder: Network, decoder: Network, latent: str, shape: Shape) -> tuple[Network, str]:
    """One network that decodes what an encoder gives. It takes any number of rows.

    Args:
      encoder: the encoder, whose tensors keep their names.
      decoder: the decoder.
      latent: the encoder's tensor that it takes.
      shape: shape of that tensor for one record.

    Returns:
      The network, which puts out what the decoder does, and what stands before the names of the decoder's tensors.

    Raises:
      BundleError: the decoder does not take the latent, or follows another version of the standard.
    """
    if encoder.opset != decoder.opset:
        raise BundleError(
            f"the encoder is of opset {encoder.opset}, and the decoder of {decoder.opset}; export both with the same "
            "opset_version"
        )
    taken, first, second = taken_shape(decoder, shape), free_rows(encoder), free_rows(decoder)
    model = type(first.model)()
    model.CopyFrom(first.model)
    part = _free_name(model.graph)
    _link(model.graph, OURS + latent, f"{OURS}{part}", decoder, None if taken == shape else taken)
    _add(model.graph, second.model.graph, part)
    joined = replace(
        first,
        model=model,
        outputs=[f"{part}/{name}" for name in decoder.outputs],
        sampled=encoder.sampled or decoder.sampled,
        freed=first.freed or second.freed,
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


def _link(graph: Any, latent: str, part: str, decoder: Network, shape: Shape | None) -> None:
    """Give a decoder the latent, of its type, and in another shape if there is one."""
    helper, value = onnx().helper, only_input(decoder)
    if shape is not None:
        sides = helper.make_tensor(f"{part} sides", onnx().TensorProto.INT64, [len(shape) + 1], [-1, *shape])
        graph.initializer.append(sides)
        graph.node.append(helper.make_node("Reshape", [latent, sides.name], [f"{part} shaped"]))
        latent = f"{part} shaped"
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
    graph.node.append(helper.make_node("Cast", [latent], [f"{part}/{value.name}"], to=dtype))


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
