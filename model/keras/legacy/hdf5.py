"""An HDF5 file that is not trusted: its model's configuration, and the arrays of each layer."""

import re
from typing import Any

from lake.core.errors import BundleError
from model.file_kind import FILE_KINDS, refusal
from model.keras.archive import parse_json, refused
from model.spec import Json

_MAX_CONFIG = 16 << 20
_MAX_NAMES = 1 << 20  # bytes of an attribute with the names of layers or weights, which HDF5 limits to 64 KB
_PARTS = 1000  # attributes that one list of names may be spread over
_VERSION = re.compile(r"[0-9A-Za-z.+_-]{1,40}")


def read_architecture(file: Any, where: str) -> Json:
    """The configuration of the model in a file.

    Args:
      file: an ``h5py.File`` whose links and arrays were checked.
      where: name of the file, for messages.

    Raises:
      BundleError: the file has none, or it is not JSON.
    """
    text = _text(file, "model_config", where)
    if text is None:
        kind = "hdf5-weights" if _has_weights(file) else "hdf5-data"
        raise BundleError(refusal(FILE_KINDS[kind], where))
    return parse_json(text, "its configuration", where)


def keras_version(file: Any, where: str) -> str:
    """The version of Keras that wrote a file, or 'unknown'."""
    return known_version(_text(file, "keras_version", where))


def known_version(text: Json) -> str:
    """A version as a file states it, or 'unknown'.

    >>> known_version("2.8.0"), known_version(["2.8.0"])
    ('2.8.0', 'unknown')
    """
    return text if isinstance(text, str) and _VERSION.fullmatch(text) else "unknown"


def names(group: Any, attribute: str, where: str) -> list[str]:
    """A list of names in an attribute, which Keras spreads over several where it is long.

    Raises:
      BundleError: it is no list of texts.
    """
    if attribute in group.attrs:
        return _names(group, attribute, where)
    found: list[str] = []
    for part in range(_PARTS):
        if f"{attribute}{part}" not in group.attrs:
            break
        found += _names(group, f"{attribute}{part}", where)
    return found


def _names(group: Any, attribute: str, where: str) -> list[str]:
    import h5py

    kept = group.attrs.get_id(attribute)
    if kept.shape is None or 0 in kept.shape:
        return []
    known = h5py.check_string_dtype(kept.dtype)
    if known is None or len(kept.shape) != 1 or kept.shape[0] * (known.length or 16) > _MAX_NAMES:
        raise refused(where, f"the attribute {attribute!r} of {group.name!r} is no list of names")
    return list(map(_decoded, group.attrs[attribute].tolist()))


def _text(file: Any, attribute: str, where: str) -> str | None:
    """One text in an attribute; HDF5 says the length of one of any length only by reading it, in a part of the file."""
    import h5py

    if attribute not in file.attrs:
        return None
    kept = file.attrs.get_id(attribute)
    known = h5py.check_string_dtype(kept.dtype)
    if known is None or kept.shape != () or (known.length or 0) > _MAX_CONFIG:
        raise refused(where, f"the attribute {attribute!r} is no text")
    return _decoded(file.attrs[attribute])


def _decoded(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _has_weights(file: Any) -> bool:
    keras_3 = {"layers", "_layer_checkpoint_dependencies"} & set(file)
    return bool(keras_3) or "layer_names" in file.attrs or "layer_names0" in file.attrs
