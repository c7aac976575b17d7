"""The parts of a large manifest: ranges of units in the order of their ids, each a Parquet file, and a root over them.

A part ends after a unit whose id has a certain checksum, so equal states have equal parts whatever came before them,
and a unit that comes, changes or goes changes its own part, and rarely one more (``docs/decisions/0042-manifest.md``).
"""

import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from io import BytesIO
from itertools import pairwise
from typing import Any

import google_crc32c
import pyarrow as pa
import pyarrow.compute as pc

from lake.formats.common.parquet_file import read_table
from lake.storage import Guard, put
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest_rows import encode_rows, encode_table, parse_rows
from pipeline.output.state.state_values import Rule, check_fields, data_name, mapping_of, natural, relative, utf8
from pipeline.output.units.receipts import Receipt, sum_counts

PART_UNITS = 1 << 15  # units of a part; a manifest of no more is one file
_ENDS = 1 << 14  # one unit in so many, chosen by the checksum of its id, ends a part
_PARTS = b"latentlake.parts"  # key in the footer of a root: the number of rows


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestPart:
    """One part of a manifest, as its root knows it.

    Attributes:
      name: of its file, after the SHA-256 of its bytes.
      last: id of its last unit.
      units: number of units.
      size: bytes of the file.
      crc32c: of its bytes.
      prints: hash of its units' ids and fingerprints; see ``Prints``.
      read: number of records of its units.
      results: number of results.
      rejects: reason -> number of rejected records.
      output_bytes: size of the files of its units.
    """

    name: str
    last: str
    units: int
    size: int
    crc32c: str
    prints: str
    read: int
    results: int
    rejects: Mapping[str, int]
    output_bytes: int


_NAME = re.compile(r"_manifest/[0-9a-f]{32}\.parquet")


def _part_name(value: object) -> None:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("it is no name of a part")


_RULES: dict[str, Rule] = {
    "name": _part_name,
    "last": relative,
    "crc32c": utf8,
    "prints": utf8,
    **dict.fromkeys(("units", "size", "read", "results", "output_bytes"), natural),
    "rejects": mapping_of(natural),
}
_TYPES = dict.fromkeys(("name", "last", "crc32c", "prints"), pa.string())
_TYPES["rejects"] = pa.map_(pa.string(), pa.int64())
_FACTS = ("last", "units", "prints", "read", "results", "rejects", "output_bytes")
_ROOT = pa.schema(
    [*((each.name, _TYPES.get(each.name, pa.int64())) for each in fields(ManifestPart)), ("check", pa.string())]
)


class Prints:
    """A hash of units and their fingerprints in any order: a plan that has the same changes nothing of them.

    It is the sum of their SHA-256, modulo 2**256.

    >>> one, other = Prints(), Prints()
    >>> one.add("a", "c0ffee"), one.add("b", "beef"), other.add("b", "beef"), other.add("a", "c0ffee")
    (None, None, None, None)
    >>> one.digest() == other.digest(), one.units
    (True, 2)
    """

    def __init__(self) -> None:
        self.units, self._sum = 0, 0

    def add(self, unit: str, fingerprint: str) -> None:
        """Add a unit."""
        self.units += 1
        self._sum += int.from_bytes(hashlib.sha256(f"{unit}\n{fingerprint}".encode()).digest())

    def digest(self) -> str:
        """The hash of all units so far, as 64 hexadecimal digits."""
        return f"{self._sum % (1 << 256):064x}"


def ends_part(unit: str) -> bool:
    """Whether a part ends with a unit of this id."""
    return zlib.crc32(unit.encode()) % _ENDS == 0


def write_manifest_part(
    layout: Layout, receipts: Sequence[Receipt], committed: frozenset[str], guard: Guard | None
) -> ManifestPart:
    """Write a part, unless the committed manifest has it.

    Args:
      layout: the output.
      receipts: of its units, sorted.
      committed: names of the parts that the manifest has.
      guard: the right to write it.
    """
    data = encode_rows(receipts)
    # Named after its bytes: a part is never changed, and a manifest that names it says which bytes it means.
    name = f"_manifest/{hashlib.sha256(data).hexdigest()[:32]}.parquet"
    if name not in committed:
        # What a dead run has left under this name is written again, since its own request to delete it may be on its
        # way. Until a root names it, a part says nothing, so it needs not be staged where there is none.
        put(layout.at(name), data, guard)
    return ManifestPart(name=name, size=len(data), crc32c=checksum_of(data), **_facts(receipts))


