"""The values that flow through a unit: batches of records as columns, and the faults of single records.

Data stays columnar from the reader to the writer. A reader yields ``RawBatch`` objects in order. Making one only finds
where records begin and end, which is cheap and happens on the unit's own thread. ``RawBatch.records`` parses them into
``Records`` on a thread of the pool.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol, TypeAlias

import numpy as np
import pyarrow as pa

Array: TypeAlias = np.ndarray


class Stage(StrEnum):
    """The step of a unit in which a record was rejected."""

    READ = "read"
    DECODE = "decode"
    MODEL = "model"
    WRITE = "write"


class Reason(StrEnum):
    """Why a record was rejected. The list is closed; ``docs/formats.md`` explains each value."""

    DAMAGED_SHARD = "damaged_shard"  # one row for everything after the damage, which is lost (--on-damage reject)
    CORRUPT_RECORD = "corrupt_record"  # what holds it is damaged; records after it are read (same option)
    INVALID_RECORD = "invalid_record"  # the record's own framing (Example, sample) does not parse
    MISSING_IMAGE = "missing_image"  # no image or vector where the format stores it, or null
    EMPTY_IMAGE = "empty_image"  # zero bytes
    UNKNOWN_FORMAT = "unknown_format"  # the bytes are of no image format on the allow-list
    UNSUPPORTED_IMAGE = "unsupported_image"  # a valid image of a kind that is not supported, such as BigTIFF
    CORRUPT_IMAGE = "corrupt_image"  # truncated, or refused by its decoder
    SEVERAL_PAGES = "several_pages"  # a stack, an animation or an MPO, and only one image of it could be used
    TOO_MANY_PIXELS = "too_many_pixels"  # by its header, before pixels are allocated
    RECORD_TOO_LARGE = "record_too_large"  # more bytes than --max-record-bytes
    WRONG_SIZE = "wrong_size"  # height and width differ from the model's, and no --resize
    WRONG_CHANNELS = "wrong_channels"  # the channels cannot become those that the model takes
    WRONG_LENGTH = "wrong_length"  # a vector of another length than the model takes
    WRONG_TYPE = "wrong_type"  # a value of another type than its feature or column has
    INVALID_CONDITION = "invalid_condition"  # the column of a conditional model has no value, or none that it takes
    NON_FINITE_INPUT = "non_finite_input"  # NaN or infinity in the input
    WRONG_SCALE = "wrong_scale"  # floating pixels far beyond white
    NON_FINITE_LATENT = "non_finite_latent"  # NaN or infinity out of the model
    MODEL_FAILED = "model_failed"  # the model fails on this record even when it is alone in its batch
    UNWRITABLE_IMAGE = "unwritable_image"  # the output format cannot store the result (16 bits or alpha in JPEG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with one record.

    Attributes:
      stage: where the fault was found.
      reason: from the closed list.
      detail: what is wrong with this record, in words.
      data: the record's original bytes, if no payload column holds them.
    """

    stage: Stage
    reason: Reason
    detail: str
    data: bytes | None = None


