"""Choose the features that a job reads, by the selection or by their usual names in the first records of a shard."""

import re
from collections.abc import Mapping, Sequence

from lake.core.errors import InputError, NoColumnError
from lake.core.records import Shard
from lake.formats.common.image_names import check_one_image
from lake.formats.reader import ColumnSelection
from lake.formats.tfrecord.first_records import TYPES, Seen
from lake.formats.tfrecord.ragged import BYTES, FLOAT, INT64
from lake.formats.tfrecord.raw import Features, raw_images

_IMAGES = ("image/encoded", "image", "image_raw", "image/raw", "img", "jpeg", "jpg", "png", "image_bytes")
_VECTORS = ("features", "vector", "embedding", "x")
_KEYS = ("image/filename", "image/key", "image/source_id", "key", "__key__", "filename", "file_name", "image_id", "id")
_LABEL = re.compile(r"(^|/)(labels?|class|class/(label|text))$", re.IGNORECASE)


def image_feature(
    shard: Shard, records: Sequence[Features], seen: Mapping[str, Seen], selection: ColumnSelection
) -> str:
    """The feature of images, or of vectors if the selection is numeric.

    Args:
      shard: for errors.
      records: its first ones.
      seen: their features.
      selection: what the user and the model ask for.

    Raises:
      InputError: the requested feature is missing, ambiguous or of the wrong kind, or none can be chosen.
    """
    said = selection.image_shape, selection.image_dtype
    raw = [n for n in seen if not selection.numeric and raw_images(n, [r for r in records if n in r], *said)]
    kinds = (FLOAT, INT64) if selection.numeric else (BYTES,)
    if selection.image is not None:
        image = selection.image if selection.image in raw else _asked(shard, seen, selection.image, kinds, "--image")
    else:
        image = _usual_image(shard, seen, kinds, raw, selection)
    if image in raw and selection.whole:
        raise InputError(f"{shard.path}: feature {image!r} holds bare pixels; choose another --output-format for files")
    return image


def _usual_image(
    shard: Shard, seen: Mapping[str, Seen], kinds: Sequence[str], raw: Sequence[str], selection: ColumnSelection
) -> str:
    usual = [
        name
        for name in (_VECTORS if selection.numeric else _IMAGES)
        if name in seen and (seen[name].kind in kinds or name in raw)
    ]
    floats = [name for name in seen if seen[name].kind == FLOAT] if selection.numeric else []
    check_one_image(shard, usual)
    if usual or len(floats) == 1:
        return (usual or floats)[0]
    what = "vector of numbers" if selection.numeric else "encoded image"
    raise InputError(f"{shard.path}: which feature is the {what}? There are {_names(seen)}; set --image")


def vector_length(shard: Shard, seen: Mapping[str, Seen], image: str, selection: ColumnSelection) -> int:
    """Numbers in a vector.

    Args:
      shard: for errors.
      seen: features of its first records.
      image: the feature of vectors.
      selection: what the user and the model ask for.

    Raises:
      InputError: the model takes vectors of another length.
    """
    counts = seen[image].counts
    if selection.length not in (None, *counts):
        raise InputError(
            f"{shard.path}: feature {image!r} holds {counts[0]} numbers, and the model takes vectors of"
            f" {selection.length}; there are {_names(seen)}; set --image to another"
        )
    return selection.length or counts[0]


def key_feature(shard: Shard, seen: Mapping[str, Seen], selection: ColumnSelection) -> str | None:
    """The feature of keys; None for record numbers. Arguments and errors are as of ``carried_features``."""
    if selection.key is not None:
        return _asked(shard, seen, selection.key, (BYTES,), "--key")
    return next((name for name in _KEYS if name in seen and seen[name].kind == BYTES), None)


def carried_features(shard: Shard, seen: Mapping[str, Seen], selection: ColumnSelection) -> list[str]:
    """The features that are carried.

    Args:
      shard: for errors.
      seen: features of its first records.
      selection: what the user and the model ask for.

    Raises:
      InputError: a requested feature is missing, or of a kind that does not fit.
    """
    if selection.carry is None:
        return [name for name in seen if _LABEL.search(name)]
    return [_asked(shard, seen, name, tuple(TYPES), "--carry") for name in dict.fromkeys(selection.carry)]


def _asked(shard: Shard, seen: Mapping[str, Seen], name: str, kinds: Sequence[str], option: str) -> str:
    if name not in seen:
        text = f"{shard.path}: no feature {name!r}, there are {_names(seen)}; set {option} to one of them"
        raise NoColumnError(text, option.removeprefix("--"), name)
    if seen[name].kind not in kinds:
        raise InputError(
            f"{shard.path}: feature {name!r} holds {seen[name].kind} values, and {option} needs {' or '.join(kinds)};"
            f" there are {_names(seen)}"
        )
    return name


def _names(seen: Mapping[str, Seen]) -> str:
    return ", ".join(f"{name} ({this.kind})" for name, this in sorted(seen.items()))
