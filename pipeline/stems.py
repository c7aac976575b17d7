"""What the units and outputs of a shard are named after."""

import re
from collections.abc import Sequence

from pipeline.readers import reader_for

_SLICE = re.compile(r"-\d{5}-of-\d{5}$")


def stem_of(path: str, format: str) -> str:
    """A shard's path without its format's suffix: what its units and outputs are named after."""
    return bare_of(path, reader_for(format).suffixes)


def bare_of(path: str, suffixes: Sequence[str]) -> str:
    """The path without its format's suffix; a name without one is kept whole (``x.tfrecord-00003-of-00010``)."""
    bare = path[:-3] if path.lower().endswith(".gz") else path
    for suffix in suffixes:
        if bare.lower().endswith(suffix) and not bare.lower().endswith("/" + suffix):
            return bare[: -len(suffix)]
    return bare


def unsliced(unit: str) -> str:
    """The stem that a unit's id begins with, where it is of a slice of a shard."""
    return _SLICE.sub("", unit)
