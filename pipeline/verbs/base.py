"""What a verb's task offers, and the columns and rejects that all of them give."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from pipeline.records import Array, Fault, RawBatch, Reason, Records, Reject, Stage, pick

if TYPE_CHECKING:
    from pipeline.gallery import Pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """What one batch gives: every record is a result or a reject.

    rows: of the unit's table, in the order of the source; None where the verb has none.
    images, error_maps: what the dataset's ``render`` made; None where no images are written.
    """

    read: int
    results: int
    rejects: Sequence[Reject]
    rows: pa.RecordBatch | None = None
    images: Any = None
    error_maps: Any = None


class Task(Protocol):
    """One verb, with a worker's model. Any number of threads may use one."""

    schema: pa.Schema | None  # of the unit's table
    size: int  # records of a batch ...
    room: int  # ... or their bytes, before it ends

    def run(self, raw: RawBatch) -> BatchResult:
        """Make the results of one batch; a bad record costs itself alone."""
        ...


def batch_result(
    records: Records,
    positions: Array,
    faults: Mapping[int, Fault],
    rows: pa.RecordBatch | None,
    pictures: "Pictures | None",
) -> BatchResult:
    """The result of a batch.

    Args:
      records: the batch.
      positions: of its results, int64 ``[m]``, ascending.
      faults: of all others.
      rows: of the unit's table, one for each result.
      pictures: with an image for each result.
    """
    return BatchResult(
        read=len(records),
        results=len(positions),
        rejects=_rejects(records, faults),
        rows=rows,
        images=pictures.images(positions) if pictures else None,
        error_maps=pictures.error_maps(positions) if pictures else None,
    )


def model_faults(positions: Array, failed: Mapping[int, str]) -> dict[int, Fault]:
    """The faults of records for which the model raised an error, by position in the batch.

    Args:
      positions: of the records that the model was given, int64 ``[m]``.
      failed: which of them it failed for, and why.
    """
    return {
        int(positions[row]): Fault(stage=Stage.MODEL, reason=Reason.MODEL_FAILED, detail=why)
        for row, why in failed.items()
    }


def surviving(positions: Array, faults: Mapping[int, Fault]) -> Array:
    """Which of some positions have no fault, bool ``[m]``."""
    if not faults:
        return np.ones(len(positions), bool)
    good: Array = ~np.isin(positions, np.fromiter(faults, np.int64, len(faults)))
    return good


def table_rows(records: Records, positions: Array, made: Iterable[pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    """Rows of the results at ``positions``, ascending: who they are, what was made of them, what is carried."""
    key, *carried = (
        column if len(positions) == len(records) else pick(column, positions)
        for column in (records.key, *records.carried.values())
    )
    identity = [key, _shard_column(records, positions), pa.array(records.index[positions])]
    return pa.RecordBatch.from_arrays([*identity, *made, *carried], schema=schema)


def _rejects(records: Records, faults: Mapping[int, Fault]) -> list[Reject]:
    """The faults of a batch as rows, in its order."""
    return [_reject(records, position, faults[position]) for position in sorted(faults)]


# Of a record with one of these a reader has no numbers, and the row that stands for them is not the source's.
_NO_NUMBERS = frozenset((Reason.MISSING_IMAGE, Reason.INVALID_RECORD, Reason.RECORD_TOO_LARGE))


def _original(payload: pa.Array | Array, position: int, fault: Fault) -> bytes | None:
    if fault.data is not None:
        return fault.data
    if isinstance(payload, np.ndarray):
        return None if fault.reason in _NO_NUMBERS else bytes(payload[position].tobytes())
    data: bytes | None = payload[position].as_py()
    return data


def _shard_column(records: Records, positions: Array) -> pa.Array:
    if isinstance(records.shard, str):
        codes = pa.array(np.zeros(len(positions), np.int32))
        return pa.DictionaryArray.from_arrays(codes, pa.array([records.shard]))
    return pa.array([records.shard[p] for p in positions], pa.string()).dictionary_encode()


def _reject(records: Records, position: int, fault: Fault) -> Reject:
    shard = records.shard if isinstance(records.shard, str) else records.shard[position]
    return Reject(
        shard=shard,
        index=int(records.index[position]),
        key=records.key[position].as_py(),
        stage=fault.stage,
        reason=fault.reason,
        detail=fault.detail,
        data=_original(records.payload, position, fault),
    )
