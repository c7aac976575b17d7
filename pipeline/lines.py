"""Units as lines of a plan's parts, and as what travels from one step of the pipeline to the next."""

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import google_crc32c

from pipeline import checked
from pipeline.errors import LatentlakeError
from pipeline.records import Shard, Unit
from pipeline.storage import StoreOptions, configure, put, store_for

_SHARDS = ("shards", "clean")


def as_line(unit: Unit) -> bytes:
    """One line: the CRC-32C of a JSON text as eight hexadecimal digits, and the text."""
    value: dict[str, Any] = {field.name: getattr(unit, field.name) for field in fields(unit)}
    value |= {name: [_plain(shard) for shard in value[name]] for name in _SHARDS}
    text = json.dumps(value).encode()
    return b"%08x %b\n" % (google_crc32c.value(text), text)


def _plain(shard: Shard) -> dict[str, Any]:
    return {"uri": shard.uri, "path": shard.path, "size": shard.size, "identity": shard.identity}


def write_obsolete(uri: str, units: Sequence[str]) -> None:
    """Keep the ids of units that the commit drops."""
    put(uri, checked.dumps({"units": units}))


def read_obsolete(uri: str) -> frozenset[str]:
    """What ``write_obsolete`` kept; nothing where ``uri`` is empty, or where a commit has been here and swept it.

    Raises:
      VerifyError: it is not what was written.
    """
    if not uri or store_for(uri).stat(uri) is None:
        return frozenset()
    with store_for(uri).open(uri) as file:
        return frozenset(checked.loads(file.read(), uri)["units"])


def packed_units(part: str, stores: StoreOptions) -> Iterator[bytes]:
    """The units of one part of a plan, compressed: a group of small files has a thousand names.

    Args:
      part: URI of the part.
      stores: how this process, which may be a new one, is to reach it.

    Raises:
      LatentlakeError: a line is not what was written.
    """
    configure(stores)
    with store_for(part).open(part) as file:
        for line in file:
            check, _, text = line.rstrip(b"\n").partition(b" ")
            if check != b"%08x" % google_crc32c.value(text):
                raise LatentlakeError(f"{part}: the plan was damaged on its way; run the job again")
            yield zlib.compress(text, 1)


def unpacked(data: bytes) -> Unit:
    """The unit again."""
    value = json.loads(zlib.decompress(data))
    return Unit(**{**value, **{name: tuple(Shard(**shard) for shard in value[name]) for name in _SHARDS}})