NON_FINITE = Fault(
    stage=Stage.MODEL, reason=Reason.NON_FINITE_LATENT, detail="the model's output has NaN or infinite values"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One input file or object.

    Attributes:
      uri: where it is.
      path: path relative to the input root, with forward slashes.
      size: bytes.
      identity: text that changes when the content does (local files: size, and modification time in ns).
    """

    uri: str
    path: str
    size: int
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteRange:
    """The bytes of a slice, in a shard that does not say by itself where its rows are.

    Attributes:
      begin: first byte.
      end: the byte after the last; None for the end of the shard.
      index: name of the file beside the shard that says so; "" if the shard itself was looked through.
    """

    begin: int
    end: int | None = None
    index: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One piece of work: a shard, a slice of a shard's rows, or a group of small files.

    Attributes:
      id: stable name. Outputs are named after it: ``<output>/latents/<id>.parquet``.
      format: name of the shard format.
      shards: the shards that are read.
      start: first row of a slice, inclusive.
      stop: end of a slice, exclusive; None for the end of the shard.
      byte_range: the bytes of these rows, where a shard does not say them by itself; None elsewhere.
      rows: all rows of a shard that says them by itself, where the unit is a slice of it; None elsewhere.
      clean: with a reference, the clean shard that each shard is compared with, in the order of ``shards``.
      expected: number of records, if the source states it.
      retry_rejects: the unit is done, and only its rejected records are tried again.
      companions: files that describe images of this unit and of others, whose copies belong to this one.
      retried: what the unit's receipt says of earlier retries of its rejects; "" for none, or to do without them.
    """

    id: str
    format: str
    shards: Sequence[Shard]
    start: int = 0
    stop: int | None = None
    byte_range: ByteRange | None = None
    rows: int | None = None
    clean: Sequence[Shard] = ()
    expected: int | None = None
    retry_rejects: bool = False
    companions: Sequence[Shard] = ()
    retried: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """A batch of ``n`` records as columns, in the unit's order.

    Attributes:
      shard: path of the records' shard; one for all, or one for each record.
      index: position of each record in its shard, int64 ``[n]``.
      key: key of each record, string ``[n]``. Keys are data: they are never used as a path and need not be unique.
      payload: encoded image files (``pa.BinaryArray``, null for a record without one) or numbers: pixels
        ``[n, H, W, C]`` or vectors ``[n, d]`` of dtype uint8, uint16 or float32, as the source has them.
      carried: the carried columns by name, ``[n]`` each, in the order of ``RecordSchema.carry``.
      faults: faults found while reading, by position in the batch.
      source: everything that the shard holds of each record, if the shards are rewritten (``RecordSchema.whole``), else
        None. Its type is known to the format's reader and writer only.
    """

    shard: str | Sequence[str]
    index: Array
    key: pa.Array
    payload: pa.Array | Array
    carried: Mapping[str, pa.Array]
    faults: Mapping[int, Fault] = field(default_factory=dict)
    source: object | None = None

    def __len__(self) -> int:
        return len(self.index)

    def records(self) -> "Records":
        """This batch itself, so that a reader whose columns need no parsing can yield ``Records`` directly."""
        return self

    def take(self, positions: Array) -> "Records":
        """A batch of the records at some positions, without their ``source``.

        Args:
          positions: int64 ``[m]``, ascending.
        """
        at = {position: number for number, position in enumerate(positions.tolist())}
        payload = self.payload
        return replace(
            self,
            shard=self.shard if isinstance(self.shard, str) else [self.shard[position] for position in at],
            index=self.index[positions],
            key=pick(self.key, positions),
            payload=payload[positions] if isinstance(payload, np.ndarray) else pick(payload, positions),
            carried={name: pick(column, positions) for name, column in self.carried.items()},
            faults={at[position]: fault for position, fault in self.faults.items() if position in at},
            source=None,
        )


class RawBatch(Protocol):
    """A batch whose records are delimited but not parsed."""

    def __len__(self) -> int:
        """The number of records."""
        ...

    def records(self) -> Records:
        """Parse the batch. Called once, on any thread; a bad record becomes a fault and never raises."""
        ...


def pick(column: pa.Array, positions: Array) -> pa.Array:
    """The values of a column at some positions.

    Args:
      column: Arrow array ``[n]``.
      positions: int64 ``[m]``, each below ``n``.

    >>> pick(pa.array(["a", "b", "c"]), np.array([0, 2])).to_pylist()
    ['a', 'c']
    """
    if not _has_views(column.type):
        return column.take(pa.array(positions))
    # Arrow has no `take` for view types, so runs of neighbours are sliced and joined.
    runs = np.split(positions, np.flatnonzero(np.diff(positions) != 1) + 1)
    return pa.concat_arrays([column.slice(int(run[0]) if len(run) else 0, len(run)) for run in runs])


def _has_views(kind: pa.DataType) -> bool:
    """Whether values are views of text or bytes, or lists, maps or structs of these, as Polars writes them."""
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return True
    return any(_has_views(kind.field(at).type) for at in range(kind.num_fields))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """One row of ``rejects/``: a record that was read but gave no result.

    Attributes:
      shard: path of the record's shard.
      index: position of the record in its shard.
      key: the record's key.
      stage: where the fault was found.
      reason: from the closed list.
      detail: what is wrong with this record, in words.
      data: the record's original bytes, if there are any.
    """

    shard: str
    index: int
    key: str
    stage: Stage
    reason: Reason
    detail: str
    data: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """One published file of a unit.

    Attributes:
      name: path relative to the output directory.
      size: bytes.
      rows: number of rows, records or images in it.
      crc32c: CRC-32C of its bytes, eight hexadecimal digits.
    """

    name: str
    size: int
    rows: int
    crc32c: str
