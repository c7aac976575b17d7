"""TFRecord shards of tf.train.Example, plain or gzip."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputError
from pipeline.readers.base import BATCH_BYTES, Columns, Request
from pipeline.readers.damage import as_planned
from pipeline.readers.example import BYTES, FLOAT, INT64, NO_EXAMPLE, Ragged, features, message, parse
from pipeline.readers.framing import HEADER, Frames, record_length
from pipeline.readers.stream import decompressed
from pipeline.readers.text import text
from pipeline.records import Array, Fault, RawBatch, Reason, Records, Shard, Stage, Unit

_NAME = re.compile(r"\.tf-?rec(ords?)?(-\d+-of-\d+)?(\.gz)?$", re.IGNORECASE)
_IMAGES = ("image/encoded", "image", "image_raw", "image/raw", "img", "jpeg", "jpg", "png", "image_bytes")
_VECTORS = ("features", "vector", "embedding", "x")
_KEYS = ("image/filename", "image/key", "image/source_id", "key", "__key__", "filename", "file_name", "image_id", "id")
_LABEL = re.compile(r"(^|/)(labels?|class|class/(label|text))$", re.IGNORECASE)
_SAMPLE = 16  # records that settle looks at
_TYPES = {BYTES: pa.binary(), FLOAT: pa.float32(), INT64: pa.int64()}


class TFRecordReader:
    r"""Records are Examples; their features are named, and each is a list of bytes, floats or 64-bit integers.

    The image, or the vector, and the key are found by their usual names unless the request names them; a record without
    a key gets its number for one. Labels are carried unless the request says otherwise.

    A carried feature with at most one value in each of the first 16 records becomes a plain column, any other a list
    column. Bytes are a string column where those first values are all UTF-8, else binary; bytes in a string column
    (and in a key) that are not UTF-8 are written ``\xNN``. A feature that a record lacks is null in its column.
    """

    suffixes: tuple[str, ...] = (".tfrecord", ".tfrecords", ".tfrec")
    grouped = False

    def recognises(self, name: str, head: bytes) -> bool:
        return bool(_NAME.search(name)) or record_length(decompressed(head)[:HEADER]) is not None

    def settle(self, shard: Shard, request: Request) -> Columns:
        seen = _seen(shard, request.max_record_bytes, request.salvage)
        if not seen:
            raise InputError(f"{shard.path}: no tf.train.Example with a feature among the first {_SAMPLE} records")
        image = _image(shard, seen, request)
        return Columns(
            image=image,
            key=_key(shard, seen, request),
            carry=pa.schema([seen[name].column(name) for name in _carried(shard, seen, request)]),
            numeric=request.numeric,
            max_record_bytes=request.max_record_bytes,
            length=_length(shard, seen, image, request) if request.numeric else None,
            whole=request.whole,
            salvage=request.salvage,
        )

    def rows(self, shard: Shard) -> Sequence[int] | None:  # noqa: ARG002
        return None

    def read(self, unit: Unit, columns: Columns, size: int, room: int = BATCH_BYTES) -> Iterator[RawBatch]:
        """Records in order. The ``source`` of whole ones is the serialized Examples."""
        for shard in unit.shards:
            with as_planned(shard), closing(Frames(shard, columns.max_record_bytes, salvage=columns.salvage)) as frames:
                kinds = _kinds(shard, columns)
                start, damage = 0, None
                while damage is None:
                    examples, faults, damage = frames.take(size, room)
                    if examples:
                        yield ExampleBatch(
                            shard=shard.path, start=start, examples=examples, bad=faults, kinds=kinds, columns=columns
                        )
                    elif damage is None:
                        break
                    start += len(examples)
                if damage is not None:
                    raise damage


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleBatch:
    """Serialized Examples that follow one another in a shard, the first at position ``start``.

    bad: position in the batch of those that framing has found bad -> what is wrong; they are empty.
    """

    shard: str
    start: int
    examples: Sequence[bytes]
    bad: Mapping[int, Fault]
    kinds: Mapping[str, str]
    columns: Columns

    def __len__(self) -> int:
        return len(self.examples)

    def records(self) -> Records:
        parsed, faults = parse(self.examples, self.kinds)
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
        """TensorFlow's op takes some bytes, as those of a PNG file, for an Example without features."""
        which = np.zeros(len(missing), bool)
        which[missing] = [message(self.examples[at]) is None for at in map(int, np.flatnonzero(missing))]
        self._blame(faults, which, *NO_EXAMPLE)

    def _blame_unwritable(self, faults: dict[int, Fault]) -> None:
        """TensorFlow's op accepts what nothing else reads or writes: names that are not UTF-8."""
        which = np.array([message(example) is None for example in self.examples])
        detail = "protobuf cannot parse the record, as where the name of a feature is not UTF-8"
        self._blame(faults, which, Reason.INVALID_RECORD, detail)

    def _images(self, parsed: Mapping[str, Ragged], faults: dict[int, Fault]) -> pa.Array:
        name = self.columns.image
        self._blame(faults, parsed[name].counts == 0, Reason.MISSING_IMAGE, f"no value in feature {name!r}")
        self._blame(faults, parsed[name].counts > 1, Reason.INVALID_RECORD, f"several values in feature {name!r}")
        return _without(_firsts(parsed[name], pa.binary()), faults)

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
    """The first value of each record, null where there is none."""
    values, counts = _values(feature.values, type), feature.counts
    if (counts == 1).all():
        return values
    return values.take(pa.array(feature.splits[:-1], mask=counts == 0))


