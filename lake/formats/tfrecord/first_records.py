"""What the first records of a TFRecord shard hold, from which its schema is derived."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

import pyarrow as pa

from lake.core.records import Shard
from lake.formats.tfrecord.example import features
from lake.formats.tfrecord.framing import Frames
from lake.formats.tfrecord.ragged import BYTES, FLOAT, INT64
from lake.formats.tfrecord.raw import Features

SAMPLE = 16  # records that are looked at
TYPES = {BYTES: pa.binary(), FLOAT: pa.float32(), INT64: pa.int64()}


@dataclass(slots=True, kw_only=True)
class Seen:
    """What the first records hold of one feature."""

    kind: str
    counts: list[int] = field(default_factory=list)
    text: bool = True

    def column(self, name: str) -> pa.Field:
        type = pa.string() if self.kind == BYTES and self.text else TYPES[self.kind]
        return pa.field(name, type if max(self.counts) == 1 else pa.list_(type))


def first_records(shard: Shard, limit: int, salvage: bool) -> list[Features]:
    """The features of the shard's first records."""
    with closing(Frames(shard, limit, salvage=salvage)) as frames:
        run, damage = frames.take(SAMPLE, limit)  # in memory at once: no more than a record may have, and one
    if damage is not None and not run.records:
        raise damage
    return [features(example) or {} for example in run.records]


def seen_in(records: Sequence[Features]) -> dict[str, Seen]:
    """What some records hold, by the name of the feature."""
    seen: dict[str, Seen] = {}
    for name, (kind, values) in (item for record in records for item in record.items()):
        this = seen.setdefault(name, Seen(kind=kind))
        this.counts.append(len(values))
        this.text = this.text and kind == BYTES and all(map(_is_text, values))
    return dict(sorted(seen.items()))  # a protobuf map has no order on the wire


def kind_of(type: pa.DataType) -> str:
    """The kind of the feature that a carried column is of.

    Args:
      type: of the column.

    >>> kind_of(pa.list_(pa.float32())), kind_of(pa.string())
    ('float', 'bytes')
    """
    scalar = type.value_type if pa.types.is_list(type) else type
    return FLOAT if pa.types.is_floating(scalar) else INT64 if pa.types.is_integer(scalar) else BYTES


def _is_text(value: bytes) -> bool:
    try:
        return "\0" not in value.decode()
    except UnicodeDecodeError:
        return False
