"""One unit: read, decode, batch, model, write, receipt. Plain Python, one pass, constant memory."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import pyarrow as pa

from pipeline.config import JobConfig, Verb, fingerprint
from pipeline.drawn import read_drawn
from pipeline.errors import ShardError
from pipeline.gallery import gallery_for
from pipeline.layout import IMAGES, MAPS, Layout, latents_name, metrics_name, rejects_name
from pipeline.pool import ordered_map
from pipeline.progress import TALLY
from pipeline.readers import reader_for
from pipeline.receipts import Receipt, write_receipt
from pipeline.records import RawBatch, Reject, Unit
from pipeline.reference import paired
from pipeline.storage import Sink, store_for
from pipeline.verbs import task_for
from pipeline.verbs.base import BatchResult, Task
from pipeline.worker import Worker, unit_slot, worker_for
from pipeline.writers.base import DatasetWriter
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
    task = task_for(config, worker)
    outputs = UnitOutputs(unit, config, task.schema)
    try:
        for result in ordered_map(
            worker.pool, task.run, _read(unit, config, task, worker.runtime.spec.dimension), worker.ahead
        ):
            outputs.write(result)
        return outputs.publish(time.monotonic() - started)
    except BaseException:
        outputs.abort()
        raise


def _read(unit: Unit, config: JobConfig, task: Task, dimension: int) -> Iterator[RawBatch]:
    if config.drawn is not None:
        return read_drawn(unit, config.drawn, dimension, task.size)
    read = reader_for(unit.format).read(unit, config.columns, task.size, task.room)
    return read if config.reference is None else paired(read, unit, config.reference)


class UnitOutputs:
    """The files of one unit while it runs. Rejects get a file only when there are any."""

    def __init__(self, unit: Unit, config: JobConfig, schema: pa.Schema | None) -> None:
        self._unit, self._config = unit, config
        self._read = self._results = 0
        self._first: float | None = None
        self._rejects: Counter[str] = Counter()
        name = metrics_name(unit.id) if config.verb is Verb.DENOISE else latents_name(unit.id)
        self._table = self._open(name, schema, ["shard"]) if schema else None
        self._reject_table: TableWriter | None = None
        gallery = gallery_for(config)
        self._images = gallery.format.begin(unit, partial(self._create, IMAGES)) if gallery else None
        self._maps = gallery.format.begin(unit, partial(self._create, MAPS)) if gallery and gallery.error_map else None

    def write(self, result: BatchResult) -> None:
        """Append one batch."""
        self._first = self._first or time.time()
        if self._table is not None and result.rows is not None:
            self._table.write(result.rows)
        for dataset, rendered in ((self._images, result.images), (self._maps, result.error_maps)):
            if dataset is not None:
                dataset.write(rendered)
        if result.rejects:
            self._reject(result.rejects)
        self._read += result.read
        self._results += result.results
        TALLY.add(read=result.read, rejected=len(result.rejects))

    def publish(self, seconds: float) -> Receipt:
        """Make every file visible and give the unit's receipt."""
        outputs = [
            replace(output, name=f"{directory}/{output.name}")
            for directory, dataset in self._datasets()
            for output in dataset.publish()
        ]
        outputs += [table.publish() for table in (self._table, self._reject_table) if table is not None]
        return Receipt(
            unit=self._unit.id,
            fingerprint=fingerprint(self._unit, self._config),
            read=self._read,
            results=self._results,
            rejects=dict(sorted(self._rejects.items())),
            outputs=tuple(sorted(outputs, key=lambda output: output.name)),
            seconds=round(seconds, 3),
            first=self._first,
        )

    def abort(self) -> None:
        """Drop every file that is not published."""
        for writer in (self._table, self._reject_table, self._images, self._maps):
            if writer is not None:
                writer.abort()

    def _reject(self, rejects: Sequence[Reject]) -> None:
        if self._reject_table is None:
            self._reject_table = self._open(rejects_name(self._unit.id), REJECT_SCHEMA, ["shard", "stage", "reason"])
        self._reject_table.write(reject_rows(rejects, self._config.reject_bytes))
        self._rejects.update(str(reject.reason) for reject in rejects)

    def _datasets(self) -> Iterator[tuple[str, DatasetWriter]]:
        for directory, dataset in ((IMAGES, self._images), (MAPS, self._maps)):
            if dataset is not None:
                yield directory, dataset

    def _create(self, directory: str, name: str) -> Sink:
        return store_for(self._config.output).create(Layout(self._config.output).at(f"{directory}/{name}"))

    def _open(self, name: str, schema: pa.Schema, dictionary: list[str]) -> TableWriter:
        sink = store_for(self._config.output).create(Layout(self._config.output).at(name))
        return TableWriter(sink, name, schema, self._config.metadata(self._unit), dictionary)
