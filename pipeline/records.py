"""The values that flow through a unit: columns of records, and what is wrong with single ones.

Data stays columnar from the reader to the writer. A reader yields ``RawBatch``es in order (framing only, cheap,
on the unit's own thread); ``records()`` turns one into ``Records`` on a thread of the pool.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol, TypeAlias

import numpy as np
import pyarrow as pa

Array: TypeAlias = np.ndarray


class Stage(StrEnum):
    """Where in a unit a record was rejected."""

    READ = "read"
    DECODE = "decode"
    MODEL = "model"
    WRITE = "write"


class Reason(StrEnum):
    """Why a record was rejected. The list is closed; ``docs/formats.md`` explains each."""

    DAMAGED_SHARD = "damaged_shard"  # all that follows in the shard is lost (--on-damage reject): one row for it
    CORRUPT_RECORD = "corrupt_record"  # its checksum does not match, and the shard can be read on (--on-damage reject)
    INVALID_RECORD = "invalid_record"  # the record's own framing (Example, sample) does not parse
    MISSING_IMAGE = "missing_image"  # no image or vector where the format keeps it, or null
    EMPTY_IMAGE = "empty_image"  # zero bytes
    UNKNOWN_FORMAT = "unknown_format"  # the bytes are not of an image format on the allow-list
    UNSUPPORTED_IMAGE = "unsupported_image"  # a valid image of a kind that is not read (16-bit RGB TIFF, say)
    CORRUPT_IMAGE = "corrupt_image"  # truncated, or its decoder refuses it
    TOO_MANY_PIXELS = "too_many_pixels"  # by its header, before anything is allocated
    RECORD_TOO_LARGE = "record_too_large"  # more bytes than a record may have
    WRONG_SIZE = "wrong_size"  # height and width differ from the model's, and no --resize
    WRONG_CHANNELS = "wrong_channels"  # channels cannot be converted to what the model needs
    WRONG_LENGTH = "wrong_length"  # a vector of another length than the model's
    WRONG_TYPE = "wrong_type"  # a value of another type than its feature or column
    NON_FINITE_INPUT = "non_finite_input"  # NaN or infinity in the input
    NON_FINITE_LATENT = "non_finite_latent"  # NaN or infinity out of the model
    MODEL_FAILED = "model_failed"  # the model raises an error for this record, alone
    UNWRITABLE_IMAGE = (
        "unwritable_image"  # the image format asked for cannot keep the result (16 bits or alpha in JPEG)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with one record."""

    stage: Stage
    reason: Reason
    detail: str
    data: bytes | None = None  # the record's original bytes where no payload column has them


NON_FINITE = Fault(
    stage=Stage.MODEL, reason=Reason.NON_FINITE_LATENT, detail="the model's output has NaN or infinite values"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One input file or object. ``identity`` changes when the content does (local: size and mtime in ns)."""

    uri: str
    path: str  # relative to the input root, with forward slashes
    size: int  # bytes
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One piece of work: a shard, a slice ``[start, stop)`` of its rows, or a group of small files."""

    id: str  # stable; the outputs are named after it: <output>/latents/<id>.parquet
    format: str
    shards: Sequence[Shard]
    start: int = 0
    stop: int | None = None  # None: to the end
    clean: Sequence[Shard] = ()  # of each shard the one that it is compared with, where there is a reference
    expected: int | None = None  # records, where the source says so
    again: bool = False  # done before, and now only the records that were rejected are tried once more


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """A batch of ``n`` records in the unit's order, as columns.

    payload: encoded image files (``pa.BinaryArray``, null where a record has none), or numbers: pixels
      ``[n, H, W, C]`` or vectors ``[n, d]``, of dtype uint8, uint16 or float32 as the source has them.
    shard: path of the records' shard; one for all, or one for each.
    index: position of each record in its shard, int64 ``[n]``.
    key: string ``[n]``; data, never a path, never unique by assumption.
    carried: one Arrow array of length ``n`` for each carried column, in the order of the job's carry schema.
    faults: position in the batch -> what is wrong, as far as reading has found out.
    source: all that the format keeps of each record, for a job that writes the shards again (``Columns.whole``): its
      type is the format's own business, shared by its reader and its writer. None where it was not asked for.
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
        """Already parsed: a reader whose columns cost nothing yields these directly."""
        return self

    def take(self, positions: Array) -> "Records":
        """The records at some positions, int64 ``[m]``, ascending, without their ``source``."""
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
    """A batch that is framed but not parsed."""

    def __len__(self) -> int:
        """How many records there are."""
        ...

    def records(self) -> Records:
        """Parse; called once, on any thread. Bad records become faults, never exceptions."""
        ...


def pick(column: pa.Array, positions: Array) -> pa.Array:
    """The values of a column at some positions, int64 ``[m]``."""
    if not (pa.types.is_string_view(column.type) or pa.types.is_binary_view(column.type)):
        return column.take(pa.array(positions))
    runs = np.split(positions, np.flatnonzero(np.diff(positions) != 1) + 1)  # Arrow cannot take from views
    return pa.concat_arrays([column.slice(int(run[0]) if len(run) else 0, len(run)) for run in runs])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """One row of ``rejects/``: a record that was read and gave no result."""

    shard: str
    index: int
    key: str
    stage: Stage
    reason: Reason
    detail: str
    data: bytes | None
