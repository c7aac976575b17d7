"""The output files of one unit, from the first batch to the receipt."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lake.core.counters import RETRIES, TALLY
from lake.core.errors import RejectsError
from lake.core.records import OutputFile, Reject, Unit
from lake.core.stopwatch import Stopwatch
from lake.formats.common.hive import PARTITION, PARTITION_TYPE, partition_type
from lake.formats.common.identity_columns import carried_name
from lake.formats.common.parquet_table import TableEncoding, TableWriter
from lake.formats.writer import UnitWriter
from lake.storage import Sink, store_for
from pipeline.config import JobConfig, fingerprint, options_digest, table_version
from pipeline.output.fencing.heartbeat import guard_of
from pipeline.output.layout import (
    IMAGES,
    LATENTS,
    MAPS,
    Layout,
    partitioned_name,
    rejects_name,
    table_name,
)
from pipeline.output.units.marks import mark_replaced
from pipeline.output.units.receipts import Receipt, write_receipt
from pipeline.output.units.tables import REJECT_SCHEMA, reject_rows
from pipeline.worker.image_outputs import image_outputs_for
from pipeline.worker.latent_writers import latent_writer
from pipeline.worker.merge_rows import MergedTable
from pipeline.worker.partitioned_table import PartitionedTable
from pipeline.worker.reject_limit import REJECT_LIMIT
from pipeline.worker.unit_input import merges_rejects
from pipeline.worker.verbs.verb import BatchResult, Verb

# Most rejects of a unit. A hundred kilobytes may hold 50 million nulls, each of which would become a row.
MOST_REJECTS = 1_000_000
_OF_REJECTS = TableEncoding(dictionary=("shard", "stage", "reason"))
_BEING_REPLACED = "its files were being replaced"


class UnitOutputs:
    """Writer of a unit's files: its table, its rejects, its images and error maps.

    Nothing is visible before ``publish``. A unit without rejects gets no file of rejects.

    Args:
      unit: the unit.
      config: the job.
      verb: gives the schema and directory of the table.
      dimension: length D of the model's latents.
    """

    def __init__(self, unit: Unit, config: JobConfig, verb: Verb, dimension: int) -> None:
        self._unit, self._config, self._verb, self._dimension = unit, config, verb, dimension
        self._guard = guard_of(config.output, config.run)
        self._read = self._results = 0
        self._before = 0  # rows that the table had before a retry of its rejects
        self._first: float | None = None  # when the first batch came out, in seconds since the epoch
        self._rejects: Counter[str] = Counter()
        self._several = self._clipped = self._noise_below = self._noise_above = self._reused = 0
        # Bytes of rejected records that may still be kept.
        self._reject_room = max(config.reject_budget, config.reject_bytes)
        self._table: TableWriter | None = None
        self._merged: MergedTable | None = None
        self._reject_table: TableWriter | None = None
        self._latents: UnitWriter | None = None
        self._partitions: UnitWriter | None = None
        self._images: UnitWriter | None = None
        self._maps: UnitWriter | None = None

    def begin(self) -> None:
        """Open the files that every unit of the job has."""
        unit, config = self._unit, self._config
        REJECT_LIMIT.forget(config, unit.id)  # an engine may run a finished unit once more
        schema, directory = self._verb.schema, self._verb.table
        if schema is not None and not config.writes_tables:
            create = partial(self._create, LATENTS)
            self._latents = latent_writer(unit, config, schema, self._dimension, create)
            if self._latents.publishes_early:
                self._announce_replacement()
        elif schema is not None and directory is not None and config.partition_by is not None:
            self._partitions = self._partitioned(
                schema, directory, carried_name(schema, config.columns.carry, config.partition_by)
            )
        elif schema is not None and directory is not None:
            name = table_name(directory, unit.id, table_version(unit, config))
            self._table = self._open(name, schema, self._verb.encoding)
            if merges_rejects(unit, config):
                self._merged = MergedTable(self._table, schema, unit, Layout(config.output).at(name))
        if image_outputs := image_outputs_for(config):
            # Writers open their files themselves, because the names of images follow the format's own rules.
            self._images = image_outputs.format.begin(unit, partial(self._create, IMAGES))
            self._maps = (
                image_outputs.format.begin(unit, partial(self._create, MAPS)) if image_outputs.error_map else None
            )

    def write(self, result: BatchResult) -> None:
        """Append the results of one batch; batches come in the order of the source."""
        self._first = self._first or time.time()
        table = self._merged or self._table or self._latents or self._partitions
        if table is not None and result.rows is not None:
            table.write(result.rows)
        for dataset, rendered in ((self._images, result.images), (self._maps, result.error_maps)):
            if dataset is not None and rendered is not None:
                dataset.write(rendered)
        if result.rejects:
            self._reject(result.rejects)
        self._read += result.read
        self._results += result.results
        self._several += result.several
        self._clipped += result.clipped
        self._noise_below += result.noise_below
        self._noise_above += result.noise_above
        self._reused += result.reused
        TALLY.add(read=result.read, rejected=len(result.rejects))

    def publish(self, started: float, watch: Stopwatch) -> Receipt:
        """Make all files visible and return the unit's receipt.

        Args:
          started: when the unit began, on the clock of ``time.monotonic``.
          watch: what its threads have done so far.
        """
        with watch.time("publish"):
            outputs = self._publish()
        return self._receipt(
            read=self._before + self._read,
            results=self._before + self._results,
            rejects=dict(sorted(self._rejects.items())),
            outputs=tuple(sorted(outputs, key=lambda output: output.name)),
            seconds=round(time.monotonic() - started, 3),
            first=self._first,
            store_retries=RETRIES.take(),
            several_pages=self._several,
            clipped=self._clipped,
            noise_below=self._noise_below,
            noise_above=self._noise_above,
            reused=self._reused,
            spent={part: round(seconds, 3) for part, seconds in sorted(watch.seconds.items())},
        )

    def _publish(self) -> list[OutputFile]:
        if self._merged is not None:
            self._merged.finish()
            self._before = self._merged.before
        self._announce_replacement()
        outputs = [
            replace(output, name=f"{directory}/{output.name}")
            for directory, dataset in self._datasets()
            for output in dataset.publish()
        ]
        outputs += () if self._partitions is None else self._partitions.publish()
        return outputs + [table.publish() for table in (self._table, self._reject_table) if table is not None]

    def _announce_replacement(self) -> None:
        """Say that the files of a finished unit are being replaced, if they are."""
        if self._unit.retry_rejects:
            # While files are replaced one by one, the unit's receipt is not true. Should the process die meanwhile,
            # this one makes the next run process the whole unit again.
            layout = Layout(self._config.output)
            mark_replaced(layout, self._config.run, self._unit.id)
            write_receipt(layout, self._receipt(error=_BEING_REPLACED), self._guard)

    def _receipt(self, **fields: Any) -> Receipt:
        return Receipt(
            unit=self._unit.id,
            fingerprint=fingerprint(self._unit, self._config),
            options=options_digest(self._config),
            retried=self._config.retried,
            run=self._config.run,
            **fields,
        )

    def abort(self) -> None:
        """Drop all files that are not published."""
        for writer in (self._table, self._reject_table, self._latents, self._partitions, self._images, self._maps):
            if writer is not None:
                writer.abort()
        if self._merged is not None:
            self._merged.close()
        # The attempt does not count; the next one counts the same records again.
        TALLY.add(read=-self._read, rejected=-self._rejects.total())
        REJECT_LIMIT.forget(self._config, self._unit.id)

    def _reject(self, rejects: Sequence[Reject]) -> None:
        # Created on the first reject: an output without rejects has no empty files.
        if self._reject_table is None:
            self._reject_table = self._open(rejects_name(self._unit.id), REJECT_SCHEMA, _OF_REJECTS)
        rows = reject_rows(rejects, self._config.reject_bytes, self._reject_room)
        self._reject_room -= pc.sum(pc.binary_length(rows.column("data"))).as_py() or 0
        self._reject_table.write(rows)
        reasons = [str(reject.reason) for reject in rejects]
        self._rejects.update(reasons)
        REJECT_LIMIT.add(self._config, self._unit.id, reasons)
        if self._rejects.total() > MOST_REJECTS:
            last = rejects[-1]
            raise RejectsError(
                f"{last.shard}: more than {MOST_REJECTS:,} records are rejected, the last one for {last.reason} "
                f"({last.detail}); a unit may have no more"
            )

    def _datasets(self) -> Iterator[tuple[str, UnitWriter]]:
        for directory, dataset in ((LATENTS, self._latents), (IMAGES, self._images), (MAPS, self._maps)):
            if dataset is not None:
                yield directory, dataset

    def _partitioned(self, schema: pa.Schema, directory: str, column: str) -> PartitionedTable:
        def opened(partition: str, rest: pa.Schema) -> TableWriter:
            said = {PARTITION: partition, PARTITION_TYPE: str(partition_type(schema.field(column).type))}
            name = partitioned_name(directory, partition, self._unit.id, table_version(self._unit, self._config))
            return self._open(name, rest, self._verb.encoding, said)

        return PartitionedTable(self._unit.id, schema, column, opened)

    def _create(self, directory: str, name: str) -> Sink:
        return self._sink(f"{directory}/{name}")

    def _open(
        self, name: str, schema: pa.Schema, encoding: TableEncoding, said: Mapping[str, str] | None = None
    ) -> TableWriter:
        metadata = {**self._config.metadata(self._unit), **(said or {})}
        return TableWriter(self._sink(name), name, schema, metadata, encoding)

    def _sink(self, name: str) -> Sink:
        return store_for(self._config.output).create(Layout(self._config.output).at(name), self._guard)
