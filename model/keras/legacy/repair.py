"""The configuration of a Keras 2 model as Keras 3 writes it.

Only names and fields are rewritten. What this does not know stays as it is, and the audit refuses it by its name.
"""

import inspect
import re
from collections.abc import Mapping
from typing import Any

from lake.core.tensorflow import keras
from model.keras.archive import refused
from model.keras.audit import LAYER_CLASSES, MODEL_CLASSES
from model.keras.legacy.graph import Graph
from model.keras.legacy.operations import OPERATIONS, operation, own_operation
from model.keras.own_classes import own_classes
from model.spec import Json

# Where Keras 2, tf.keras and tf_keras have their layers; the class is then Keras 3's of that name, or is refused.
_MODULE = re.compile(r"(tf_|tensorflow\.(python\.)?)?keras(\.[a-z0-9_]+)*")
_ALIASES = {
    "Model": "Functional",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "Convolution2D": "Conv2D",
    "Convolution2DTranspose": "Conv2DTranspose",
    "LayerScale": "LayerScale",
}
_ELSEWHERE = {"LayerScale": "keras.src.applications.convnext"}
_FIELDS = {("LeakyReLU", "alpha"): "negative_slope"}
# What only training needs, or names how and not what a layer computes, or is known once the layer is called.
_TRAINING = ("_initializer", "_regularizer", "_constraint")
_SHAPES = {"query_shape", "key_shape", "value_shape", "batch_input_shape", "input_length"}
_HOW = {"implementation", "fused", "renorm_clipping", "renorm_momentum"}
_NEUTRAL = (None, False, 1)  # values of a field that Keras 3 has not, with which it does nothing
_EVERY_LAYER = {"name", "trainable", "dtype"}
# Activations that Keras 3 has another function of the same name for -> what computes them.
_CHANGED: Mapping[str, Json] = {
    "hard_sigmoid": {
        "class_name": "LegacyHardSigmoid",
        "module": "model.layers",
        "registered_name": "latentlake>LegacyHardSigmoid",
        "config": {},
    }
}


def repaired(config: Json, version: str, where: str) -> Json:
    """Rewrite the configuration of a model.

    Args:
      config: of the model, as ``model_config`` of an HDF5 file has it, or ``config.json`` of a ``.keras`` file.
      version: of Keras, which wrote it.
      where: name of the file, for messages.

    Raises:
      BundleError: Keras 3 has no such field or operation.
      KeyError, TypeError, ValueError, IndexError, AttributeError: it has not the form of a configuration.
    """
    return _Repair(where, {} if version.startswith("3.") else _CHANGED).entry(config)


def layer_name(name: str) -> str:
    """Name of a layer in Keras 3, which allows no slash.

    >>> layer_name("expanded_conv/depthwise")
    'expanded_conv_depthwise'
    """
    return name.replace("/", "_")