def _without(column: pa.Array, positions: Collection[int]) -> pa.Array:
    """The column with null at ``positions``."""
    if not positions:
        return column
    drop = np.zeros(len(column), bool)
    drop[list(positions)] = True
    return pc.if_else(pa.array(drop), pa.scalar(None, column.type), column)


def _values(values: Array, type: pa.DataType) -> pa.Array:
    return text(pa.array(values, pa.binary())) if pa.types.is_string(type) else pa.array(values, type)


@dataclass(slots=True, kw_only=True)
class _Seen:
    """What the first records hold of one feature."""

    kind: str
    counts: list[int] = field(default_factory=list)
    text: bool = True

    def column(self, name: str) -> pa.Field:
        type = pa.string() if self.kind == BYTES and self.text else _TYPES[self.kind]
        return pa.field(name, type if max(self.counts) == 1 else pa.list_(type))


def _seen(shard: Shard, limit: int, salvage: bool) -> dict[str, _Seen]:
    """The features of the shard's first records that are Examples, by name."""
    with closing(Frames(shard, limit, salvage=salvage)) as frames:
        examples, _, damage = frames.take(_SAMPLE)
    if damage is not None and not examples:
        raise damage
    seen: dict[str, _Seen] = {}
    for name, (kind, values) in (item for e in examples for item in (features(e) or {}).items()):
        this = seen.setdefault(name, _Seen(kind=kind))
        this.counts.append(len(values))
        this.text = this.text and kind == BYTES and all(map(_is_text, values))
    return dict(sorted(seen.items()))  # the order of a map's entries on the wire is arbitrary


def _is_text(value: bytes) -> bool:
    try:
        return "\0" not in value.decode()
    except UnicodeDecodeError:
        return False


def _kinds(shard: Shard, columns: Columns) -> dict[str, str]:
    """Name and kind of every feature that is read; numbers may be floats in one shard and integers in another."""
    kinds = {field.name: _kind(field.type) for field in columns.carry}
    if columns.key is not None:
        kinds[columns.key] = BYTES
    seen = _seen(shard, columns.max_record_bytes, columns.salvage) if columns.numeric else {}
    kinds[columns.image] = seen[columns.image].kind if columns.image in seen else (FLOAT if columns.numeric else BYTES)
    return kinds


def _kind(type: pa.DataType) -> str:
    scalar = type.value_type if pa.types.is_list(type) else type
    return FLOAT if pa.types.is_floating(scalar) else INT64 if pa.types.is_integer(scalar) else BYTES


def _image(shard: Shard, seen: Mapping[str, _Seen], request: Request) -> str:
    kinds = (FLOAT, INT64) if request.numeric else (BYTES,)
    if request.image is not None:
        return _asked(shard, seen, request.image, kinds, "--image")
    usual = [name for name in (_VECTORS if request.numeric else _IMAGES) if name in seen and seen[name].kind in kinds]
    floats = [name for name in seen if seen[name].kind == FLOAT] if request.numeric else []
    if usual or len(floats) == 1:
        return (usual or floats)[0]
    what = "vector of numbers" if request.numeric else "encoded image"
    raise InputError(f"{shard.path}: which feature is the {what}? There are {_names(seen)}; set --image")


def _length(shard: Shard, seen: Mapping[str, _Seen], image: str, request: Request) -> int:
    counts = seen[image].counts
    if request.length not in (None, *counts):
        raise InputError(
            f"{shard.path}: feature {image!r} holds {counts[0]} numbers, and the model takes vectors of"
            f" {request.length}; there are {_names(seen)}; set --image to another"
        )
    return request.length or counts[0]


def _key(shard: Shard, seen: Mapping[str, _Seen], request: Request) -> str | None:
    if request.key is not None:
        return _asked(shard, seen, request.key, (BYTES,), "--key")
    return next((name for name in _KEYS if name in seen and seen[name].kind == BYTES), None)


def _carried(shard: Shard, seen: Mapping[str, _Seen], request: Request) -> list[str]:
    if request.carry is None:
        return [name for name in seen if _LABEL.search(name)]
    return [_asked(shard, seen, name, tuple(_TYPES), "--carry") for name in dict.fromkeys(request.carry)]


def _asked(shard: Shard, seen: Mapping[str, _Seen], name: str, kinds: Sequence[str], option: str) -> str:
    if name not in seen:
        raise InputError(f"{shard.path}: no feature {name!r}, there are {_names(seen)}; set {option} to one of them")
    if seen[name].kind not in kinds:
        raise InputError(
            f"{shard.path}: feature {name!r} holds {seen[name].kind} values, and {option} needs {' or '.join(kinds)};"
            f" there are {_names(seen)}"
        )
    return name


def _names(seen: Mapping[str, _Seen]) -> str:
    return ", ".join(f"{name} ({this.kind})" for name, this in sorted(seen.items()))
