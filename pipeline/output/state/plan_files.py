"""The files of a plan: units as lines of JSON, and the list of units that the commit drops."""

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import google_crc32c

from lake.core import sealed_json
from lake.core.errors import VerifyError
from lake.core.records import ByteRange, Shard, Unit
from lake.inputs.units import input_bytes
from lake.storage import Guard, StoreOptions, configure, put, store_for
from pipeline.output.state.state_file import read_state_file
from pipeline.output.state.state_values import Rule, check_fields, list_of, natural, optional, relative, truth, utf8

_SHARDS = ("shards", "clean", "companions")
_CLEAN_RULES: Mapping[str, Rule] = {"uri": utf8, "path": utf8, "size": natural, "identity": utf8}
_SHARD_RULES: Mapping[str, Rule] = {**_CLEAN_RULES, "path": relative}  # outputs are named after it
_RANGE_RULES: Mapping[str, Rule] = {"begin": natural, "end": optional(natural), "index": utf8}
_UNIT_RULES: Mapping[str, Rule] = {
    "id": relative,
    "format": utf8,
    "shards": list_of(lambda value: check_fields(value, _SHARD_RULES, whole=True)),
    "start": natural,
    "stop": optional(natural),
    "byte_range": optional(lambda value: check_fields(value, _RANGE_RULES, whole=True)),
    "clean": list_of(lambda value: check_fields(value, _CLEAN_RULES, whole=True)),
    "companions": list_of(lambda value: check_fields(value, _SHARD_RULES, whole=True)),
    "expected": optional(natural),
    "retry_rejects": truth,
}
# A plan of an earlier version does not have them.
_LATER_RULES: Mapping[str, Rule] = {"rows": optional(natural), "retried": utf8}


def unit_line(unit: Unit) -> bytes:
    """Encode a unit as one line: the CRC-32C of a JSON text as eight hexadecimal digits, a space, and the text.

    >>> unit_line(Unit(id="a", format="parquet", shards=()))[8:31]
    b' {"id": "a", "format": '
    """
    value: dict[str, Any] = {field.name: getattr(unit, field.name) for field in fields(unit)}
    value |= {name: [_plain(shard) for shard in value[name]] for name in _SHARDS}
    value["byte_range"] = unit.byte_range and asdict(unit.byte_range)
    text = json.dumps(value).encode()
    return b"%08x %b\n" % (google_crc32c.value(text), text)


def _plain(shard: Shard) -> dict[str, Any]:
    return {"uri": shard.uri, "path": shard.path, "size": shard.size, "identity": shard.identity}


def write_obsolete(uri: str, units: Sequence[str], guard: Guard | None = None) -> None:
    """Write the list of units that the commit drops.

    Args:
      uri: URI of the list.
      units: ids of the units.
      guard: the right to write it.
    """
    put(uri, sealed_json.dumps({"units": units}), guard)


def read_obsolete(uri: str) -> frozenset[str]:
    """Read the list of units that the commit drops.

    Args:
      uri: URI of the list; "" for none.

    Returns:
      Ids of the units. Empty if the list is gone: an earlier attempt of this commit has cleaned it up.

    Raises:
      VerifyError: the list is damaged.
    """
    if not uri or store_for(uri).stat(uri) is None:
        return frozenset()
    return frozenset(read_state_file(uri, {"units": list_of(relative)})["units"])


def write_lines(uri: str, lines: Iterable[bytes], guard: Guard | None = None) -> None:
    """Write one file of a plan.

    Args:
      uri: URI of the file.
      lines: of its units, as of ``unit_line``.
      guard: the right to write it.
    """
    with store_for(uri).create(uri, guard) as sink:
        for line in lines:
            sink.write(line)


def read_units(part: str, stores: StoreOptions) -> Iterator[bytes]:
    """Return the units of one file of a plan, each a compressed JSON text.

    Args:
      part: URI of the file.
      stores: how to reach the stores; the process may be a new one.

    Raises:
      VerifyError: a line does not have its checksum, or is of no unit.
    """
    configure(stores)
    # The engine shuffles units between workers, and a group of small files has a thousand names.
    return (zlib.compress(text, 1) for text in _texts(part))


def read_sizes(part: str) -> dict[str, int]:
    """Return the units of one file of a plan with the bytes of their input.

    Args:
      part: URI of the file.

    Raises:
      VerifyError: as of ``read_units``.
    """
    return {unit.id: input_bytes(unit) for unit in map(_unit, _texts(part))}


def _texts(part: str) -> Iterator[bytes]:
    """Yield the checked JSON texts of a file's units."""
    with store_for(part).open(part) as file:
        for line in file:
            check, _, text = line.rstrip(b"\n").partition(b" ")
            if check != b"%08x" % google_crc32c.value(text):
                raise VerifyError(f"{part}: the plan was damaged on its way; run the job again")
            _check(text, part)
            yield text


def _check(text: bytes, part: str) -> None:
    """Check a unit's values: outputs are named after its id and the paths of its shards."""
    try:
        value = json.loads(text)
        check_fields(value, _UNIT_RULES, whole=True)
        check_fields(value, _LATER_RULES)
    except (ValueError, RecursionError) as error:
        raise VerifyError(f"{part}: the plan is damaged ({error}); remove it and run the job again") from error


def unpack_unit(data: bytes) -> Unit:
    """Decode a unit that ``read_units`` yielded."""
    return _unit(zlib.decompress(data))


def _unit(text: bytes) -> Unit:
    value = json.loads(text)
    shards = {name: tuple(Shard(**shard) for shard in value[name]) for name in _SHARDS}
    return Unit(**{**value, **shards, "byte_range": value["byte_range"] and ByteRange(**value["byte_range"])})
