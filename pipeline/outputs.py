"""The files of one unit, from the first batch to its receipt."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa

from pipeline.again import Joined, joins
from pipeline.config import JobConfig, Verb, fingerprint, options_digest
from pipeline.gallery import gallery_for
from pipeline.layout import IMAGES, MAPS, Layout, latents_name, metrics_name, rejects_name
from pipeline.progress import TALLY
from pipeline.receipts import Receipt, write_receipt
from pipeline.records import Reject, Unit
from pipeline.storage import Sink, store_for
from pipeline.storage.tries import RETRIES
from pipeline.verbs.base import BatchResult
from pipeline.writers.base import DatasetWriter
from pipeline.writers.rejects import REJECT_SCHEMA, reject_rows
from pipeline.writers.table import TableWriter

_BETWEEN = "its files were being replaced"


class UnitOutputs:
    """The files of one unit while it runs. Rejects get a file only when there are any."""

    def __init__(self, unit: Unit, config: JobConfig, schema: pa.Schema | None) -> None:
        self._unit, self._config, self._schema = unit, config, schema
        self._read = self._results = self._before = 0
        self._first: float | None = None
        self._rejects: Counter[str] = Counter()
        self._table: TableWriter | None = None
        self._joined: Joined | None = None
        self._reject_table: TableWriter | None = None
        self._images: DatasetWriter | None = None
        self._maps: DatasetWriter | None = None

    def begin(self) -> None:
        """Open what every unit writes."""
        unit, config = self._unit, self._config
        if self._schema is not None:
            name = metrics_name(unit.id) if config.verb is Verb.DENOISE else latents_name(unit.id)
            self._table = self._open(name, self._schema, ["shard"])
            if joins(unit, config):
                self._joined = Joined(self._table, self._schema, unit, Layout(config.output).at(name))
                self._before = self._joined.before
        if gallery := gallery_for(config):
            self._images = gallery.format.begin(unit, partial(self._create, IMAGES))
            self._maps = gallery.format.begin(unit, partial(self._create, MAPS)) if gallery.error_map else None

    def write(self, result: BatchResult) -> None:
        """Append one batch."""
        self._first = self._first or time.time()
        table = self._joined or self._table
        if table is not None and result.rows is not None:
            table.write(result.rows)
        for dataset, rendered in ((self._images, result.images), (self._maps, result.error_maps)):
            if dataset is not None and rendered is not None:
                dataset.write(rendered)
        if result.rejects:
            self._reject(result.rejects)
        self._read += result.read
        self._results += result.results
        TALLY.add(read=result.read, rejected=len(result.rejects))

    def publish(self, started: float) -> Receipt:
        """Make every file visible and give the unit's receipt."""
        if self._joined is not None:
            self._joined.finish()
        if self._unit.again:  # the receipt that there is will not be true while files are replaced
            write_receipt(Layout(self._config.output), self._receipt(error=_BETWEEN))
        outputs = [
            replace(output, name=f"{directory}/{output.name}")
            for directory, dataset in self._datasets()
            for output in dataset.publish()
        ]
        outputs += [table.publish() for table in (self._table, self._reject_table) if table is not None]
        return self._receipt(
            read=self._before + self._read,
            results=self._before + self._results,
            rejects=dict(sorted(self._rejects.items())),
            outputs=tuple(sorted(outputs, key=lambda output: output.name)),
            seconds=round(time.monotonic() - started, 3),
            first=self._first,
            store_retries=RETRIES.take(),
        )

    def _receipt(self, **more: Any) -> Receipt:
        return Receipt(
            unit=self._unit.id,
            fingerprint=fingerprint(self._unit, self._config),
            options=options_digest(self._config),
            retried=self._config.retried,
            **more,
        )

    def abort(self) -> None:
        """Drop every file that is not published."""
        for writer in (self._table, self._reject_table, self._images, self._maps):
            if writer is not None:
                writer.abort()
        if self._joined is not None:
            self._joined.close()
        TALLY.add(read=-self._read, rejected=-self._rejects.total())

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
