"""TensorFlow functions within a functional model of Keras 2, as the operations of Keras 3 that compute the same.

Keras 2 wrote ``x / 255`` on its tensors as a layer ``TFOpLambda`` with the function's name, and ``x[..., ::-1]`` as
``SlicingOpLambda``. Those here map to one operation exactly; every other one is refused by its name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

from model.keras.archive import refused
from model.keras.legacy.graph import Call
from model.spec import Json

OPERATIONS = {"TFOpLambda", "SlicingOpLambda"}

_NUMPY, _NN, _CORE = "keras.src.ops.numpy", "keras.src.ops.nn", "keras.src.ops.core"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operation:
    """What a function is in Keras 3.

    Attributes:
      module, kind: the operation.
      arguments: names of the arguments of the function that are arguments of the operation's call, after the first.
      settings: argument of the function -> that of the operation's configuration.
      fixed: the rest of the configuration.
    """

    module: str
    kind: str
    arguments: Sequence[str] = ()
    settings: Mapping[str, str] | None = None
    fixed: Mapping[str, Json] | None = None


def _two(kind: str) -> _Operation:
    return _Operation(module=_NUMPY, kind=kind, arguments=("y",))


def _one(kind: str, module: str = _NUMPY, **settings: str) -> _Operation:
    return _Operation(module=module, kind=kind, settings=settings)


def _over(kind: str) -> _Operation:
    return _one(kind, axis="axis", keepdims="keepdims")


_FUNCTIONS = {
    "math.add": _two("Add"),
    "math.subtract": _two("Subtract"),
    "math.multiply": _two("Multiply"),
    "math.divide": _two("Divide"),
    "math.truediv": _two("Divide"),
    "math.pow": _two("Power"),
    "math.maximum": _two("Maximum"),
    "math.minimum": _two("Minimum"),
    "math.square": _one("Square"),
    "math.sqrt": _one("Sqrt"),
    "math.exp": _one("Exp"),
    "math.log": _one("Log"),
    "math.abs": _one("Absolute"),
    "math.negative": _one("Negative"),
    "math.tanh": _one("Tanh"),
    "math.sigmoid": _one("Sigmoid", _NN),
    "math.softplus": _one("Softplus", _NN),
    "math.reduce_mean": _over("Mean"),
    "math.reduce_sum": _over("Sum"),
    "math.reduce_max": _over("Max"),
    "math.reduce_min": _over("Min"),
    "nn.relu": _one("Relu", _NN),
    "nn.relu6": _one("Relu6", _NN),
    "nn.selu": _one("Selu", _NN),
    "nn.elu": _one("Elu", _NN),
    "nn.softmax": _one("Softmax", _NN, axis="axis"),
    "nn.gelu": _Operation(
        module=_NN, kind="Gelu", settings={"approximate": "approximate"}, fixed={"approximate": False}
    ),
    "nn.leaky_relu": _Operation(
        module=_NN, kind="LeakyRelu", settings={"alpha": "negative_slope"}, fixed={"negative_slope": 0.2}
    ),
    "reshape": _one("Reshape", shape="newshape"),
    "concat": _one("Concatenate", axis="axis"),
    "stack": _one("Stack", axis="axis"),
    "expand_dims": _one("ExpandDims", axis="axis"),
    "squeeze": _one("Squeeze", axis="axis"),
    "transpose": _one("Transpose", perm="axes"),
    "clip_by_value": _one("Clip", clip_value_min="x_min", clip_value_max="x_max"),
    "cast": _one("Cast", _CORE, dtype="dtype"),
}
_ALIASES = {
    **{f"__operators__.{name}": f"math.{name}" for name in ("add", "subtract", "multiply", "divide", "truediv", "pow")},
    "nn.sigmoid": "math.sigmoid",
    "nn.tanh": "math.tanh",
    "nn.softplus": "math.softplus",
    "identity": "identity",
}
_REMEDY = "write this step with one of Keras' layers (Rescaling, Reshape, Concatenate, …), and save the model again"


def operation(entry: Json, calls: Sequence[Call], name: str, where: str) -> Json:
    """Return a layer of a TensorFlow function as an operation of Keras 3.

    Args:
      entry: of the functional model's configuration, with one of the classes ``OPERATIONS``.
      calls: how it is called.
      name: of the operation.
      where: name of the file, for messages.

    Raises:
      BundleError: the function, or an argument of it, is not one that has an operation of the same arithmetic.
    """
    function = str(entry["config"]["function"])
    refuse = _refusal(entry, function, where)
    if entry["class_name"] == "SlicingOpLambda":
        kind, module, config = "GetItem", _NUMPY, dict[str, Json]()
        nodes = [_node(call.first, [_key(call, refuse)]) for call in calls]
    else:
        known = _FUNCTIONS.get(_ALIASES.get(function, function))
        if known is None:
            raise refuse("")
        kind, module = known.kind, known.module
        found = [_arguments(known, call, refuse) for call in calls]
        if any(other[1] != found[0][1] for other in found):
            raise refuse(", called in several ways")
        nodes, config = [node for node, _ in found], found[0][1] if found else {}
    names = {"name": name, "registered_name": kind, "class_name": kind, "module": module}
    return {**names, "config": {**config, "name": name}, "inbound_nodes": nodes}


def own_operation(entry: Json) -> Json | None:
    """Return an operation that Keras 3 wrote to an HDF5 file, where it leaves the module out; None for a layer.

    Args:
      entry: of the functional model's configuration.
    """
    config, kind = entry["config"], str(entry["class_name"])
    # Every layer has these; an operation of a layer's name, such as Add, has not.
    if entry.get("module") is not None or not isinstance(config, dict) or {"dtype", "layers"} & set(config):
        return None
    for module in (_NUMPY, _NN, _CORE, "keras.src.ops.math", "keras.src.ops.image"):
        if hasattr(import_module(module), kind):
            return {"module": module, "class_name": kind, "config": config, "registered_name": kind}
    return None


_Refuse = Callable[[str], Exception]


def _refusal(entry: Json, function: str, where: str) -> _Refuse:
    name = entry["config"].get("name")

    def refuse(more: str) -> Exception:
        what = f"{name!r} is a {entry['class_name']} of the TensorFlow function {function!r}{more}"
        return refused(where, f"{what}, which is no arithmetic operation that is known", _REMEDY)

    return refuse


def _node(first: Json, rest: Sequence[Json]) -> Json:
    return {"args": [first, *rest], "kwargs": {}}


def _arguments(known: _Operation, call: Call, refuse: _Refuse) -> tuple[Json, dict[str, Json]]:
    """The node of a call, and the operation's configuration."""
    named = {name: value for name, value in call.named.items() if name != "name" and value is not None}
    settings, config = known.settings or {}, dict(known.fixed or {})
    rest = [named.pop(name) for name in known.arguments if name in named]
    if len(rest) != len(known.arguments):
        raise refuse(" without its second argument")
    for name, value in named.items():
        if name not in settings or not _is_constant(value):
            raise refuse(f" with {name}={value!r}")
        config[settings[name]] = value
    return _node(call.first, rest), config


def _is_constant(value: Json) -> bool:
    if isinstance(value, list):
        return all(map(_is_constant, value))
    return isinstance(value, (int, float, str))


def _key(call: Call, refuse: _Refuse) -> Json:
    """What stands in the brackets."""
    spec = call.named.get("slice_spec")
    if set(call.named) - {"slice_spec"} or not isinstance(spec, list):
        raise refuse(" with something else than numbers in brackets")
    return [_position(item, refuse) for item in spec]


def _position(item: Json, refuse: _Refuse) -> Json:
    if item is None or type(item) is int:
        return item
    if isinstance(item, dict) and item.get("class_name") == "__ellipsis__":
        return {"class_name": "__ellipsis__", "config": {}}
    if isinstance(item, dict) and set(item) == {"start", "stop", "step"}:
        parts = [item["start"], item["stop"], item["step"]]
        if all(part is None or type(part) is int for part in parts):
            return {"class_name": "__slice__", "config": dict(zip(("start", "stop", "step"), parts, strict=True))}
    raise refuse(" with something else than numbers in brackets")
