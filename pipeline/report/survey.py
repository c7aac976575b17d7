"""One pass over the tables of an output, in bounded memory: over all rows, or over a bounded part of a large output."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.core.errors import UsageError
from lake.core.records import Array, OutputFile, pick
from lake.storage.location import is_local
from pipeline.explore.committed import IDENTITY, Committed
from pipeline.explore.latent_reader import LatentReader
from pipeline.output.commit.run_timing import unit_order
from pipeline.output.units.receipts import Receipt
from pipeline.report.survey_latents import LatentSurvey, LatentTally

MOST_ROWS = 1 << 20  # rows that are read
_MOST_TABLES = 4096  # tables that are read on a disk; each of a store takes several requests
_MOST_OBJECTS = 256
_IDENTITY_BYTES = 256 << 20  # of keys and shards: of longer ones fewer rows are read
_NUMBERS = ("mse", "psnr", "psnr_input", "noise_level", "psnr_reference", "ssim_reference", "height", "width")
_HASHES = ("sha256", "phash")
_COLOURS = 12  # carried columns that are kept of the sampled rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a pass over the tables of results has found. ``n`` is the number of rows that were read.

    Attributes:
      total: results that the output has.
      tables: the tables that were read, each with the receipt of its unit.
      table: position in ``tables`` of each row, int32 ``[n]``.
      row: position of each row in its table, int64 ``[n]``.
      identity: key, shard and index of each row.
      numbers: errors, sizes and noise levels by column, float64 ``[n]``; NaN for null.
      hashes: the columns of ``--hash``, ``[n]`` each.
      sampled: rows drawn at random, int64 ``[m]``, ascending.
      carried: columns of the sampled rows, ``[m]`` each.
      latents: of outputs with latents of one length; None of others.
      why_not: why there are no latents, for people; "" where there are, or where the verb makes none.
    """

    total: int
    tables: Sequence[tuple[Receipt, OutputFile]]
    table: Array
    row: Array
    identity: pa.Table
    numbers: Mapping[str, Array]
    hashes: Mapping[str, pa.ChunkedArray]
    sampled: Array
    carried: pa.Table
    latents: LatentSurvey | None
    why_not: str = ""

    def __len__(self) -> int:
        return len(self.row)

    @property
    def whole(self) -> bool:
        """Whether every result was read."""
        return len(self) == self.total

    def units(self) -> list[str]:
        """The unit of each table."""
        return [receipt.unit for receipt, _ in self.tables]


def survey(
    committed: Committed,
    *,
    most: int = MOST_ROWS,
    sample: int = 50_000,
    first: Iterable[str] = (),
    color_by: str | None = None,
    distances: bool = True,
) -> Survey:
    """Read the tables of results once.

    The same output gives the same survey: what is drawn depends on the names of its units and on numbers of rows.

    Args:
      committed: the output.
      most: rows that are read at most.
      sample: rows that are drawn of them at most.
      first: units whose tables are read in any case.
      color_by: a carried column that is kept in any case.
      distances: whether to measure how far each row is from others.

    Raises:
      UsageError: there is no column ``color_by``.
      LatentlakeError: a table is not the one of the manifest.
    """
    schema = committed.schema()
    if color_by is not None and color_by not in schema.names:
        known = ", ".join(name for name in schema.names if name not in (*IDENTITY, committed.latent))
        raise UsageError(f"--color-by: {committed.layout.output} has no column {color_by!r}; it has {known}")
    tables = _chosen(committed, most, frozenset(first))
    reader, why_not = _latents(schema, committed)
    tally = _Tally.of(schema, tables, most, sample, color_by, committed.latent)
    if reader is not None:
        tally.latents = LatentTally(reader=reader, column=committed.latent, sampled=tally.sampled)
        if distances:
            tally.latents.refer_to(_spread(committed, tables))
    for number, batch in _batches(committed, tables, tally):
        tally.add(number, batch)
        if tally.identity_bytes > _IDENTITY_BYTES:
            break
    return tally.result(committed, tables, why_not)


