"""How the layers of a functional model are connected: the lists of Keras 2, as the nodes of Keras 3."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from model.keras.audit import MODEL_CLASSES
from model.spec import Json

_CONSTANT = "_CONSTANT_VALUE"
_RECURRENT = {"Bidirectional", "GRU", "LSTM", "RNN", "SimpleRNN"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a layer: its first argument, which may be a list or dictionary, and those by name.

    Tensors in them are as Keras 3 writes them.
    """

    first: Json
    named: dict[str, Json] = field(default_factory=dict)


class Graph:
    """The connections of one functional model.

    Keras 2 counts the calls of a model within the model from 1, because it called it once when it was made; Keras 3
    does so for some classes and in some places.

    Args:
      config: of the functional model.
      rename: name of a layer in Keras 3, of that in Keras 2.
    """

    def __init__(self, config: Json, rename: Callable[[str], str]) -> None:
        self._rename = rename
        self._kinds = {_name(entry): str(entry["class_name"]) for entry in config["layers"]}
        self._first = self._first_calls(config)

    def nodes(self, entry: Json) -> list[Json]:
        """``inbound_nodes`` of a layer for Keras 3; nodes that are of Keras 3 stay."""
        nodes = entry["inbound_nodes"]
        if any(isinstance(node, dict) and "args" in node for node in nodes):
            return list(nodes)
        calls = self.calls(entry)
        if entry["class_name"] in _RECURRENT:
            calls = [_with_state(call) for call in calls]
        return [{"args": [call.first], "kwargs": call.named} for call in calls]

    def calls(self, entry: Json) -> list[Call]:
        """The calls of a layer."""
        return [self._call(node) for node in entry["inbound_nodes"]]

    def ends(self, ends: Json) -> Json:
        """``input_layers`` or ``output_layers``; a list of one is that one."""
        if self._is_tensor(ends):
            name, call, tensor = ends[:3]
            kept = int(self._kinds[name] in MODEL_CLASSES - {"Sequential"})
            return [self._rename(name), call - self._first[name] + kept, tensor]
        if isinstance(ends, dict):
            return {name: self.ends(end) for name, end in ends.items()}
        return self.ends(ends[0]) if len(ends) == 1 else [self.ends(end) for end in ends]

    def _call(self, node: Json) -> Call:
        named: dict[str, Json] = {}
        first = self._argument(node, named)
        if isinstance(first, list) and len(first) == 1:
            (first,) = first
        return Call(first=first, named={name: self._named(value) for name, value in named.items()})

    def _argument(self, value: Json, named: dict[str, Json]) -> Json:
        """An item of a node: ``[layer, call, tensor, arguments by name]``, or lists or dictionaries of such."""
        if isinstance(value, list) and len(value) == 4 and value[0] == _CONSTANT:
            named |= value[3]
            return value[2]
        if self._is_tensor(value):
            named |= value[3] if len(value) == 4 else {}
            return self._tensor(value)
        if isinstance(value, dict):
            return {name: self._argument(item, named) for name, item in value.items()}
        return [self._argument(item, named) for item in value]

    def _named(self, value: Json) -> Json:
        if self._is_tensor(value):
            return self._tensor(value)
        return [self._named(item) for item in value] if isinstance(value, list) else value

    def _tensor(self, value: Json) -> Json:
        name, call, tensor = value[:3]
        history = [self._rename(name), call - self._first[name], tensor]
        # Keras looks the tensor up, so that its shape here means nothing.
        config = {"shape": [None], "dtype": "float32", "keras_history": history}
        return {"class_name": "__keras_tensor__", "config": config}

    def _is_tensor(self, value: Json) -> bool:
        known = isinstance(value, list) and len(value) in (3, 4) and isinstance(value[0], str)
        return bool(known and value[0] in self._kinds and all(type(item) is int for item in value[1:3]))

    def _first_calls(self, config: Json) -> dict[str, int]:
        """The number from which each layer's calls are counted: 1 if the last is named by how many there are."""
        last = defaultdict[str, int](int)
        values = [*(entry["inbound_nodes"] for entry in config["layers"]), config["input_layers"]]
        for name, call in self._named_calls([*values, config["output_layers"]]):
            last[name] = max(last[name], call)
        calls = {_name(entry): max(1, len(entry["inbound_nodes"])) for entry in config["layers"]}
        return {name: int(last[name] >= count) for name, count in calls.items()}

    def _named_calls(self, value: Json) -> Iterator[tuple[str, int]]:
        waiting = [value]
        while waiting:
            item = waiting.pop()
            if self._is_tensor(item):
                yield item[0], item[1]
                waiting += item[3:]
            elif isinstance(item, (list, dict)):
                waiting += item.values() if isinstance(item, dict) else item


def _with_state(call: Call) -> Call:
    """The call of a recurrent layer, whose initial states Keras 2 wrote behind its input, in one list."""
    named = {name: value for name, value in call.named.items() if value is not None}
    if not isinstance(call.first, list):
        return Call(first=call.first, named=named)
    first, *states = call.first
    return Call(first=first, named={**named, "initial_state": states})


def _name(entry: Json) -> str:
    return str(entry.get("name") or entry["config"]["name"])
