"""Expected numbers of records, from what the source says about its shards.

No format can show that records are missing if a shard was truncated between two of them.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lake.core.errors import InputError
from lake.core.records import Unit
from lake.formats import FORMATS
from lake.inputs.discover import Found, list_files
from lake.inputs.units import stem
from lake.storage import store_for

_STATS = "_stats.json"
_MOST = 64 << 20  # most bytes of a file of counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The expected numbers of records. Exactly one attribute is set.

    Attributes:
      total: of the whole input.
      shards: of each shard, by its path.
    """

    total: int | None = None
    shards: Mapping[str, int] | None = None

    def tell(self, units: Iterable[Unit]) -> list[Unit]:
        """Set ``Unit.expected`` of each unit. Of a shard's slices, the last one is responsible for the shard's end."""
        return [self._with_expected(unit) for unit in units]

    def _with_expected(self, unit: Unit) -> Unit:
        if self.shards is None:
            return unit
        count = sum(self.shards[shard.path] for shard in unit.shards)
        _, of, number = unit.id.rpartition("-of-")
        if unit.stop is None or not of:
            return replace(unit, expected=count)
        # The last slice gets what the others leave, so a wrong number of rows in the shard shows there.
        last = unit.id.endswith(f"{int(number) - 1:05d}-of-{number}")
        return replace(unit, expected=count - unit.start if last else unit.stop - unit.start)


def find_expected(asked: str, found: Found) -> Expected:
    """Parse ``--expect-records``.

    Args:
      asked: a number of records, or the URI (or glob) of JSON files that count them: ``{"path": count}``; WebDataset's
        index (``shardlist`` with ``url`` and ``nsamples``); TensorFlow Datasets' ``dataset_info.json``; or
        img2dataset's ``<shard>_stats.json``.
      found: the shards of the input.

    Raises:
      InputError: a file is none of these, names a shard that does not exist, leaves a shard out, or counts an image
        file as other than one record.
    """
    if asked.isdigit():
        return Expected(total=int(asked))
    counts = {name: count for uri in list_files(asked) for name, count in _counts(uri)}
    shards = dict(_matched(counts, found, asked))
    files = {shard.path for format, some in found.by_format.items() if FORMATS[format].reader.grouped for shard in some}
    if wrong := next((path for path, count in shards.items() if path in files and count != 1), None):
        raise InputError(f"{asked} counts {shards[wrong]} records of {wrong!r}, and an image file is one")
    if lacking := next((shard.path for shard in found.shards if shard.path not in shards), None):
        raise InputError(f"{asked} does not say how many records {lacking} has; leave the shard out, or count it there")
    return Expected(shards=shards)


def _matched(counts: Mapping[str, int], found: Found, asked: str) -> Iterator[tuple[str, int]]:
    """Counts by shard path. A file of counts may name a shard by its path or base name, with or without suffix."""
    known: dict[str, list[str]] = {}
    for format, shards in found.by_format.items():
        for shard in shards:
            bare = stem(shard.path, format)
            for name in {shard.path, bare, _base(shard.path), _base(bare)}:
                known.setdefault(name, []).append(shard.path)
    for name, count in counts.items():
        paths = known.get(name) or known.get(_base(name)) or []
        if len(paths) != 1:
            what = "is no shard of the input" if not paths else f"may be {paths[0]} or {paths[1]}"
            raise InputError(f"{asked} counts {count} records of {name!r}, which {what}")
        yield paths[0], count


def _counts(uri: str) -> list[tuple[str, int]]:
    with store_for(uri).open(uri) as file:
        data = file.read(_MOST)
    try:
        found = [(str(name), int(count)) for name, count in _parsed(uri, json.loads(data))]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{uri}: not a JSON file that counts records ({error}); see --expect-records") from error
    if any(count < 0 for _, count in found):
        raise InputError(f"{uri}: a negative number of records")
    return found


def _parsed(uri: str, value: Any) -> Iterable[tuple[str, Any]]:
    if uri.endswith(_STATS) and "successes" in value:
        return [(_base(uri).removesuffix(_STATS), value["successes"])]
    if "shardlist" in value:
        return [(shard["url"], shard["nsamples"]) for shard in value["shardlist"]]
    if "splits" in value:
        return [pair for split in value["splits"] for pair in _split(value, split)]
    pairs: Iterable[tuple[str, Any]] = value.items()
    return pairs


def _split(info: Mapping[str, Any], split: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and counts of one split of TensorFlow Datasets, whose file names follow a template."""
    lengths = split["shardLengths"]
    template = split.get("filepathTemplate") or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    values = {
        "DATASET": info.get("name", ""),
        "SPLIT": split["name"],
        "FILEFORMAT": info.get("fileFormat", "tfrecord"),
    }
    for number, count in enumerate(lengths):
        names = values | {"SHARD_X_OF_Y": f"{number:05d}-of-{len(lengths):05d}"}
        yield re.sub(r"\{(\w+)\}", lambda match, names=names: names.get(match[1], match[0]), template), count


def _base(name: str) -> str:
    return name.rpartition("/")[2]