def _chosen(committed: Committed, most: int, first: frozenset[str]) -> list[tuple[Receipt, OutputFile]]:
    """The tables to read: all, or those whose names have the lowest checksums, so that any number is a sample."""
    tables = [(receipt, file) for receipt, file in committed.tables if file.rows]
    limit = _MOST_TABLES if is_local(committed.layout.output) else _MOST_OBJECTS
    if len(tables) <= limit and sum(file.rows for _, file in tables) <= most:
        return tables
    order = sorted(tables, key=lambda table: (table[0].unit not in first, unit_order(table[0].unit)))
    chosen = order[: min(limit, max(1, most // _FEWEST_ROWS))]
    return sorted(chosen, key=lambda table: table[0].unit)


_FEWEST_ROWS = 1024  # of a table that is not read as a whole


def _latents(schema: pa.Schema, committed: Committed) -> tuple[LatentReader | None, str]:
    if committed.latent not in schema.names:
        return None, ""
    try:
        return LatentReader.of(schema, committed.layout.output, committed.latent), ""
    except UsageError as error:
        return None, str(error)


def _batches(
    committed: Committed, tables: Sequence[tuple[Receipt, OutputFile]], tally: "_Tally"
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows to read, each batch with the number of its table."""
    for number, (receipt, file) in enumerate(tables):
        for batch in _first_rows(committed.table_batches(receipt, file, tally.columns), tally.quota):
            yield number, batch


def _first_rows(batches: Iterator[pa.RecordBatch], quota: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch.slice(0, quota)
        quota -= min(quota, batch.num_rows)
        if not quota:
            return


_REFERRED = 32  # tables of which the rows are that distances are measured to


def _spread(committed: Committed, tables: Sequence[tuple[Receipt, OutputFile]]) -> Iterator[pa.RecordBatch]:
    """The first rows of some tables, in which nothing but latents is read."""
    step = max(1, len(tables) // _REFERRED)
    for receipt, file in tables[::step][:_REFERRED]:
        yield from islice(committed.table_batches(receipt, file, [committed.latent]), 1)


@dataclass(slots=True, kw_only=True)
class _Tally:
    """What of a survey is known so far."""

    columns: list[str]
    quota: int  # rows of each table
    sampled: Array
    latents: LatentTally | None = None
    identity_bytes: int = 0
    _names: Mapping[str, list[str]]
    _parts: dict[str, list[pa.Array]] = field(default_factory=dict)
    _tables: list[Array] = field(default_factory=list)
    _rows: list[Array] = field(default_factory=list)
    _count: int = 0

    @classmethod
    def of(
        cls,
        schema: pa.Schema,
        tables: Sequence[tuple[Receipt, OutputFile]],
        most: int,
        sample: int,
        color_by: str | None,
        latent: str,
    ) -> "_Tally":
        names = {
            "identity": [name for name in IDENTITY if name in schema.names],
            "numbers": [name for name in _NUMBERS if name in schema.names and _is_number(schema.field(name).type)],
            "hashes": [name for name in _HASHES if name in schema.names],
        }
        names["carried"] = _carried(schema, {name for some in names.values() for name in some}, color_by)
        quota = max(_FEWEST_ROWS, most // max(len(tables), 1))
        if (count := sum(file.rows for _, file in tables)) <= most:
            quota = count
        else:
            count = sum(min(file.rows, quota) for _, file in tables)
        drawn = np.random.default_rng(0).choice(count, min(count, sample), replace=False) if count else np.empty(0)
        latents = [latent] if _is_vector(schema, latent) else []
        columns = list(dict.fromkeys([*(name for some in names.values() for name in some), *latents]))
        return cls(columns=columns, quota=quota, sampled=np.sort(drawn).astype(np.int64), _names=names)

    def add(self, table: int, batch: pa.RecordBatch) -> None:
        """Add the next rows of a table."""
        begin = int(self._rows[-1][-1]) + 1 if self._tables and self._tables[-1][-1] == table else 0
        count = batch.num_rows
        if not count:
            return
        self._tables.append(np.full(count, table, np.int32))
        self._rows.append(np.arange(begin, begin + count))
        for kind in ("identity", "numbers", "hashes"):
            for name in self._names[kind]:
                self._parts.setdefault(name, []).append(_compact(batch.column(name)))
        low, high = np.searchsorted(self.sampled, (self._count, self._count + count))
        own = self.sampled[low:high] - self._count
        for name in self._names["carried"]:
            self._parts.setdefault(f"carried {name}", []).append(_shown(batch.column(name), own))
        self.identity_bytes += sum(self._parts[name][-1].nbytes for name in self._names["identity"])
        if self.latents is not None:
            self.latents.add(batch)
        self._count += count

    def result(self, committed: Committed, tables: Sequence[tuple[Receipt, OutputFile]], why_not: str) -> Survey:
        """The survey, once all rows were added."""
        sampled = self.sampled[self.sampled < self._count]
        return Survey(
            total=committed.rows,
            tables=tables,
            table=np.concatenate([np.empty(0, np.int32), *self._tables]),
            row=np.concatenate([np.empty(0, np.int64), *self._rows]),
            identity=pa.table({name: self._column(name) for name in self._names["identity"]}).unify_dictionaries(),
            numbers={_named(name, committed.verb): _numbers(self._column(name)) for name in self._names["numbers"]},
            hashes={name: self._column(name) for name in self._names["hashes"]},
            sampled=sampled,
            carried=pa.table({name: self._column(f"carried {name}") for name in self._names["carried"]}),
            latents=None if self.latents is None else self.latents.result(),
            why_not=why_not,
        )

    def _column(self, name: str) -> pa.ChunkedArray:
        return pa.chunked_array(self._parts.get(name, []), None if name in self._parts else pa.null())


def _is_vector(schema: pa.Schema, column: str) -> bool:
    return column in schema.names and pa.types.is_fixed_size_list(schema.field(column).type)


def _named(number: str, verb: str) -> str:
    """A number by its name of today: denoised images had their PSNR against the input as psnr in earlier versions."""
    return "psnr_input" if (number, verb) == ("psnr", "denoise") else number


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _carried(schema: pa.Schema, taken: set[str], color_by: str | None) -> list[str]:
    """Names of the columns that points can be coloured by, with the one first that is asked for."""
    kinds = {field.name: field.type for field in schema if field.name not in taken or field.name in _NUMBERS}
    simple = [name for name, kind in kinds.items() if _is_number(kind) or _is_text(kind)]
    own = [name for name in simple if name not in _NUMBERS]
    names = dict.fromkeys([*([color_by] if color_by in simple else []), *own, *simple])
    return list(names)[:_COLOURS]


def _is_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner))


def _compact(column: pa.Array) -> pa.Array:
    """A copy of the rows alone: a slice would keep its whole batch in memory."""
    return pa.concat_arrays([column]) if column.offset == 0 else column.take(pa.array(np.arange(len(column))))


_TEXT = 100  # characters of a carried text


def _shown(column: pa.Array, rows: Array) -> pa.Array:
    """Some rows of a column that a map may be coloured by, of a type whose values Arrow counts."""
    values = pick(column, rows)
    if pa.types.is_float16(values.type):
        return values.cast(pa.float32())
    return pc.utf8_slice_codeunits(values.cast(pa.string()), 0, _TEXT) if _is_text(values.type) else values


def _numbers(column: pa.ChunkedArray) -> Array:
    values: Array = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values
