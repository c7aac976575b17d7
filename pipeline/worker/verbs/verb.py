"""The interface of a verb, and how the results of a batch are put together."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from lake.cli.option import Option
from lake.core.printable import printable
from lake.core.records import (
    Array,
    Fault,
    RawBatch,
    Reason,
    Records,
    Reject,
    Stage,
)
from lake.formats.common.parquet_table import TableEncoding
from lake.formats.reader import BATCH_BYTES
from pipeline.config import JobConfig
from pipeline.worker.process import Worker

if TYPE_CHECKING:
    from pipeline.worker.image_outputs import BatchImages

_TEXT = 1000  # most characters of a model's error; a model can make it as long as it likes


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """The results of one batch. Every record is either a result or a reject.

    Attributes:
      read: number of records.
      results: number of results.
      rejects: the rejected records, in the order of the batch.
      rows: rows of the unit's table, one per result, in the order of the source; None for a verb without a table.
      images: what ``DatasetWriter.render`` returned; None if no images are written.
      error_maps: the same for the error maps.
      several: results of files with several images, of which the first was taken.
      clipped: numbers of latents that were clipped to the range of their type.
      noise_below: results of images with less noise than the model learned.
      noise_above: results of images with more noise than it learned.
      reused: results whose latents were made by an earlier run.
    """

    read: int
    results: int
    rejects: Sequence[Reject]
    rows: pa.RecordBatch | None = None
    images: Any = None
    error_maps: Any = None
    several: int = 0
    clipped: int = 0
    noise_below: int = 0
    noise_above: int = 0
    reused: int = 0


class Verb(ABC):
    """What a job computes from every record. The class attributes hold all that other modules ask about a verb.

    An instance is a verb with a worker's model. Any number of threads may call one.

    Attributes:
      name: name of the verb on the command line and in outputs.
      help: one line for the command's help.
      example: a command that a user can type.
      flags: options of the command.
      function: the function that the model must offer, one of ``model.spec.FUNCTIONS``.
      table: directory of the units' tables, below the output; None for a verb without one.
      takes_latents: whether records are latents instead of images.
      samples: whether records are sampled instead of read; ``--input`` is optional then.
      takes_noise_level: whether the model may be told how noisy an image is.
      makes_images: whether every result has an image. It is written unless ``JobOptions.images`` is false.
      works_without_images: whether the verb also takes a model of vectors, which gives no images.
      schema: schema of the unit's table; None for a verb without one.
      encoding: how its columns are encoded.
      size: largest number of records in a batch.
      room: largest size of a batch in bytes; a batch ends at whichever limit comes first.
    """

    name: ClassVar[str]
    help: ClassVar[str]
    example: ClassVar[str]
    flags: ClassVar[tuple[Option, ...]]
    function: ClassVar[str]
    table: ClassVar[str | None] = None
    takes_latents: ClassVar[bool] = False
    samples: ClassVar[bool] = False
    takes_noise_level: ClassVar[bool] = False
    makes_images: ClassVar[bool] = False
    works_without_images: ClassVar[bool] = False

    schema: pa.Schema | None = None
    encoding: TableEncoding = TableEncoding()
    size: int
    room: int = BATCH_BYTES

    @abstractmethod
    def __init__(self, config: JobConfig, worker: Worker) -> None: ...

    @abstractmethod
    def run(self, raw: RawBatch) -> BatchResult:
        """Compute the results of one batch. A bad record becomes a reject and does not affect the others."""


def batch_result(
    records: Records,
    positions: Array,
    faults: Mapping[int, Fault],
    rows: pa.RecordBatch | None,
    batch_images: "BatchImages | None",
    several: Collection[int] = (),
) -> BatchResult:
    """Put the result of a batch together.

    Args:
      records: the batch.
      positions: positions of the results, int64 ``[m]``, ascending.
      faults: faults of all other records, by position.
      rows: rows of the unit's table, one per result; None for a verb without a table.
      batch_images: encoded images, one per result; None if no images are written.
      several: positions of records whose files have several images, of which the first was taken.
    """
    return BatchResult(
        read=len(records),
        results=len(positions),
        rejects=_rejects(records, faults),
        rows=rows,
        images=batch_images.images(positions) if batch_images else None,
        error_maps=batch_images.error_maps(positions) if batch_images else None,
        several=sum(position not in faults for position in several),
    )


def model_faults(positions: Array, failed: Mapping[int, str]) -> dict[int, Fault]:
    """Convert the errors of the model to faults, by position in the batch.

    Args:
      positions: positions of the records that the model was called with, int64 ``[m]``.
      failed: row of that call -> why the model failed for it.

    >>> model_faults(np.array([4, 7]), {1: "overflow"})[7].detail
    'overflow'
    """
    return {
        int(positions[row]): Fault(stage=Stage.MODEL, reason=Reason.MODEL_FAILED, detail=printable(why, _TEXT))
        for row, why in failed.items()
    }


def without_fault(positions: Array, faults: Mapping[int, Fault]) -> Array:
    """Return which positions have no fault, bool ``[m]``.

    >>> fault = Fault(stage=Stage.MODEL, reason=Reason.MODEL_FAILED, detail="overflow")
    >>> without_fault(np.array([4, 7]), {7: fault}).tolist()
    [True, False]
    """
    if not faults:
        return np.ones(len(positions), bool)
    good: Array = ~np.isin(positions, np.fromiter(faults, np.int64, len(faults)))
    return good


def _rejects(records: Records, faults: Mapping[int, Fault]) -> list[Reject]:
    """Return the rejects of a batch in its order."""
    return [_reject(records, position, faults[position]) for position in sorted(faults)]


# For these reasons the source has no numbers for the record, and its row in the batch is only a placeholder.
_NO_NUMBERS = frozenset((Reason.MISSING_IMAGE, Reason.INVALID_RECORD, Reason.RECORD_TOO_LARGE))


def _original(payload: pa.Array | Array, position: int, fault: Fault) -> bytes | None:
    if fault.data is not None:
        return fault.data
    if isinstance(payload, np.ndarray):
        # Vectors and pixels are kept as their raw bytes.
        return None if fault.reason in _NO_NUMBERS else bytes(payload[position].tobytes())
    data: bytes | None = payload[position].as_py()
    return data


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