def parse_part(data: bytes, part: ManifestPart) -> list[Receipt]:
    """Parse the bytes of a part.

    Raises:
      ValueError, TypeError, KeyError, pa.ArrowException, OSError: they are not those that the root names.
    """
    receipts = parse_rows(_table(data, part))
    if _facts(receipts) != {name: getattr(part, name) for name in _FACTS}:
        raise ValueError("its units are not those that the root counts")
    return receipts


def parse_names(data: bytes, part: ManifestPart) -> Sequence[str]:
    """Parse the names of the files of a part's units, without the time that their receipts take.

    Raises:
      ValueError, TypeError, KeyError, pa.ArrowException, OSError: as of ``parse_part``.
    """
    outputs = pc.list_flatten(_table(data, part, ["outputs"]).column("outputs"))
    names: list[str] = pc.struct_field(outputs, "name").to_pylist()
    for name in names:
        data_name(name)
    return names


def _table(data: bytes, part: ManifestPart, columns: Sequence[str] | None = None) -> pa.Table:
    if (len(data), checksum_of(data)) != (part.size, part.crc32c):
        raise ValueError("its bytes are not those that were written")
    return read_table(BytesIO(data), columns)


def encode_root(parts: Sequence[ManifestPart]) -> bytes:
    """Write the root of some parts as a Parquet file."""
    rows = [{**value, "rejects": [*value["rejects"].items()], "check": _check(value)} for value in map(_value, parts)]
    return encode_table(pa.Table.from_pylist(rows, _ROOT.with_metadata({_PARTS: str(len(rows))})))


def is_root(table: pa.Table) -> bool:
    """Whether a manifest is a root, and not the rows themselves."""
    return bool(table.schema.names == _ROOT.names)


def parse_root(table: pa.Table) -> tuple[ManifestPart, ...]:
    """Parse what ``encode_root`` wrote.

    Raises:
      ValueError, TypeError, KeyError: it is not.
    """
    if table.num_rows != int(table.schema.metadata[_PARTS]):
        raise ValueError("its footer is not the one that was written")
    parts = tuple(map(_parse_part, table.to_pylist()))
    if any(one.last >= other.last for one, other in pairwise(parts)):
        raise ValueError("its parts are not in order")
    return parts


def sum_parts(parts: Sequence[ManifestPart]) -> dict[str, Any]:
    """Sum the counts of some parts, as ``sum_counts`` does those of units."""
    reasons = Counter[str]()
    for part in parts:
        reasons.update(part.rejects)
    sums = {name: sum(getattr(part, name) for part in parts) for name in ("read", "results", "output_bytes")}
    return {**sums, "rejects": reasons.total(), "reasons": dict(reasons.most_common())}


def _parse_part(row: dict[str, Any]) -> ManifestPart:
    value = {**row, "rejects": dict(row["rejects"])}
    check = value.pop("check")
    check_fields(value, _RULES, whole=True)
    if check != _check(value):
        raise ValueError(f"the row of part {value['name']} is not the one that was written")
    return ManifestPart(**value)


def _facts(receipts: Sequence[Receipt]) -> dict[str, Any]:
    """What a root says of the units of a part."""
    prints = Prints()
    for receipt in receipts:
        prints.add(receipt.unit, receipt.fingerprint)
    counts = sum_counts(receipts)
    facts = {"read": counts["read"], "results": counts["results"], "output_bytes": counts["output_bytes"]}
    facts |= {"last": receipts[-1].unit, "units": len(receipts), "prints": prints.digest()}
    return {**facts, "rejects": dict(sorted(counts["reasons"].items()))}


def _value(part: ManifestPart) -> dict[str, Any]:
    return {each.name: getattr(part, each.name) for each in fields(ManifestPart)}


def _check(value: Mapping[str, Any]) -> str:
    return checksum_of(json.dumps(value, sort_keys=True).encode())


def checksum_of(data: bytes) -> str:
    """The CRC-32C of some bytes as eight hexadecimal digits."""
    return f"{google_crc32c.value(data):08x}"
