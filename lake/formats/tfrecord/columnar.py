"""Parse many plain Examples at once: each step of a record's parser is taken for all records together.

Protobuf makes objects of every record, which takes 11 us for three features; this takes 1 us. It knows the encoding
that writers of protobuf give and nothing else: fields in the order of their numbers, packed lists, the shortest
numbers. Everything else, right or wrong, is left to protobuf.

Encoding (https://protobuf.dev/programming-guides/encoding/, tensorflow/core/example/*.proto), with ``len`` a length in
bytes:

    Example   0A len Features
    Features  (0A len Entry)*
    Entry     0A len key  12 len Feature
    Feature   0A len BytesList | 12 len FloatList | 1A len Int64List
    list      nothing | 0A len value, for numbers all of its values one after another
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lake.core.records import Array
from lake.formats.tfrecord.ragged import BYTES, FLOAT, INT64, Ragged

_FIRST, _SECOND, _THIRD = 0x0A, 0x12, 0x1A  # tags of fields 1 to 3 that have a length
_KINDS = {_FIRST: BYTES, _SECOND: FLOAT, _THIRD: INT64}
_PADDING = bytes(32)  # so that what is read before its bounds are checked is there
_MOST_NAMES = 256  # features of a batch; each costs a pass over all records
_LONGEST_NAME = 1 << 10  # bytes of the name of a feature; comparing takes a place for each byte of all records' names
_MOST_INTEGER_BYTES = 1 << 22  # of a feature of a batch; taking them apart takes 40 times as many


class _OddError(Exception):
    """A record is not encoded as this module knows it."""


@dataclass(frozen=True, slots=True)
class _Lists:
    """Where the list of one feature begins and ends in each record; both are 0 where it is missing."""

    kind: str
    start: Array
    stop: Array


def plain_columns(examples: Sequence[bytes], kinds: Mapping[str, str]) -> dict[str, Ragged] | None:
    """Parse Examples that are encoded as usual.

    Args:
      examples: serialized, ``[n]``; an empty one has no features.
      kinds: BYTES, FLOAT or INT64 by the name of a feature.

    Returns:
      One ``Ragged`` of ``n`` records for each feature; None if a record is encoded otherwise, or if a feature is of
      another kind.
    """
    data = b"".join((*examples, _PADDING))
    try:
        return _columns(data, np.array([len(example) for example in examples], np.int64), kinds)
    except _OddError:
        return None


def _columns(data: bytes, sizes: Array, kinds: Mapping[str, str]) -> dict[str, Ragged]:
    values, found = np.frombuffer(data, np.uint8), _features(np.frombuffer(data, np.uint8), sizes)
    columns = {}
    for name, lists in found.items():
        # What nobody reads has to be plain, too, or a record would be good or bad by what is read of it.
        column = _decoded(data, values, lists)
        if kinds.get(name, lists.kind) != lists.kind:
            raise _OddError
        columns[name] = column
    return {name: columns[name] if name in columns else _nothing(kind, len(sizes)) for name, kind in kinds.items()}


def _nothing(kind: str, count: int) -> Ragged:
    dtypes = {BYTES: object, FLOAT: np.float32, INT64: np.int64}
    return Ragged(np.empty(0, dtypes[kind]), np.zeros(count + 1, np.int32))


def _features(data: Array, sizes: Array) -> dict[str, _Lists]:
    """Where the lists of all features are, by name."""
    rows, ends = np.flatnonzero(sizes), np.cumsum(sizes)
    end = ends[rows]
    at, stop = _field(data, end - sizes[rows], end, _FIRST)
    _same(stop, end)
    found: dict[str, _Lists] = {}
    while len(rows):
        at, stop = _field(data, at, end, _FIRST)
        _entries(data, rows, at, stop, len(sizes), found)
        rows, at, end = (array[stop < end] for array in (rows, stop, end))
    return found


def _entries(data: Array, rows: Array, at: Array, end: Array, count: int, found: dict[str, _Lists]) -> None:
    """Note one entry of each of some records: its key and its list."""
    key, key_end = _field(data, at, end, _FIRST)
    feature, stop = _field(data, key_end, end, _SECOND)
    _same(stop, end)
    _within(feature, end)
    tags = data[feature]
    start, stop = _field(data, feature, end, tags)
    _same(stop, end)
    left = np.arange(len(rows))
    while len(left):
        first = left[0]
        name = data[key[first] : key_end[first]]
        same = _equal(data, key[left], key_end[left], name)
        some, left = left[same], left[~same]
        _note(found, _text(name), int(tags[first]), tags[some], rows[some], start[some], end[some], count)


def _note(
    found: dict[str, _Lists], name: str, tag: int, tags: Array, rows: Array, start: Array, stop: Array, count: int
) -> None:
    if name not in found:
        if tag not in _KINDS or len(found) == _MOST_NAMES:
            raise _OddError
        found[name] = _Lists(_KINDS[tag], np.zeros(count, np.int64), np.zeros(count, np.int64))
    lists = found[name]
    # A key may be there twice, and the second one counts: rare enough to leave it to protobuf.
    if lists.kind != _KINDS.get(tag) or (tags != tag).any() or lists.stop[rows].any():
        raise _OddError
    lists.start[rows], lists.stop[rows] = start, stop


def _text(name: Array) -> str:
    try:
        return name.tobytes().decode()
    except UnicodeDecodeError as error:
        raise _OddError from error


def _equal(data: Array, start: Array, stop: Array, name: Array) -> Array:
    """Which of these bytes are those of a name, bool ``[m]``."""
    if len(name) > _LONGEST_NAME:
        raise _OddError
    same: Array = stop - start == len(name)
    if len(name):
        where = np.where(same, start, 0)[:, None] + np.arange(len(name))
        same &= (data[where] == name).all(1)
    return same


def _decoded(raw: bytes, data: Array, lists: _Lists) -> Ragged:
    rows = np.flatnonzero(lists.stop > lists.start)
    start, stop = _field(data, lists.start[rows], lists.stop[rows], _FIRST)
    _same(stop, lists.stop[rows])
    decode = {BYTES: _bytes, FLOAT: _floats, INT64: _integers}[lists.kind]
    values, counts = decode(raw, start, stop)
    every = np.zeros(len(lists.start) + 1, np.int64)
    every[rows + 1] = counts
    return Ragged(values, np.cumsum(every).astype(np.int32))


def _bytes(raw: bytes, start: Array, stop: Array) -> tuple[Array, Array]:
    values = np.empty(len(start), object)
    values[:] = [raw[first:last] for first, last in zip(start.tolist(), stop.tolist(), strict=True)]
    return values, np.ones(len(start), np.int64)


def _floats(raw: bytes, start: Array, stop: Array) -> tuple[Array, Array]:
    sizes = stop - start
    if (sizes % 4).any() or not sizes.all():
        raise _OddError
    return np.frombuffer(_joined(raw, start, stop), "<f4").astype(np.float32, copy=False), sizes // 4


def _integers(raw: bytes, start: Array, stop: Array) -> tuple[Array, Array]:
    """Numbers of seven bits a byte, the lowest first; all but the last byte of a number have the highest bit set."""
    sizes = stop - start
    if not sizes.all() or sizes.sum() > _MOST_INTEGER_BYTES:
        raise _OddError
    if not len(sizes):
        return np.empty(0, np.int64), sizes
    part = np.frombuffer(_joined(raw, start, stop), np.uint8)
    is_last = part < 0x80
    bounds = np.cumsum(sizes)
    if not is_last[bounds - 1].all():
        raise _OddError
    last = np.flatnonzero(is_last)
    first = np.concatenate([[0], last[:-1] + 1])
    width = last - first + 1
    # Ten bytes have 70 bits, of which the number takes one of the last byte's.
    if width.max() > 10 or ((width > 1) & (part[last] == 0)).any() or (part[last[width == 10]] != 1).any():
        raise _OddError
    shifts = 7 * (np.arange(len(part)) - np.repeat(first, width))
    bits = (part & 0x7F).astype(np.uint64) << shifts.astype(np.uint64)
    counts = np.add.reduceat(is_last.astype(np.int64), bounds - sizes)
    return np.add.reduceat(bits, first).view(np.int64), counts


def _joined(raw: bytes, start: Array, stop: Array) -> bytes:
    """Some ranges of bytes, one after another."""
    return b"".join([raw[first:last] for first, last in zip(start.tolist(), stop.tolist(), strict=True)])


def _field(data: Array, at: Array, end: Array, tag: int | Array) -> tuple[Array, Array]:
    """Where the contents of fields begin and end, which have this tag and begin at these positions."""
    _within(at, end)
    if (data[at] != tag).any():
        raise _OddError
    size, start = _size(data, at + 1)
    if (start + size > end).any():
        raise _OddError
    return start, start + size


def _size(data: Array, at: Array) -> tuple[Array, Array]:
    """Lengths, which are numbers of seven bits a byte, of up to four bytes; and where they end."""
    byte = data[at].astype(np.int64)
    size, more, at = byte & 0x7F, byte >= 0x80, at + 1
    for shift in (7, 14, 21):
        if not more.any():
            return size, at
        byte = np.where(more, data[at], 0).astype(np.int64)
        if (more & (byte == 0)).any():
            raise _OddError
        size, at, more = size | (byte & 0x7F) << shift, at + more, byte >= 0x80
    if more.any():
        raise _OddError
    return size, at


def _within(at: Array, end: Array) -> None:
    if (at >= end).any():
        raise _OddError


def _same(stop: Array, end: Array) -> None:
    if (stop != end).any():
        raise _OddError
