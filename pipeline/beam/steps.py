"""The Beam functions behind the steps of ``pipeline.transforms``.

Each one adapts a plain function to Beam (elements, windows, counters) and holds no logic of its own.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeAlias

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import BoundedWindow
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from lake.storage import StoreOptions, configure
from lake.storage.location import is_local
from pipeline.config import Gate, JobConfig
from pipeline.job.dealing import in_turns, work_of
from pipeline.lineage.events import Lineage
from pipeline.lineage.tell import tell_end
from pipeline.options.latent_form import LatentForm
from pipeline.output.commit.commit import commit
from pipeline.output.commit.publish_state import check_complete
from pipeline.output.commit.run import Run
from pipeline.output.fencing.stop import Stop, is_stop, stopped_summary
from pipeline.output.state.plan_files import read_units, unpack_unit
from pipeline.output.units.receipt_accumulator import ReceiptAccumulator
from pipeline.output.units.receipts import Receipt
from pipeline.worker.beside import BESIDE
from pipeline.worker.in_memory import RejectedItem, encode_items
from pipeline.worker.orphan import end_with_engine
from pipeline.worker.process import UNITS_AT_ONCE, warm, worker_for
from pipeline.worker.run_or_stop import run_or_stop, stop_run
from pipeline.worker.worker_key import WorkerKey

_LOG = logging.getLogger(__name__)
_NAMESPACE = "latentlake"  # of the Beam counters
_NO_UNIT = b""  # for a worker whose turn it is and that has enough to do

_Pending: TypeAlias = "tuple[Future[Receipt | Stop], Timestamp, BoundedWindow]"


def units_of(part: str, config: JobConfig, workers: int = 1) -> Iterator[bytes]:
    """Yield the units of one file of the plan, or the line of a ``Stop`` if it cannot be read.

    Args:
      part: URI of the file.
      config: the job.
      workers: how many there are that get elements in turn; 1 if the engine deals them in another way.
    """
    try:
        units = [*read_units(part, config.stores)]
    except Exception as error:
        yield stop_run(config, error).to_line().encode()
        return
    for position in in_turns([work_of(unpack_unit(unit)) for unit in units], workers):
        yield _NO_UNIT if position is None else units[position]


class RunUnits(beam.DoFn):
    """Run each unit and give its receipt as one line of JSON, or that of a ``Stop``.

    Up to ``UNITS_AT_ONCE`` units of a bundle run here at the same time: while one unit writes its last batches and
    publishes its files, the next one keeps the cores busy. Each process beside this one runs another. Receipts come in
    the order in which units end, so that a large unit does not keep the next one waiting.
    """

    def __init__(self, config: JobConfig) -> None:
        self._config = config

    def setup(self) -> None:
        # The engine may create several instances in a process; unit_slot bounds the units of all of them together.
        # A disk takes a unit's files at once, so that processes for all cores leave none of them idle for long.
        here = 1 if BESIDE.count and is_local(self._config.output) else UNITS_AT_ONCE
        self._at_once = here + BESIDE.count
        self._pool = ThreadPoolExecutor(self._at_once, thread_name_prefix="unit")
        self._pending = list[_Pending]()
        if self._config.restarts:
            end_with_engine()
        # Seconds before an engine has a unit for it. If this fails, the unit tries again, and says why.
        self._pool.submit(warm, self._config)

    def start_bundle(self) -> None:
        self._pending = []

    def process(
        self, unit: bytes, time: Timestamp = beam.DoFn.TimestampParam, window: BoundedWindow = beam.DoFn.WindowParam
    ) -> Iterator[WindowedValue]:
        if unit == _NO_UNIT:
            return
        self._pending.append((self._pool.submit(_outcome, unit, self._config), time, window))
        if len(self._pending) >= self._at_once:
            yield self._next_receipt()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        while self._pending:
            yield self._next_receipt()

    def teardown(self) -> None:
        # After a bundle that was broken off, nobody waits for its units.
        self._pool.shutdown(wait=not self._pending, cancel_futures=True)

    def _next_receipt(self) -> WindowedValue:
        # A receipt may come out in a later call than its unit went in, so it carries its unit's own time and window.
        done, _ = wait([future for future, *_ in self._pending], return_when=FIRST_COMPLETED)
        at = next(at for at, (future, *_) in enumerate(self._pending) if future in done)
        future, time, window = self._pending.pop(at)
        outcome = future.result()
        if isinstance(outcome, Stop):
            return WindowedValue(outcome.to_line(), time, (window,))
        _count(outcome)
        return WindowedValue(outcome.to_json(), time, (window,))


def _outcome(unit: bytes, config: JobConfig) -> Receipt | Stop:
    if is_stop(unit):
        return Stop.from_line(unit.decode())
    return run_or_stop(unpack_unit(unit), config)


def _count(receipt: Receipt) -> None:
    """Add the numbers of a receipt to the Beam counters, which so equal the sums over all receipts."""
    counts = {"records_read": receipt.read, "results": receipt.results, "rejects": receipt.rejected}
    counts |= {f"rejects_{reason}": count for reason, count in receipt.rejects.items()}
    counts["units_done" if receipt.error is None else "units_failed"] = 1
    # Flink's REST interface has no counter of a job in Beam's batch mode; the log of its workers has these lines.
    _LOG.info("%s", json.dumps({"unit": receipt.unit, "seconds": receipt.seconds, **counts, "error": receipt.error}))
    for name, count in counts.items():
        Metrics.counter(_NAMESPACE, name).inc(count)


class AccumulateReceipts(beam.CombineFn):
    """Combine all receipts into one ``ReceiptAccumulator``; associative and commutative, as Beam requires."""

    def create_accumulator(self) -> ReceiptAccumulator:
        return ReceiptAccumulator()

    def add_input(self, accumulator: ReceiptAccumulator, receipt: str) -> ReceiptAccumulator:
        accumulator.add(receipt)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[ReceiptAccumulator]) -> ReceiptAccumulator:
        merged = ReceiptAccumulator()
        merged.join(accumulators)
        return merged

    def extract_output(self, accumulator: ReceiptAccumulator) -> ReceiptAccumulator:
        return accumulator


def commit_receipts(
    accumulator: ReceiptAccumulator, config: JobConfig, gate: Gate, run: Run, lineage: Lineage | None = None
) -> dict[str, Any]:
    """Commit a run from its accumulated receipts and return the summary; see ``output/commit/commit.py``.

    A run that has ended before is not committed. Where nobody waits for the run, its end is told from here.
    """
    configure(config.stores)
    summary = _committed(accumulator, config, gate, run)
    if lineage is not None:
        tell_end(lineage, summary)
    return summary


def _committed(accumulator: ReceiptAccumulator, config: JobConfig, gate: Gate, run: Run) -> dict[str, Any]:
    if accumulator.stop:
        return stopped_summary(config, Stop.from_line(accumulator.stop))
    try:
        return commit(config, gate, run, accumulator.receipts())
    except Exception as error:
        return stopped_summary(config, stop_run(config, error))


def complete_summary(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the summary of a run that completed its output; see ``check_complete``.

    Raises:
      LatentlakeError: what ended the run.
    """
    if "stopped" in summary:
        raise Stop(**summary["stopped"]).error
    check_complete(summary)
    return summary


class EncodeItems(beam.DoFn):
    """Encode batches of ``(key, image)``: latents on the main output, rejected items on the output ``rejects``."""

    def __init__(self, worker: WorkerKey, form: LatentForm, stores: StoreOptions) -> None:
        self._worker, self._form, self._stores = worker, form, stores

    # Beam takes the types for a contract, and would refuse a pipeline whose items it cannot tell to be images.
    def process(self, items: list[Any]) -> Iterator[Any]:
        configure(self._stores)
        worker = worker_for(self._worker)
        for outcome in encode_items(items, worker, self._form, Metrics.counter(_NAMESPACE, "clipped").inc):
            Metrics.counter(_NAMESPACE, "records_read").inc()
            if isinstance(outcome, RejectedItem):
                Metrics.counter(_NAMESPACE, f"rejects_{outcome.reason}").inc()
                yield beam.pvalue.TaggedOutput("rejects", outcome)
            else:
                yield outcome
