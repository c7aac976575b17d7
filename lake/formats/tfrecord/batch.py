"""Batches of serialized Examples, and the columns of records that they become."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.core.records import Array, Fault, Reason, Records, Stage
from lake.formats.common.text import text
from lake.formats.reader import RecordSchema
from lake.formats.tfrecord.example import NO_EXAMPLE, message, parse_examples
from lake.formats.tfrecord.ragged import Ragged
from lake.formats.tfrecord.raw import RawImages


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleBatch:
    """Consecutive serialized Examples of a shard.

    Attributes:
      shard: its path.
      start: position of the first Example in the shard.
      examples: serialized; empty for those with a fault.
      bad: faults found by the framing, by position in the batch.
      kinds: kind of each feature that is read, by name.
      columns: what is read of each record.
      raw: where pixels are; None if images are files.
    """

    shard: str
    start: int
    examples: Sequence[bytes]
    bad: Mapping[int, Fault]
    kinds: Mapping[str, str]
    columns: RecordSchema
    raw: RawImages | None = None

    def __len__(self) -> int:
        return len(self.examples)

    def records(self) -> Records:
        parsed, faults = parse_examples(self.examples, self.kinds)
        faults.update(self.bad)
        self._blame_no_examples(faults, parsed[self.columns.image].counts == 0)
        if self.columns.whole:
            self._blame_unwritable(faults)
        carried = {f.name: self._column(parsed[f.name], f, faults) for f in self.columns.carry}
        payload = self._vectors(parsed, faults) if self.columns.numeric else self._images(parsed, faults)
        return Records(
            shard=self.shard,
            index=self._index(),
            key=self._keys(parsed),
            payload=payload,
            carried=carried,
            faults=faults,
            source=self.examples if self.columns.whole else None,
        )

    def _blame_no_examples(self, faults: dict[int, Fault], missing: Array) -> None:
        """Find records that are no Examples. TensorFlow's op takes some bytes, as of a PNG, for an empty Example."""
        which = np.zeros(len(missing), bool)
        which[missing] = [message(self.examples[at]) is None for at in map(int, np.flatnonzero(missing))]
        self._blame(faults, which, *NO_EXAMPLE)

    def _blame_unwritable(self, faults: dict[int, Fault]) -> None:
        """Find records that cannot be rewritten: protobuf, unlike TensorFlow's op, refuses names that are not UTF-8."""
        which = np.array([message(example) is None for example in self.examples])
        detail = "protobuf cannot parse the record, as where the name of a feature is not UTF-8"
        self._blame(faults, which, Reason.INVALID_RECORD, detail)

    def _images(self, parsed: Mapping[str, Ragged], faults: dict[int, Fault]) -> pa.Array:
        name = self.columns.image
        self._blame(faults, parsed[name].counts == 0, Reason.MISSING_IMAGE, f"no value in feature {name!r}")
        if self.raw is not None:
            return self._files(self.raw, parsed, faults)
        self._blame(faults, parsed[name].counts > 1, Reason.INVALID_RECORD, f"several values in feature {name!r}")
        return _without(_firsts(parsed[name], pa.binary()), faults)

    def _files(self, raw: RawImages, parsed: Mapping[str, Ragged], faults: dict[int, Fault]) -> pa.Array:
        found = list(raw.files(parsed))
        for position, file in enumerate(found):
            if isinstance(file, Fault):
                faults.setdefault(position, replace(file, data=self.examples[position]))
        return pa.array([file if isinstance(file, bytes) else None for file in found], pa.binary())

    def _vectors(self, parsed: Mapping[str, Ragged], faults: dict[int, Fault]) -> Array:
        name, length = self.columns.image, self.columns.length or 0
        values, counts = parsed[name].values.astype(np.float32, copy=False), parsed[name].counts
        self._blame(faults, counts == 0, Reason.MISSING_IMAGE, f"no value in feature {name!r}")
        for count in set(counts[counts != length].tolist()):
            detail = f"{count} values in feature {name!r}, not {length}"
            self._blame(faults, counts == count, Reason.WRONG_LENGTH, detail)
        vectors = np.zeros((len(counts), length), np.float32)
        vectors[counts == length] = values[np.repeat(counts == length, counts)].reshape(-1, length)
        return vectors

    def _keys(self, parsed: Mapping[str, Ragged]) -> pa.Array:
        keys = None if self.columns.key is None else _firsts(parsed[self.columns.key], pa.string())
        if keys is not None and not keys.null_count:
            return keys
        numbers = pa.array(self._index()).cast(pa.string())
        return numbers if keys is None else pc.coalesce(keys, numbers)

    def _index(self) -> Array:
        return np.arange(self.start, self.start + len(self.examples))

    def _column(self, feature: Ragged, field: pa.Field, faults: dict[int, Fault]) -> pa.Array:
        if pa.types.is_list(field.type):
            values = _values(feature.values, field.type.value_type)
            return pa.ListArray.from_arrays(pa.array(feature.splits), values, mask=pa.array(feature.counts == 0))
        detail = f"several values in feature {field.name!r}, whose column takes one"
        self._blame(faults, feature.counts > 1, Reason.WRONG_TYPE, detail)
        return _firsts(feature, field.type)

    def _blame(self, faults: dict[int, Fault], which: Array, reason: Reason, detail: str) -> None:
        for position in map(int, np.flatnonzero(which)):
            data = self.examples[position]
            faults.setdefault(position, Fault(stage=Stage.READ, reason=reason, detail=detail, data=data))


def _firsts(feature: Ragged, type: pa.DataType) -> pa.Array:
    """The first value of each record; null if there is none."""
    values, counts = _values(feature.values, type), feature.counts
    if (counts == 1).all():
        return values
    return values.take(pa.array(feature.splits[:-1], mask=counts == 0))


def _without(column: pa.Array, positions: Collection[int]) -> pa.Array:
    """The column with nulls at some positions."""
    if not positions:
        return column
    drop = np.zeros(len(column), bool)
    drop[list(positions)] = True
    return pc.if_else(pa.array(drop), pa.scalar(None, column.type), column)


def _values(values: Array, type: pa.DataType) -> pa.Array:
    return text(pa.array(values, pa.binary())) if pa.types.is_string(type) else pa.array(values, type)