class _Repair:
    def __init__(self, where: str, changed: Mapping[str, Json]) -> None:
        self._where, self._changed = where, changed

    def entry(self, entry: Json) -> Json:
        """A model, layer or other object: its class, where Keras 3 has it, and its configuration."""
        kind, module = str(entry["class_name"]), entry.get("module")
        config = entry["config"]
        if kind in own_classes():  # by both names, as the audit asks for it
            own = {name: self._value(name, value, config) for name, value in config.items() if name not in _SHAPES}
            return {"class_name": kind, "module": "own", "registered_name": kind, "config": own}
        kind = _ALIASES.get(kind, kind)
        theirs = entry.get("registered_name") not in (None, kind, entry["class_name"])
        theirs = theirs or not (module is None or (isinstance(module, str) and _MODULE.fullmatch(module)))
        if theirs or (kind not in MODEL_CLASSES and kind not in LAYER_CLASSES and kind not in _ELSEWHERE):
            return {**entry, "class_name": kind, "module": module}
        known = {"class_name": kind, "module": _module(kind), "registered_name": None}
        if kind == "Sequential":
            return known | {"config": self._sequential(config)}
        return known | {"config": self._functional(config) if kind in MODEL_CLASSES else self._layer(kind, config)}

    def _sequential(self, config: Json) -> Json:
        if isinstance(config, list):  # before Keras 2.2.3
            config = {"name": "sequential", "layers": config}
        layers = [self.entry(layer) for layer in config["layers"]]
        shape = _input_shape(config)
        if shape and not (layers and layers[0]["class_name"] == "InputLayer"):
            layers.insert(0, _input_layer(f"{config['name']}_input", shape))
        return {"name": layer_name(config["name"]), **_trainable(config), "layers": layers}

    def _functional(self, config: Json) -> Json:
        graph = Graph(config, layer_name)
        layers = []
        for entry in config["layers"]:
            name = entry.get("name") or entry["config"]["name"]
            if entry["class_name"] in OPERATIONS:
                layers.append(operation(entry, graph.calls(entry), layer_name(name), self._where))
            else:
                known = own_operation(entry) or self.entry(entry)
                layers.append({**known, "name": layer_name(name), "inbound_nodes": graph.nodes(entry)})
        ends = {name: graph.ends(config[name]) for name in ("input_layers", "output_layers")}
        return {"name": layer_name(config["name"]), **_trainable(config), "layers": layers, **ends}

    def _layer(self, kind: str, config: Mapping[str, Json]) -> Json:
        config = {_FIELDS.get((kind, field), field): value for field, value in config.items()}
        if kind == "InputLayer" and "batch_input_shape" in config:
            config["batch_shape"] = config["batch_input_shape"]
        known = _parameters(kind)
        found = {}
        for field, value in config.items():
            if field.endswith(_TRAINING) or field in _SHAPES:
                continue
            if known is None or field in known:
                found[field] = self._value(field, value, config)
            elif field not in _HOW and value not in _NEUTRAL:
                what = f"layer {config.get('name')!r}, a {kind}, has {field}={value!r}, which Keras 3 does not have"
                raise refused(self._where, what)
        return found

    def _value(self, field: str, value: Json, config: Mapping[str, Json]) -> Json:
        value = _plain(value)
        if field == "name":
            return layer_name(value)
        if field == "dtype":
            return _dtype(value)
        if field == "axis" and isinstance(value, list) and len(value) == 1:
            return value[0]
        if "activation" in field and isinstance(value, str) and value in self._changed:
            return dict(self._changed[value])
        if isinstance(value, list):
            return [self._value("", item, config) for item in value]
        if isinstance(value, dict) and value.get("class_name") == "function" and "activation" in field:
            return self._value(field, value["config"], config) if isinstance(value["config"], str) else value
        return self.entry(value) if isinstance(value, dict) and "class_name" in value else value


def _module(kind: str) -> str:
    if kind in MODEL_CLASSES:
        return "keras" if kind == "Sequential" else "keras.src.models.functional"
    return _ELSEWHERE.get(kind, "keras.layers")


def _parameters(kind: str) -> set[str] | None:
    """What Keras 3's class is configured with; None if it is not told."""
    layer = getattr(keras().layers, kind, None)
    if layer is None:
        return None
    parameters = inspect.signature(layer.__init__).parameters
    return {*parameters, *(_EVERY_LAYER if "kwargs" in parameters else ())}


def _trainable(config: Mapping[str, Json]) -> dict[str, Json]:
    return {"trainable": config["trainable"]} if isinstance(config.get("trainable"), bool) else {}


def _plain(value: Json) -> Json:
    """A value without the wrappers in which Keras 2 wrote tuples, shapes and arrays."""
    if not isinstance(value, dict):
        return value
    if value.get("class_name") in ("__tuple__", "TensorShape"):
        return value["items"]
    if value.get("class_name") == "__numpy__" and isinstance(value.get("config"), dict):
        return value["config"].get("value")
    return value["value"] if value.get("type") == "ndarray" else value


def _dtype(value: Json) -> Json:
    """The name of a data type or of a policy, in whose object Keras 2 wrote it."""
    if isinstance(value, dict) and value.get("class_name") in ("Policy", "PolicyV1", "DTypePolicy"):
        return value["config"]["name"]
    return value


def _input_shape(model: Json) -> Json:
    """Shape of what a ``Sequential`` takes, batch first, which Keras 2 wrote into its first layer."""
    config: Any = model
    while isinstance(config, dict) and config.get("layers"):
        if config.get("build_input_shape"):
            return _plain(config["build_input_shape"])
        config = config["layers"][0]["config"]
        if isinstance(config, list):
            config = {"layers": config}
        shape = config.get("batch_input_shape") or config.get("batch_shape")
        if shape:
            return _plain(shape)
    return None


def _input_layer(name: str, shape: Json) -> Json:
    config = {"name": layer_name(name), "batch_shape": shape, "dtype": "float32"}
    return {"class_name": "InputLayer", "module": "keras.layers", "registered_name": None, "config": config}
