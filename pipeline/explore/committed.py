"""What an output has committed: the tables that its manifest names, whatever else lies in its directories."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lake.core.choices import quoted
from lake.core.errors import LatentlakeError, OutputError, UsageError
from lake.core.records import Array, OutputFile
from lake.formats.common.hive import Partition
from lake.formats.common.identity_columns import SHARD_TYPE
from lake.formats.common.parquet_file import open_parquet, parse_footer, read_footer
from lake.formats.common.vector_storage import FIRST, further_column
from lake.storage import store_for
from lake.storage.buckets import check_bucket
from pipeline.config import FINGERPRINT
from pipeline.options.latent_form import PARQUET
from pipeline.output.layout import LATENTS, METRICS, REJECTS, Layout
from pipeline.output.manifest.manifest import read_manifest
from pipeline.output.state.job_file import read_job_file
from pipeline.output.units.receipts import Receipt, sum_counts

IDENTITY = ("key", "shard", "index")
_ROWS = 1 << 14  # in a batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """The committed state of an output.

    Attributes:
      layout: the output.
      receipts: of its units, in the order of their ids.
      job: its ``_job.json``.
      digest: of its tables of results; another one as soon as one of them changes.
      latent: column of the latents that are looked at.
    """

    layout: Layout
    receipts: Sequence[Receipt]
    job: Mapping[str, Any]
    digest: str
    latent: str = FIRST

    @classmethod
    def read(cls, output: str, latent: str | None = None) -> "Committed":
        """Read the manifest of an output.

        Args:
          output: URI of the output.
          latent: name of the latents to look at, of those that it has; None for the first.

        Raises:
          OutputError: there is no output of this project, or none of its runs has come to a commit.
          VerifyError: its state is damaged.
          UsageError: it has no latents of this name.
        """
        layout = Layout(output.rstrip("/"))
        job, manifest = read_job_file(layout.output), read_manifest(layout)
        if job is None or not manifest:
            check_bucket(layout.output, OutputError)
            raise OutputError(f"{layout.output}: no finished job; name the directory that one wrote")
        receipts = [*manifest.values()]
        column = FIRST if latent is None else _latent_column(layout.output, job, latent)
        return cls(layout=layout, receipts=receipts, job=job, digest=_digest(receipts), latent=column)

    @property
    def latent_name(self) -> str | None:
        """Which latent of the model this is; None for its own."""
        made = self.job["options"].get("latents") or {}
        names = made.get("names", [])
        name = next((one for one in names[1:] if further_column(one) == self.latent), next(iter(names), None))
        return None if name == made.get("own") else name

    @property
    def tables(self) -> list[tuple[Receipt, OutputFile]]:
        """Every table of results, with the receipt of its unit.

        Raises:
          UsageError: the job wrote its latents in another format.
        """
        if self.latent_format != PARQUET:
            raise UsageError(
                f"{self.layout.output} has its latents in {self.latent_format}, for trainers, and this needs tables: "
                "run encode with --latent-format parquet, into an output of its own"
            )
        return result_tables(self.receipts)

    @property
    def latent_format(self) -> str:
        """How its latents are written, one of ``pipeline.options.latent_form.LATENT_FORMATS``."""
        return str((self.job["options"].get("latents") or {}).get("format", PARQUET))

    @property
    def reject_tables(self) -> list[tuple[Receipt, OutputFile]]:
        """Every table of rejects, with the receipt of its unit."""
        return _files(self.receipts, (REJECTS,))

    @property
    def rows(self) -> int:
        """Number of results."""
        return sum(receipt.results for receipt in self.receipts)

    @property
    def verb(self) -> str:
        """What the job computed, such as ``encode``."""
        return str(self.job["options"]["verb"])

    @property
    def headline(self) -> str:
        """What the job computed and how many records came out, in one line for a person."""
        totals = sum_counts(self.receipts)
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in totals["reasons"].items())
        share = totals["rejects"] / max(totals["read"], 1)
        rejected = f", {share:.1%} rejected ({reasons})" if totals["rejects"] else ""
        return f"{self.verb}, {totals['results']:,} results{rejected}"

    def schema(self) -> pa.Schema:
        """The schema of the tables of results, with the column of partitions; an empty one where there are none."""
        for uri in [self.layout.at(file.name) for _, file in self.tables[:1]]:
            with _of_manifest(uri), store_for(uri).open(uri, sparse=True) as stream:
                footer = parse_footer(read_footer(stream))
                schema, partition = footer.schema.to_arrow_schema(), Partition.of(footer.metadata)
                schema = schema if partition is None else schema.append(partition.field)
                return schema.with_metadata(footer.metadata)
        return pa.schema([])

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows of all tables of results, in the order of the manifest.

        Args:
          columns: names of the columns; None for all.

        Raises:
          LatentlakeError: a table is not the one of the manifest, since a run is at work or the output is damaged.
        """
        for receipt, file in self.tables:
            yield from self.table_batches(receipt, file, columns)

    def column_table(self, columns: Sequence[str]) -> pa.Table:
        """Some columns of all tables, of results, in memory.

        Args:
          columns: their names, each of which the tables have.
        """
        batches = [pa.RecordBatch.from_arrays(b.columns, names=b.schema.names) for b in self.batches(columns)]
        if not batches:
            return pa.table({name: pa.array([], _EMPTY.get(name, pa.float32())) for name in columns})
        return pa.Table.from_batches(batches).select([*columns]).unify_dictionaries()

    def table_batches(
        self, receipt: Receipt, file: OutputFile, columns: Sequence[str] | None = None, most: int = _ROWS
    ) -> Iterator[pa.RecordBatch]:
        """The rows of one table.

        Args:
          receipt: of its unit.
          file: the table.
          columns: names of the columns; None for all.
          most: rows in a batch.

        Raises:
          LatentlakeError: as of ``batches``.
        """
        uri = self.layout.at(file.name)
        with _of_manifest(uri), store_for(uri).open(uri) as stream:
            parquet = open_parquet(stream)
            stated = (parquet.metadata.metadata or {}).get(FINGERPRINT.encode(), b"").decode(errors="replace")
            if (parquet.metadata.num_rows, stated) != (file.rows, receipt.fingerprint):
                raise _changed(uri)
            yield from _rows_of(parquet, columns, most)


