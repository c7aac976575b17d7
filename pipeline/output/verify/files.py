"""Compare the files of one unit with its receipt."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

import pyarrow as pa

from lake.core.errors import LatentlakeError
from lake.core.records import OutputFile
from lake.formats.common.parquet_file import parse_footer, read_footer
from lake.storage import store_for
from pipeline.output.commit.companions import is_copy
from pipeline.output.layout import LATENTS, METRICS, REJECTS, Layout
from pipeline.output.units.receipts import Receipt
from pipeline.output.verify.latents import is_latents, latent_batches, said_in
from pipeline.output.verify.report import Problem
from pipeline.output.verify.rows import batches, overlap, repeated, table_problem
from pipeline.output.verify.state import Origin, checksum

_PARQUET = (".parquet", ".pq")
_NO_LATENTS = (LatentlakeError, OSError, ValueError, EOFError, LookupError, TypeError)
_UNREADABLE = (pa.ArrowException, OSError, ValueError)  # what PyArrow raises for a damaged file


class _Counted:
    """Batches, and how many rows there were in those that were taken."""

    def __init__(self, found: Iterable[pa.RecordBatch]) -> None:
        self._found, self.rows = found, 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._found:
            self.rows += batch.num_rows
            yield batch


class UnitCheck:
    """Checks units. Thread-safe.

    Args:
      layout: the output.
      sizes: size in bytes of every data file, by its name relative to the output.
      origin: what the output was made with; None if that is not known.
      deep: whether every byte and every row is read.
    """

    def __init__(self, layout: Layout, sizes: Mapping[str, int], origin: Origin | None, *, deep: bool) -> None:
        self._layout, self._sizes, self._origin, self.deep = layout, sizes, origin, deep
        self._partitioned = origin is not None and origin.options.get("partition_by") is not None

    def problems(self, receipt: Receipt) -> list[Problem]:
        """Return the problems of one unit, at most one for each file.

        Args:
          receipt: the unit's receipt.
        """
        if receipt.error is not None:
            return [Problem(name=receipt.unit, unit=receipt.unit, problem=f"not done: {receipt.error}")]
        texts = {receipt.unit: self._receipt(receipt)}
        texts |= {output.name: self._file(output, receipt) for output in receipt.outputs}
        joined = {name: "; ".join(found) for name, found in texts.items()}
        # Across the unit's tables only if each of them is right: both must be in order to be merged.
        if self.deep and not any(joined.values()):
            joined[receipt.unit] = self._in_both_tables(receipt)
        return [Problem(name=name, unit=receipt.unit, problem=text) for name, text in joined.items() if text]

    def _receipt(self, receipt: Receipt) -> Iterator[str]:
        """Compare the receipt's counts with each other and its options with those of the output."""
        if receipt.read != receipt.results + receipt.rejected:
            yield f"{receipt.read} records read, but {receipt.results} results and {receipt.rejected} rejects"
        rows = Counter({REJECTS: 0})
        for output in receipt.outputs:
            rows[output.name.partition("/")[0]] += output.rows
        for directory, count in rows.items():
            expected = receipt.rejected if directory == REJECTS else receipt.results
            if count != expected:
                yield f"{count} rows in {directory}/, but the receipt says {expected}"
        if self._origin is not None and receipt.options != self._origin.options_digest:
            yield "made with other options than _job.json has"

    def _file(self, output: OutputFile, receipt: Receipt) -> Iterator[str]:
        size = self._sizes.get(output.name)
        if size is None:
            yield "missing"
            return
        intact = True
        for text in self._bytes(output, size):
            intact = False
            yield text
        # The copy of a table that describes images is as others made it.
        if output.name.endswith(_PARQUET) and not is_copy(output, receipt.unit):
            yield from self._footer(output, receipt, intact=intact)
        elif output.name.startswith(f"{LATENTS}/") and is_latents(output.name):
            yield from self._latents(output, size, receipt, intact=intact)

    def _bytes(self, output: OutputFile, size: int) -> Iterator[str]:
        if size != output.size:
            yield f"{size} bytes, but the manifest says {output.size}"
        elif self.deep:
            try:
                if (found := checksum(self._layout.at(output.name))) != output.crc32c:
                    yield f"checksum {found}, but the manifest says {output.crc32c}"
            except OSError as error:
                yield f"cannot be read ({error})"

    def _footer(self, output: OutputFile, receipt: Receipt, *, intact: bool) -> Iterator[str]:
        """Compare a Parquet file's footer with the receipt. Of a damaged file it may still tell which unit wrote it."""
        try:
            with store_for(self._layout.output).open(self._layout.at(output.name), sparse=True) as file:
                footer = parse_footer(read_footer(file))
        except _UNREADABLE as error:
            if intact:
                yield f"its footer cannot be read ({error})"
            return
        stated_values = {key.decode(errors="replace"): value for key, value in (footer.metadata or {}).items()}
        differing = list(self._metadata_problems(stated_values, receipt, self._partition_of(output)))
        if footer.num_rows != output.rows:
            differing.append(f"{footer.num_rows} rows, but the manifest says {output.rows}")
        yield from differing
        if intact and self.deep and not differing:
            yield from self._rows(output, receipt)

    def _latents(self, output: OutputFile, size: int, receipt: Receipt, *, intact: bool) -> Iterator[str]:
        """Compare what a file of latents in a format of trainers says about itself, and its records."""
        uri = self._layout.at(output.name)
        try:
            said = {name: str(value).encode() for name, value in said_in(uri, size).items()}
            yield from (differing := list(self._metadata_problems(said, receipt)))
            if intact and self.deep and not differing:
                yield from self._records(output, receipt)
        except _NO_LATENTS as error:
            if intact:
                yield f"its latents cannot be read ({error})"

    def _records(self, output: OutputFile, receipt: Receipt) -> Iterator[str]:
        found = _Counted(latent_batches(self._layout.at(output.name), output.size))
        if text := table_problem(found, LATENTS, receipt):
            yield text
        elif found.rows != output.rows:
            yield f"{found.rows} records, but the manifest says {output.rows}"

    def _partition_of(self, output: OutputFile) -> str | None:
        """The partition that a file's name says; None for one that is no part of a partitioned table."""
        directory, partition, *_ = output.name.split("/")
        return partition if self._partitioned and directory in (LATENTS, METRICS) else None

    def _metadata_problems(
        self, stated_values: Mapping[str, bytes], receipt: Receipt, partition: str | None = None
    ) -> Iterator[str]:
        wanted = [("unit", receipt.unit, "the manifest"), ("fingerprint", receipt.fingerprint, "the manifest")]
        if self._origin is not None:
            wanted += [
                ("verb", self._origin.verb, "_job.json"),
                ("model_digest", self._origin.model_digest, "_job.json"),
            ]
        if partition is not None:
            wanted.append(("partition", partition, "its name"))
        for name, value, where in wanted:
            stated = stated_values.get(f"latentlake.{name}", b"").decode(errors="replace")
            if stated != value:
                yield f"its {name} is {stated[:80]!a}, but {where} says {value!r}"

    def _rows(self, output: OutputFile, receipt: Receipt) -> Iterator[str]:
        """Check all rows of one of the job's own tables.

        Images, even those in Parquet files, are covered by their checksum.
        """
        directory = output.name.partition("/")[0]
        if directory not in (LATENTS, METRICS, REJECTS):
            return
        uri = self._layout.at(output.name)
        try:
            with store_for(uri).open(uri) as file:
                if text := table_problem(batches(file), directory, receipt):
                    yield text
        except _UNREADABLE as error:
            yield f"its rows cannot be read ({error})"

    def _in_both_tables(self, receipt: Receipt) -> str:
        """Return a problem if a record is both a result and a reject, or has a row in two partitions, else ""."""
        rejects = self._rows_of(receipt, REJECTS)
        results = self._rows_of(receipt, LATENTS) or self._rows_of(receipt, METRICS)
        if self._partitioned:
            return repeated(chain.from_iterable([*results, *rejects])) or ""
        return overlap(chain.from_iterable(results), chain.from_iterable(rejects)) or ""

    def _rows_of(self, receipt: Receipt, directory: str) -> list[Iterator[pa.RecordBatch]]:
        """Shard and index of the records in each of a unit's files of one directory."""
        files = [output for output in receipt.outputs if output.name.startswith(f"{directory}/")]
        tables = [self._table(output) for output in files if output.name.endswith(_PARQUET)]
        others = (output for output in files if is_latents(output.name))
        return tables + [latent_batches(self._layout.at(output.name), output.size) for output in others]

    def _table(self, output: OutputFile) -> Iterator[pa.RecordBatch]:
        uri = self._layout.at(output.name)
        with store_for(uri).open(uri) as file:
            yield from batches(file, ["shard", "index"])
