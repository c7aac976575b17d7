"""ONNX graphs as a converter makes them, brought to one form: equal models give equal bytes."""

from collections.abc import Collection, Iterator, Sequence
from itertools import count
from typing import Any


def canonical(source: Any, outputs: Sequence[str]) -> bytes:
    """The bytes of a model whose nodes and names follow from what it computes, and not from how it was made.

    A converter numbers what it makes, and goes through sets, whose order changes from process to process. Here nodes
    stand in the order in which the outputs need them, values have numbers in that order, and weights that of their use.

    Args:
      source: an ``onnx.ModelProto``.
      outputs: names for the graph's outputs, in their order, of which those without one are left out. The inputs keep
        theirs.

    Raises:
      ValueError: the model has fewer outputs.
    """
    model = type(source)()
    model.CopyFrom(source)
    graph = model.graph
    if len(graph.output) < len(outputs):
        raise ValueError(f"the converted model has {len(graph.output)} outputs, not {len(outputs)}")
    del graph.output[len(outputs) :]
    _give_outputs_nodes(graph)
    names = {value.name: value.name for value in graph.input}
    names |= {value.name: name for value, name in zip(graph.output, outputs, strict=True)}
    _rename(graph, names, map("v{}".format, count()))
    graph.name, graph.doc_string = "model", ""
    used = {node.domain for node in graph.node}
    kept = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    model.producer_name, model.producer_version, model.doc_string = "latentlake", "", ""
    del model.metadata_props[:]
    written: bytes = model.SerializeToString(deterministic=True)
    return written


def _give_outputs_nodes(graph: Any) -> None:
    """Let each output be what a node puts out, once: one may be an input, a weight, or another output too."""
    made = {name for node in graph.node for name in node.output}
    for position, value in enumerate(graph.output):
        if value.name not in made:
            name = f"{value.name} as output {position}"
            graph.node.add(op_type="Identity", input=[value.name], output=[name])
            value.name = name
        made.discard(value.name)


def _rename(graph: Any, names: dict[str, str], numbers: Iterator[str]) -> None:
    """Order and rename what is in a graph, but for what has its name in ``names``."""
    nodes, weights, used = _ordered(graph), {weight.name: weight for weight in graph.initializer}, list[Any]()
    for node in nodes:
        for name in (*node.input, *node.output):
            if name and name not in names:
                names[name] = next(numbers)
            if name in weights:
                used.append(weights.pop(name))
    for node in nodes:
        node.input[:] = [names.get(name, "") for name in node.input]
        node.output[:] = [names.get(name, "") for name in node.output]
        node.name, node.doc_string = "", ""
        node.attribute.sort(key=lambda attribute: str(attribute.name))
    for value in (*graph.output, *used):
        value.name = names[value.name]
    for value in (*graph.input, *graph.output):
        for side in value.type.tensor_type.shape.dim:
            side.ClearField("dim_param")  # the converter's name for what it does not know
    _replace(graph.node, nodes)
    _replace(graph.initializer, used)
    del graph.value_info[:]


def _replace(field: Any, messages: Collection[Any]) -> None:
    copies = [type(message).FromString(message.SerializeToString()) for message in messages]
    del field[:]
    field.extend(copies)


def _ordered(graph: Any) -> list[Any]:
    """The nodes that the outputs need, each after those that it needs itself."""
    makers = {name: node for node in graph.node for name in node.output if name}
    done, found = set[int](), list[Any]()
    pending = [makers[value.name] for value in reversed(graph.output)]
    while pending:
        node = pending[-1]
        missing = [makers[name] for name in node.input if name in makers and id(makers[name]) not in done]
        if missing:
            pending += reversed(missing)
            continue
        pending.pop()
        if id(node) not in done:
            done.add(id(node))
            found.append(node)
    return found
