"""Run one unit: read, decode, compute, write, leave a receipt. One pass, in constant memory."""

import errno
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from lake.core.counters import RETRIES, TALLY
from lake.core.errors import HeldError, LatentlakeError, ShardError, UnfinishedError, UsageError
from lake.core.ordered_map import ordered_map
from lake.core.printable import printable
from lake.core.records import RawBatch, Unit
from lake.core.retry import retry
from lake.core.stopwatch import Stopwatch
from lake.inputs.units import OWN_BYTES, input_bytes
from lake.storage import configure
from pipeline.config import JobConfig, fingerprint, options_digest
from pipeline.output.fencing.heartbeat import HEARTBEAT, guard_of
from pipeline.output.layout import Layout
from pipeline.output.units.finished import finished_before
from pipeline.output.units.receipts import Receipt, write_failure, write_receipt
from pipeline.worker.apart import ProcessEndedError
from pipeline.worker.beside import BESIDE
from pipeline.worker.process import Worker, unit_slot, worker_for
from pipeline.worker.suspects import ended_twice, run_watched
from pipeline.worker.unit_input import read_unit
from pipeline.worker.unit_outputs import UnitOutputs
from pipeline.worker.unit_progress import UnitProgress
from pipeline.worker.verbs import verb_for
from pipeline.worker.verbs.verb import BatchResult

_LOG = logging.getLogger(__name__)

# Errors of the operating system that come from the unit's own name, so that other units do not meet them.
_NAME_ERRORS = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR)
_TEXT = 2000  # most characters of the error that a receipt keeps


def run_unit(unit: Unit, config: JobConfig) -> Receipt:
    """Run one unit to its receipt.

    Running a unit twice, even at the same time on two machines, leaves the same bytes. A unit that an earlier start of
    the job has finished gives the receipt that it left. Transient errors are retried. If the shard is damaged or cannot
    be read, or if anything else goes wrong with this unit alone, the receipt is that of a failed unit, and none of the
    unit's outputs becomes visible.

    Args:
      unit: the unit.
      config: the job.

    Raises:
      OSError: the output cannot be written.
      BundleError: the bundle is not the one that was planned, or does not reproduce its golden outputs.
      HeldError: another run holds the output.
      UnfinishedError: more records were rejected than the gate allows in all.
    """
    configure(config.stores)
    # The launcher may have exited. Loading the model, one batch or one request may take longer than the lease lasts.
    with HEARTBEAT.beating(config.output, config.run):
        # Before the model is loaded: a job that was started again near its end may not need it.
        receipt = finished_before(unit, config) if config.restarts else None
        if receipt is None:
            receipt = run_watched(unit, config, _run_beside) if config.marks else _run_beside(unit, config)
    if receipt.error is not None:
        _show_failure(config, receipt)
    TALLY.add(units=1, unit_bytes=input_bytes(unit))
    return receipt


def _run_beside(unit: Unit, config: JobConfig) -> Receipt:
    """Run a unit in a process beside this one, if one is idle, or else here."""
    try:
        return BESIDE.run(unit, config) or run_anew(unit, config)
    except ProcessEndedError as error:
        return ended_twice(unit, config, error)


def run_anew(unit: Unit, config: JobConfig) -> Receipt:
    """Run one unit in this process, whatever there is of it already.

    Args:
      unit: the unit.
      config: the job.

    Raises:
      Exception: as of ``run_unit``.
    """
    worker = worker_for(config.worker_key)
    with unit_slot():
        try:
            return retry(f"unit {unit.id}", lambda attempt: _run(unit, config, worker, attempt))
        except Exception as error:  # whatever a unit raises is its own failure
            return _failed(unit, config, error)


def _failed(unit: Unit, config: JobConfig, error: Exception) -> Receipt:
    """Return the receipt of a failed unit. Raise the error instead if it would stop every other unit, too."""
    if isinstance(error, (HeldError, UsageError, UnfinishedError)) or (
        isinstance(error, OSError) and error.errno not in _NAME_ERRORS
    ):
        raise error
    if not isinstance(error, LatentlakeError):  # these say all that there is to say
        _LOG.info("unit %s failed", unit.id, exc_info=error)
    return Receipt(
        unit=unit.id,
        fingerprint=fingerprint(unit, config),
        options=options_digest(config),
        run=config.run,
        store_retries=RETRIES.take(),
        error=_text(unit, error),
    )


def _show_failure(config: JobConfig, receipt: Receipt) -> None:
    """Let ``status`` see a failed unit before the commit. The commit does not depend on it."""
    try:
        write_failure(Layout(config.output), config.run, receipt, guard_of(config.output, config.run))
    except OSError as error:
        _LOG.warning("unit %s failed, which could not be written down: %s", receipt.unit, error)


def _text(unit: Unit, error: Exception) -> str:
    """Return what the receipt of a failed unit says, which begins with the name of its shard or its own."""
    if isinstance(error, ShardError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{unit.id}: out of memory; use fewer --threads"
    kind = "" if isinstance(error, (LatentlakeError, OSError)) else f"{type(error).__name__}: "
    return printable(f"{unit.id}: {kind}{error}", _TEXT)


def _run(unit: Unit, config: JobConfig, worker: Worker, attempt: int) -> Receipt:
    started = time.monotonic()
    config = config.of_unit(unit).of(unit.format)
    worker = replace(worker, retry=config.decoding_again)
    verb = verb_for(config, worker)
    dimension = worker.runtime.spec.dimension
    outputs = UnitOutputs(unit, config, verb, dimension)
    progress, watch = UnitProgress(unit, config), Stopwatch()

    def compute(batch: RawBatch) -> BatchResult:
        with watch.time("decode"):  # what is not counted as the model's or as writing
            return verb.run(batch)

    try:
        outputs.begin()
        batches = progress.noting(read_unit(unit, config, verb, dimension, attempt))
        for result in _computed(unit, worker, compute, watch.each("read", batches)):
            with watch.time("write"):
                outputs.write(result)
            progress.batch_done()
            # A lost lease stops the unit here.
            HEARTBEAT.renew_if_due(config.output, config.run)
        receipt = outputs.publish(started, watch)
        write_receipt(Layout(config.output), receipt, guard_of(config.output, config.run), durable=False)
        return receipt
    except BaseException:
        # Also for an interruption: a partial Parquet file would be readable, and must not be published.
        outputs.abort()
        raise
    finally:
        progress.end()


def _computed(
    unit: Unit, worker: Worker, compute: Callable[[RawBatch], BatchResult], batches: Iterator[RawBatch]
) -> Iterator[BatchResult]:
    """The results of a unit's batches, in order.

    They are computed on the worker's threads. A small unit has one batch and would only wait for it: to hand it over
    would cost a tenth of the unit.
    """
    if 0 < input_bytes(unit) < OWN_BYTES:
        yield from map(compute, islice(batches, 1))
    yield from ordered_map(worker.pool, compute, batches, worker.ahead)
