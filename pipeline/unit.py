"""One unit: read, decode, batch, model, write, receipt. Plain Python, one pass, constant memory."""

import time
from collections import Counter
from functools import partial

import pyarrow as pa

from pipeline.batch import BatchResult, run_batch
from pipeline.config import JobConfig, Verb, fingerprint
from pipeline.errors import ShardError
from pipeline.layout import Layout, latents_name, rejects_name
from pipeline.pool import ordered_map
from pipeline.progress import TALLY
from pipeline.readers import reader_for
from pipeline.receipts import Output, Receipt, write_receipt
from pipeline.records import Unit
from pipeline.storage import store_for
from pipeline.worker import Worker, unit_slot, worker_for
from pipeline.writers.latents import latent_schema
from pipeline.writers.rejects import REJECT_SCHEMA, reject_rows
from pipeline.writers.table import TableWriter


def run_unit(unit: Unit, config: JobConfig) -> Receipt:
    """Run one unit to its receipt. Running it again, also at the same time elsewhere, leaves the same bytes.

    A damaged shard gives the receipt of a failed unit, and none of its outputs becomes visible.

    Raises:
      OSError: the output cannot be written.
      BundleError: the model is not the one that was planned.
    """
    started = time.monotonic()
    worker = worker_for(config.model, config.model_digest, config.target, config.threads)
    with unit_slot():
        try:
            receipt = _run(unit, config, worker, started)
            write_receipt(Layout(config.output), receipt)
        except ShardError as error:
            receipt = Receipt(unit=unit.id, fingerprint=fingerprint(unit, config), error=str(error))
    TALLY.add(units=1, unit_bytes=sum(shard.size for shard in unit.shards))
    return receipt


def _run(unit: Unit, config: JobConfig, worker: Worker, started: float) -> Receipt:
    raw = reader_for(unit.format).read(unit, config.columns, worker.runtime.batch_size)
    schema = latent_schema(worker.runtime.spec.latent.dimension, config.verb is Verb.RECONSTRUCT, config.columns.carry)
    outputs = UnitOutputs(unit, config, schema)
    try:
        work = partial(run_batch, worker=worker, verb=config.verb, schema=schema)
        for result in ordered_map(worker.pool, work, raw, worker.ahead):
            outputs.write(result)
        return outputs.publish(time.monotonic() - started)
    except BaseException:
        outputs.abort()
        raise


class UnitOutputs:
    """The files of one unit while it runs. Rejects get a file only when there are any."""

    def __init__(self, unit: Unit, config: JobConfig, schema: pa.Schema) -> None:
        self._unit, self._config = unit, config
        self._read = 0
        self._first: float | None = None
        self._rejects: Counter[str] = Counter()
        self._latents = self._open(latents_name(unit.id), schema, ["shard"])
        self._reject_table: TableWriter | None = None

    def write(self, result: BatchResult) -> None:
        """Append one batch."""
        self._first = self._first or time.time()
        self._latents.write(result.rows)
        if result.rejects:
            if self._reject_table is None:
                self._reject_table = self._open(
                    rejects_name(self._unit.id), REJECT_SCHEMA, ["shard", "stage", "reason"]
                )
            self._reject_table.write(reject_rows(result.rejects, self._config.reject_bytes))
            self._rejects.update(str(reject.reason) for reject in result.rejects)
        self._read += result.read
        TALLY.add(read=result.read, rejected=len(result.rejects))

    def publish(self, seconds: float) -> Receipt:
        """Make every file visible and give the unit's receipt."""
        tables = [table for table in (self._latents, self._reject_table) if table is not None]
        outputs: list[Output] = [table.publish() for table in tables]
        return Receipt(
            unit=self._unit.id,
            fingerprint=fingerprint(self._unit, self._config),
            read=self._read,
            results=self._latents.rows,
            rejects=dict(sorted(self._rejects.items())),
            outputs=tuple(outputs),
            seconds=round(seconds, 3),
            first=self._first,
        )

    def abort(self) -> None:
        """Drop every file that is not published."""
        self._latents.abort()
        if self._reject_table is not None:
            self._reject_table.abort()

    def _open(self, name: str, schema: pa.Schema, dictionary: list[str]) -> TableWriter:
        sink = store_for(self._config.output).create(Layout(self._config.output).at(name))
        return TableWriter(sink, name, schema, self._config.metadata(self._unit), dictionary)
