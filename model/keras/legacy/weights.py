"""The weights of a rebuilt model: which array of the file belongs to which of its variables.

A file of Keras 2 has no names that can be trusted to match. It has an order: that of the configuration, and of what
was trained before what was not. It is followed here from the configuration, since Keras 3 may order layers otherwise,
and every shape must fit.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from lake.core.errors import BundleError
from lake.core.printable import printable
from model.keras.audit import MODEL_CLASSES
from model.keras.legacy.hdf5 import names
from model.keras.legacy.repair import layer_name
from model.spec import Json

Pairs: TypeAlias = Iterable[tuple[Any, Any]]  # a variable, and the array for it

_CONTAINERS = ("_layer_checkpoint_dependencies", "layers")  # of Keras 2.12 and later


def copy_weights(model: Any, pairs: Pairs, where: str) -> None:
    """Give every variable of a model its array.

    Raises:
      BundleError: a shape does not fit, or a variable has no array, or several.
    """
    left = {id(variable): variable for variable in model.weights}
    for variable, array in pairs:
        if left.pop(id(variable), None) is None:
            raise _mismatch(where, f"there are several arrays for {variable.path!r}")
        if tuple(variable.shape) != tuple(array.shape):
            raise _mismatch(
                where, f"{variable.path!r} is {_shape(variable)}, and its array {array.name!r} is {_shape(array)}"
            )
        variable.assign(array[()])
    if left:
        raise _mismatch(where, f"there is no array for {next(iter(left.values())).path!r}")


def pairs_of_hdf5(model: Any, config: Json, root: Any, where: str) -> Iterator[tuple[Any, Any]]:
    """The arrays of a whole model in an HDF5 file: one group for each of the outermost layers.

    Args:
      model: the rebuilt model.
      config: its configuration as the file has it.
      root: the group ``model_weights``.
      where: name of the file, for messages.

    Raises:
      BundleError: a layer has no group, or another number of arrays.
    """
    for entry, layer in _children(config, model):
        variables = _in_order(entry, layer)
        group = root.get(_name(entry)) if variables else None
        if not variables:
            continue
        found = [] if group is None else [group.get(name) for name in names(group, "weight_names", where)]
        if len(found) != len(variables) or None in found:
            raise _mismatch(where, f"layer {_name(entry)!r} has {len(variables)} weights, and the file {len(found)}")
        yield from zip(variables, found, strict=True)


def pairs_of_archive(model: Any, config: Json, root: Any, where: str) -> Iterator[tuple[Any, Any]]:
    """The arrays in the ``model.weights.h5`` of Keras 2.12 to 2.15 and of tf_keras.

    A model's layers are in one group, named by their classes and numbers that grow; those of equal layers are in order.

    Args:
      model: the rebuilt model.
      config: its configuration as the file has it.
      root: the HDF5 file, or the group of a model within the model.
      where: name of the file, for messages.

    Raises:
      BundleError: a class has another number of groups than layers with weights.
    """
    container = next((root[name] for name in _CONTAINERS if name in root), None)
    by_class = defaultdict[str, list[tuple[Json, Any]]](list)
    for entry, layer in _children(config, model):
        if layer.weights:
            by_class[_snake(str(entry["class_name"]))].append((entry, layer))
    for kind, layers in by_class.items():
        groups = _groups(container, kind)
        if len(groups) != len(layers):
            raise _mismatch(
                where, f"there are {len(layers)} layers {kind!r} with weights, and {len(groups)} in the file"
            )
        for (entry, layer), group in zip(layers, groups, strict=True):
            if entry["class_name"] in MODEL_CLASSES:
                yield from pairs_of_archive(layer, entry, group, where)
            else:
                yield from _of_layer(layer, group, where)


def _of_layer(layer: Any, group: Any, where: str) -> Iterator[tuple[Any, Any]]:
    """The arrays of a layer, and of the layers that it holds, which have the names of its attributes."""
    own = [*layer._trainable_variables, *layer._non_trainable_variables]
    arrays = _numbered(group.get("vars"))
    if own and len(arrays) != len(own):
        raise _mismatch(where, f"layer {layer.name!r} has {len(own)} weights, and the file {len(arrays)}")
    yield from zip(own, arrays, strict=False)
    for name in group:
        held = getattr(layer, name, None) or getattr(layer, name.lstrip("_"), None) or getattr(layer, f"_{name}", None)
        if name != "vars" and getattr(held, "weights", None):
            yield from _of_layer(held, group[name], where)


def _numbered(group: Any) -> list[Any]:
    return [] if group is None else [group[name] for name in sorted(group, key=_number)]


def _groups(container: Any, kind: str) -> list[Any]:
    """The groups of a class that hold arrays, in the order of their numbers."""
    fits = re.compile(rf"{re.escape(kind)}(_\d+)?")
    found = sorted((name for name in container or () if fits.fullmatch(name)), key=_number)
    return [container[name] for name in found if _holds_arrays(container[name])]


def _holds_arrays(group: Any) -> bool:
    waiting = [group]
    while waiting:
        item = waiting.pop()
        if not hasattr(item, "items"):
            return True
        waiting += item.values()
    return False


def _number(name: str) -> int:
    return int(re.sub(r".*?(\d*)", r"\1", name.rpartition("_")[2]) or 0) if name[-1:].isdigit() else 0


def _snake(name: str) -> str:
    """A class as the file names it.

    >>> _snake("Conv2DTranspose"), _snake("PReLU")
    ('conv2d_transpose', 'p_re_lu')
    """
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _children(entry: Json, model: Any) -> list[tuple[Json, Any]]:
    """The layers of a model, as the file has them and as they were rebuilt."""
    config = entry["config"]
    layers = config if isinstance(config, list) else config["layers"]
    built = {layer.name: layer for layer in model.layers}
    found = ((item, built.get(layer_name(_name(item)))) for item in layers)
    return [(item, layer) for item, layer in found if layer is not None]


def _in_order(entry: Json, layer: Any) -> list[Any]:
    trained, others = _trained_and_others(entry, layer)
    return [*trained, *others]


def _trained_and_others(entry: Json, layer: Any) -> tuple[Sequence[Any], Sequence[Any]]:
    if entry["class_name"] not in MODEL_CLASSES:
        return layer.trainable_weights, layer.non_trainable_weights
    parts = [_trained_and_others(item, inner) for item, inner in _children(entry, layer)]
    return [one for part, _ in parts for one in part], [one for _, part in parts for one in part]


def _name(entry: Json) -> str:
    return str(entry.get("name") or entry["config"]["name"])


def _shape(array: Any) -> str:
    return " x ".join(map(str, array.shape)) or "one number"


def _mismatch(where: str, what: str) -> BundleError:
    text = printable(what)
    return BundleError(f"{where}: the weights do not fit the architecture: {text}; save the model whole: model.save()")
