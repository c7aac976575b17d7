"""Values as YAML that people read, in a form that every parser of YAML 1.1 and 1.2 takes alike."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Words that are themselves in both versions: letters and digits, but no number, truth or null.
_PLAIN = re.compile(r"(?!(?:true|false|null|yes|no|on|off|y|n)$)[a-z][a-z0-9_]*", re.IGNORECASE)


def to_yaml(value: Mapping[str, Any]) -> str:
    r"""Return a mapping as lines of YAML.

    Args:
      value: of strings, numbers, mappings and sequences. Texts may be of other people.

    >>> print(to_yaml({"features": [{"name": "no", "list": "float32", "length": 8}], "splits": []}), end="")
    features:
    - name: "no"
      list: float32
      length: 8
    splits: []
    """
    return "".join(f"{line}\n" for line in _mapping(value))


def _mapping(value: Mapping[str, Any]) -> Iterator[str]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield f"{_scalar(key)}:"
            yield from (f"  {line}" for line in _mapping(item))
        elif isinstance(item, Sequence) and not isinstance(item, str) and item:
            yield f"{_scalar(key)}:"
            yield from _sequence(item)
        else:
            yield f"{_scalar(key)}: {_scalar(item)}"


def _sequence(items: Sequence[Any]) -> Iterator[str]:
    for item in items:
        lines = _mapping(item) if isinstance(item, Mapping) else [_scalar(item)]
        yield from (f"{'- ' if first == 0 else '  '}{line}" for first, line in enumerate(lines))


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    # JSON is YAML, but for pairs of surrogates, and for characters that YAML does not allow to stand as they are.
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in text)
