"""How many records the source says that its shards hold: what no format can show once a shard was cut on an edge."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import InputError
from pipeline.listing import Found, list_files
from pipeline.readers import reader_for
from pipeline.records import Unit
from pipeline.stems import stem_of
from pipeline.storage import store_for

_STATS = "_stats.json"
_MOST = 64 << 20  # bytes of a file of counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Records in all, or of each shard by its path. One of the two is set."""

    total: int | None = None
    shards: Mapping[str, int] | None = None

    def tell(self, units: Iterable[Unit]) -> list[Unit]:
        """The units with what is expected of each; of a shard's slices the last one answers for its end."""
        return [self._told(unit) for unit in units]

    def _told(self, unit: Unit) -> Unit:
        if self.shards is None:
            return unit
        count = sum(self.shards[shard.path] for shard in unit.shards)
        _, of, number = unit.id.rpartition("-of-")
        if unit.stop is None or not of:
            return replace(unit, expected=count)
        last = unit.id.endswith(f"{int(number) - 1:05d}-of-{number}")
        return replace(unit, expected=count - unit.start if last else unit.stop - unit.start)


def find_expected(asked: str, found: Found) -> Expected:
    """What ``--expect-records`` says.

    Args:
      asked: a number of records, or a URI (also a glob) of JSON files that count them: ``{"path": count}``,
        WebDataset's index (``shardlist`` with ``url`` and ``nsamples``), TensorFlow Datasets' ``dataset_info.json``,
        img2dataset's ``<shard>_stats.json``.
      found: the shards.

    Raises:
      InputError: it is none of these, names a shard that is not there, leaves one out, or counts an image
        file as other than one record.
    """
    if asked.isdigit():
        return Expected(total=int(asked))
    counts = {name: count for uri in list_files(asked) for name, count in _counts(uri)}
    shards = dict(_matched(counts, found, asked))
    if reader_for(found.format).grouped and (
        wrong := next((path for path, count in shards.items() if count != 1), None)
    ):
        raise InputError(f"{asked} counts {shards[wrong]} records of {wrong!r}, and an image file is one")
    if lacking := next((shard.path for shard in found.shards if shard.path not in shards), None):
        raise InputError(f"{asked} does not say how many records {lacking} has; leave the shard out, or count it there")
    return Expected(shards=shards)


def _matched(counts: Mapping[str, int], found: Found, asked: str) -> Iterator[tuple[str, int]]:
    """Counts by the shards' paths: their names may be paths, base names, or these without the format's suffix."""
    known: dict[str, list[str]] = {}
    for shard in found.shards:
        stem = stem_of(shard.path, found.format)
        names = {shard.path, stem, _base(shard.path), _base(stem)}
        for name in names:
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
        found = [(str(name), int(count)) for name, count in _told_by(uri, json.loads(data))]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{uri}: not a JSON file that counts records ({error}); see --expect-records") from error
    if any(count < 0 for _, count in found):
        raise InputError(f"{uri}: a negative number of records")
    return found


def _told_by(uri: str, value: Any) -> Iterable[tuple[str, Any]]:
    if uri.endswith(_STATS) and "successes" in value:
        return [(_base(uri).removesuffix(_STATS), value["successes"])]
    if "shardlist" in value:
        return [(shard["url"], shard["nsamples"]) for shard in value["shardlist"]]
    if "splits" in value:
        return [pair for split in value["splits"] for pair in _split(value, split)]
    pairs: Iterable[tuple[str, Any]] = value.items()
    return pairs


def _split(info: Mapping[str, Any], split: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """One split of TensorFlow Datasets: its files are called by a template."""
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
