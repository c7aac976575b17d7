"""Writes Keras 3 models as Keras 2 did: the configuration in its form, and the weights in its two layouts.

The forms were compared with files of TensorFlow 2.8, 2.13, 2.15 and tf_keras 2.18.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import h5py

Json = Any
Edit = Callable[[Json], None]

_INITIALIZERS = {
    "Dense": ("kernel", "bias"),
    "Conv2D": ("kernel", "bias"),
    "Conv2DTranspose": ("kernel", "bias"),
    "BatchNormalization": ("beta", "gamma", "moving_mean", "moving_variance"),
}
_GROUPS = {"Conv2DTranspose", "SeparableConv2D", "DepthwiseConv2D"}


def old_config(model: Any) -> Json:
    """The configuration of a functional or sequential model as Keras 2.8 writes it."""
    return {"class_name": type(model).__name__, "config": _old_model(model)}


def hdf5(model: Any, edit: Edit | None = None, change: Callable[[h5py.File], None] | None = None) -> bytes:
    """A whole model as ``model.save('model.h5')`` of Keras 2.8 writes it; both arguments change it."""
    config = old_config(model)
    if edit:
        edit(config)
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.attrs.update(backend=b"tensorflow", keras_version=b"2.8.0", model_config=json.dumps(config).encode())
        file.attrs["training_config"] = json.dumps({"loss": "theirs", "optimizer_config": {"class_name": "Theirs"}})
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = weights.create_group(layer.name)
            named = [(f"{path}:0", variable) for path, variable in _in_old_order(layer, layer.name)]
            group.attrs["weight_names"] = [name.encode() for name, _ in named]
            for name, variable in named:
                group.create_dataset(name, data=variable.numpy())
        if change:
            change(file)
    return stream.getvalue()


def archive(model: Any, edit: Edit | None = None, container: str = "_layer_checkpoint_dependencies") -> bytes:
    """A ``.keras`` file as Keras 2.13 writes it."""
    sequential = type(model).__name__ == "Sequential"
    module = {"module": "keras" if sequential else "keras.src.engine.functional"}
    config = old_config(model) | module | {"registered_name": None if sequential else "Functional"}
    config["compile_config"] = {"optimizer": "theirs", "loss": {"class_name": "Theirs", "module": "os"}}
    if edit:
        edit(config)
    weights, stream = io.BytesIO(), io.BytesIO()
    with h5py.File(weights, "w") as file:
        _store(model, file, container)
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("metadata.json", json.dumps({"keras_version": "2.13.1", "date_saved": "2023-08-01@10:00:00"}))
        made.writestr("config.json", json.dumps(config))
        made.writestr("model.weights.h5", weights.getvalue())
    return stream.getvalue()


def _old_model(model: Any) -> Json:
    config = model.get_config()
    if type(model).__name__ == "Sequential":
        entries = [_old_layer(layer) for layer in model._layers if type(layer).__name__ != "InputLayer"]
        shape = [None, *model.inputs[0].shape[1:]]
        given = {"name": f"{model.name}_input", "batch_input_shape": shape, "dtype": "float32", "sparse": False}
        entries[0]["config"]["batch_input_shape"] = shape
        return {"name": model.name, "layers": [{"class_name": "InputLayer", "config": given}, *entries]}
    nested = {layer.name for layer in model.layers if hasattr(layer, "layers")}
    functional = {name for name in nested if type(model.get_layer(name)).__name__ == "Functional"}
    layers = []
    for entry in config["layers"]:
        old = _old_layer(model.get_layer(entry["name"]))
        nodes = [_old_node(node, nested) for node in entry["inbound_nodes"]]
        layers.append({**old, "name": entry["name"], "inbound_nodes": nodes})
    ends = {name: _old_ends(config[name], nested - functional) for name in ("input_layers", "output_layers")}
    return {"name": model.name, "layers": layers, **ends}


def _old_ends(ends: Json, counted: set[str]) -> Json:
    if isinstance(ends[0], str):
        return [[ends[0], ends[1] + (ends[0] in counted), ends[2]]]
    return [_old_ends(end, counted)[0] for end in ends]


def _old_node(node: Json, nested: set[str]) -> Json:
    tensors, kwargs = [], dict(node["kwargs"])
    for tensor in _tensors([*node["args"], *(kwargs.pop("initial_state", None) or ())]):
        name, call, place = tensor["config"]["keras_history"]
        tensors.append([name, call + (name in nested), place, {}])
    named = {}
    for key, value in kwargs.items():
        for tensor in _tensors(value):
            name, call, place = tensor["config"]["keras_history"]
            named[key] = [name, call + (name in nested), place]
    return [[*tensor[:3], named] for tensor in tensors]


def _tensors(value: Json) -> Iterator[Json]:
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _old_layer(layer: Any) -> Json:
    kind = type(layer).__name__
    if hasattr(layer, "layers"):
        return {"class_name": kind, "config": _old_model(layer)}
    config = json.loads(json.dumps(layer.get_config(), default=_own))
    if kind == "InputLayer":
        config["batch_input_shape"] = config.pop("batch_shape")
        config.pop("optional", None)
    if kind == "LeakyReLU":
        config["alpha"] = config.pop("negative_slope")
    if kind == "BatchNormalization":
        config["axis"] = [3]
        for name in ("renorm", "synchronized"):
            config.pop(name, None)
    if kind in _GROUPS:
        config["groups"] = 1
    for name in _INITIALIZERS.get(kind, ()):
        config[f"{name}_initializer"] = {"class_name": "VarianceScaling", "config": {"scale": 1.0, "seed": None}}
    if kind in ("LSTM", "GRU"):
        config |= {"time_major": False, "implementation": 2}
    if kind == "MultiHeadAttention":
        config |= {"query_shape": [None, 4, 4], "key_shape": [None, 4, 4], "value_shape": [None, 4, 4]}
    if isinstance(config.get("dtype"), dict):
        config["dtype"] = {"class_name": "Policy", "config": {"name": config["dtype"]["config"]["name"]}}
    if "layer" in config:
        config["layer"] = _old_layer(layer.layer if kind == "TimeDistributed" else layer.forward_layer)
        config.pop("backward_layer", None)
    config.pop("quantization_config", None)
    return {"class_name": kind, "config": config}


def _own(value: Any) -> Json:
    return list(value)


def _in_old_order(layer: Any, path: str) -> list[tuple[str, Any]]:
    """Paths and variables of a layer: what was trained, of all that it holds in their order, and then the rest."""
    leaves = list(_leaves(layer, path))
    trained = [(at, one) for at, leaf in leaves for one in leaf.trainable_weights]
    others = [(at, one) for at, leaf in leaves for one in leaf.non_trainable_weights]
    return [(f"{at}/{one.path.replace('/', '_')}", one) for at, one in [*trained, *others]]


def _leaves(layer: Any, path: str) -> Iterator[tuple[str, Any]]:
    if hasattr(layer, "layers"):
        for entry in layer.get_config()["layers"]:
            name = entry.get("name") or entry["config"]["name"]
            if entry["class_name"] != "InputLayer":
                yield from _leaves(layer.get_layer(name), f"{path}/{name}")
    else:
        yield path, layer


def _store(model: Any, group: Any, container: str) -> None:
    """Groups of a model's layers: each class counts its own, and counts one with weights twice."""
    counts: dict[str, int] = {}
    inner = group.create_group(container)
    for layer in model.layers:
        kind = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)).lower()
        count = counts.get(kind, 0)
        counts[kind] = count + (2 if layer.weights else 1)
        place = inner.create_group(f"{kind}_{count}" if count else kind)
        if hasattr(layer, "layers"):
            _store(layer, place, container)
        else:
            _store_layer(layer, place)


def _store_layer(layer: Any, group: Any) -> None:
    own = group.create_group("vars")
    for position, variable in enumerate([*layer._trainable_variables, *layer._non_trainable_variables]):
        own.create_dataset(str(position), data=variable.numpy())
    for name in ("cell", "forward_layer", "backward_layer", "layer", "_query_dense", "_key_dense", "_value_dense"):
        if getattr(getattr(layer, name, None), "weights", None):
            _store_layer(getattr(layer, name), group.create_group(name))
    if hasattr(layer, "_output_dense"):
        _store_layer(layer._output_dense, group.create_group("_output_dense"))