def check_same_latents(one: Committed, other: Committed) -> None:
    """Check that two outputs are looked at by the same latent of their model.

    Raises:
      UsageError: they are not.
    """
    if one.latent_name != other.latent_name:
        names = [committed.latent_name or "the model's own" for committed in (one, other)]
        raise UsageError(
            f"{one.layout.output} and {other.layout.output} have different latents ({names[0]} and {names[1]}), which "
            "have nothing to do with each other; choose the same by --latent, or latent=NAME"
        )


def error_column(schema: pa.Schema) -> str | None:
    """The column of errors of an output's tables; None if there is none.

    Args:
      schema: of the tables.

    >>> error_column(pa.schema([("key", pa.string()), ("mse", pa.float32())]))
    'mse'
    """
    return "mse" if "mse" in schema.names else None


_EMPTY = {
    "key": pa.string(),
    "shard": SHARD_TYPE,
    "index": pa.int64(),
    "sha256": pa.binary(32),
    "phash": pa.int64(),
}


def _latent_column(output: str, job: Mapping[str, Any], name: str) -> str:
    names = (job["options"].get("latents") or {}).get("names", [])
    if name not in names:
        has = (
            f"has the latents {', '.join(names)}" if names else "has the model's own latent alone, which needs no name"
        )
        raise UsageError(
            f"--latent {quoted(name)}: {output} {has}; leave it out or name another, or run encode with --latent for "
            "each, into an output of its own"
        )
    return FIRST if name == names[0] else further_column(name)


def result_tables(receipts: Sequence[Receipt]) -> list[tuple[Receipt, OutputFile]]:
    """Every table of results of some units, each with the receipt of its unit.

    Args:
      receipts: of the units.
    """
    return _files(receipts, (LATENTS, METRICS))


def _files(receipts: Sequence[Receipt], directories: Sequence[str]) -> list[tuple[Receipt, OutputFile]]:
    return [
        (receipt, file)
        for receipt in receipts
        for file in receipt.outputs
        if file.name.partition("/")[0] in directories and file.name.endswith(".parquet")
    ]


def _rows_of(parquet: pq.ParquetFile, columns: Sequence[str] | None, most: int) -> Iterator[pa.RecordBatch]:
    """The rows of a file, with the column of the partition that it holds, if that is asked for."""
    partition = Partition.of(parquet.metadata.metadata)
    if partition is None or (columns is not None and partition.field.name not in columns):
        yield from parquet.iter_batches(most, columns=None if columns is None else [*columns], use_threads=False)
        return
    # Without any column there would be no rows, so one is read that every table has.
    names = None if columns is None else [name for name in columns if name != partition.field.name] or [IDENTITY[-1]]
    for batch in parquet.iter_batches(most, columns=names, use_threads=False):
        rows = partition.added(batch)
        yield rows if columns is None else rows.select([name for name in rows.schema.names if name in columns])


def _digest(receipts: Sequence[Receipt]) -> str:
    files = [[file.name, file.size, file.rows, file.crc32c] for _, file in result_tables(receipts)]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:32]


@contextmanager
def _of_manifest(uri: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise _changed(uri) from error
    except pa.ArrowException as error:
        raise LatentlakeError(f"{uri}: damaged ({error}); run 'latentlake verify --repair' on the output") from error


def _changed(uri: str) -> LatentlakeError:
    return LatentlakeError(
        f"{uri} is not the table that the manifest names; wait for the run over this output, "
        "or repair it with 'latentlake verify --repair'"
    )


def row_at(rows: pa.Table, position: int) -> dict[str, Any]:
    """Key, shard and index of one row, as values of Python.

    Args:
      rows: a table with these columns.
      position: of the row.
    """
    return {name: rows.column(name)[position].as_py() for name in IDENTITY}


def take_rows(rows: pa.Table, positions: Array) -> pa.Table:
    """The identity columns at some positions, with plain strings for shards.

    Args:
      rows: a table with these columns.
      positions: int64 ``[m]``.
    """
    at = pa.array(np.asarray(positions, np.int64))
    taken = rows.select([*IDENTITY]).take(at)
    return taken.set_column(1, "shard", taken.column("shard").cast(pa.string()))
