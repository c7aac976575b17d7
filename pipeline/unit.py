"""One unit: read, decode, batch, model, write, receipt. Plain Python, one pass, constant memory."""

import errno
import time
from collections.abc import Iterator
from dataclasses import replace

from pipeline.again import joins, only_rejected, read_rejected
from pipeline.attempts import attempt
from pipeline.config import JobConfig, fingerprint, options_digest
from pipeline.drawn import read_drawn
from pipeline.errors import ShardError
from pipeline.hold import PULSE
from pipeline.layout import Layout
from pipeline.outputs import UnitOutputs
from pipeline.pool import ordered_map
from pipeline.progress import TALLY
from pipeline.readers import Columns, reader_for
from pipeline.receipts import Receipt, write_receipt
from pipeline.records import RawBatch, Unit
from pipeline.reference import paired
from pipeline.salvage import counted, salvaged
from pipeline.storage import configure
from pipeline.storage.tries import RETRIES
from pipeline.verbs import task_for
from pipeline.verbs.base import Task
from pipeline.worker import Worker, unit_slot, worker_for

_OF_ITS_NAME = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR)  # what only this unit's outputs meet


def run_unit(unit: Unit, config: JobConfig) -> Receipt:
    """Run one unit to its receipt. Running it again, also at the same time elsewhere, leaves the same bytes.

    A shard that is damaged or cannot be read gives the receipt of a failed unit, and none of its outputs becomes
    visible. What may pass is tried again before.

    Raises:
      OSError: the output cannot be written.
      BundleError: the model is not the one that was planned.
      HeldError: another run holds the output.
    """
    configure(config.stores)
    worker = worker_for(config.model, config.model_digest, config.target, config.threads, config.retry)
    with unit_slot():
        try:
            receipt = attempt(f"unit {unit.id}", lambda number: _run(unit, config, worker, number))
        except (ShardError, MemoryError, OSError) as error:
            receipt = _failed(unit, config, error)
    TALLY.add(units=1, unit_bytes=sum(shard.size for shard in unit.shards))
    return receipt


def _failed(unit: Unit, config: JobConfig, error: Exception) -> Receipt:
    """What a unit leaves that cannot be done, unless others cannot be done either."""
    if isinstance(error, OSError) and error.errno not in _OF_ITS_NAME:
        raise error
    text = str(error)
    if not isinstance(error, ShardError):
        text = f"{unit.id}: {'out of memory; use fewer --threads' if isinstance(error, MemoryError) else error}"
    return Receipt(
        unit=unit.id,
        fingerprint=fingerprint(unit, config),
        options=options_digest(config),
        store_retries=RETRIES.take(),
        error=text,
    )


def _run(unit: Unit, config: JobConfig, worker: Worker, number: int) -> Receipt:
    started = time.monotonic()
    task = task_for(config, worker)
    outputs = UnitOutputs(unit, config, task.schema)
    # At first a shard is read as if all were well: what only seemed damaged is not to be given up.
    columns = _columns(config, salvage=config.columns.salvage and number > 0)
    batches = _read(unit, config, columns, task, worker.runtime.spec.dimension)
    try:
        outputs.begin()
        for result in ordered_map(worker.pool, task.run, batches, worker.ahead):
            outputs.write(result)
            PULSE.beat(config.output, config.run)
        receipt = outputs.publish(started)
        write_receipt(Layout(config.output), receipt)
        return receipt
    except BaseException:
        outputs.abort()
        raise


def _columns(config: JobConfig, *, salvage: bool) -> Columns:
    most = config.columns.max_record_bytes if config.retry is None else config.retry.max_record_bytes
    return replace(config.columns, salvage=salvage, max_record_bytes=most)


def _read(unit: Unit, config: JobConfig, columns: Columns, task: Task, dimension: int) -> Iterator[RawBatch]:
    if config.drawn is not None:
        return read_drawn(unit, config.drawn, dimension, task.size)
    read: Iterator[RawBatch] = counted(reader_for(unit.format).read(unit, columns, task.size, task.room), unit)
    if columns.salvage:
        read = salvaged(read, unit, columns)
    if joins(unit, config):
        read = only_rejected(read, read_rejected(unit, config.output))
    return read if config.reference is None else paired(read, unit, config.reference)
