"""Rows of a damaged shard, as ``--on-damage reject`` reads them: what is there, and what is lost in between.

A row group that can be read as a whole is. Of another one, damaged pages are passed over and their rows are lost
(``losses``). What is left is read twice, the first time to see that it can be. If it cannot, or if nothing tells which
rows are lost, all rows of this row group are. How many there are the footer says, so the rows after them keep their
numbers.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.core.errors import ShardError, UnreadableError
from lake.core.records import Array, Shard
from lake.formats.common.shard_errors import damage
from lake.formats.parquet.footer import Opened, in_step
from lake.formats.parquet.losses import Losses, find_losses
from lake.formats.parquet.pixel_columns import LINE, folded, pixel_columns

# How many rows of a row group to read at once.
RowsAtOnce: TypeAlias = Callable[[Opened, int], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRun:
    """Consecutive rows of a shard, all there or all lost.

    Attributes:
      rows: how many.
      batch: the rows; of lost ones what there is of them, with nulls; None if there is nothing.
      problem: why they are lost; None if they are there.
    """

    rows: int
    batch: pa.RecordBatch | None
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Salvage:
    """Reads what there is of row groups.

    Attributes:
      shard: for errors.
      file: the same, open.
      names: paths of the columns to read; None for all.
      image: path of the column with image files; None if there is none.
      size: how many rows to read at once.
      room: bytes of images that are held at once.
    """

    shard: Shard
    file: Opened
    names: list[str] | None
    image: str | None
    size: RowsAtOnce
    room: int

    def runs(self, groups: Sequence[int], at: int) -> Iterator[RowRun]:
        """All rows of row groups, in order.

        Args:
          groups: their numbers.
          at: number of the first row in the shard.

        Raises:
          UnreadableError: the store failed.
        """
        for group in groups:
            if rows := self.file.metadata.row_group(group).num_rows:
                yield from self._of_group(group, rows, at)
            at += rows

    def _of_group(self, group: int, rows: int, at: int) -> Iterator[RowRun]:
        problem = self._problem(whole := partial(self._whole, group), rows)
        if problem is None:
            yield from whole()
            return
        losses = self._losses(group)
        if losses is not None and self._problem(around := partial(self._around, group, losses), rows) is None:
            yield from around()
            return
        text = f"rows {at} to {at + rows - 1} (row group {group}) cannot be read: {problem}"
        yield RowRun(rows=rows, batch=None, problem=text)

    def _problem(self, read: Callable[[], Iterator[RowRun]], rows: int) -> str | None:
        """What is wrong with rows, which are read and dropped."""
        try:
            with damage(self.shard):
                found = sum(run.rows for run in read())
        except UnreadableError:
            raise
        except ShardError as error:
            return error.problem
        return None if found == rows else f"it has {found} rows"

    def _whole(self, group: int) -> Iterator[RowRun]:
        size = self.size(self.file, group)
        for batch in self.file.batches(size, columns=self.names, groups=[group]):
            yield RowRun(rows=batch.num_rows, batch=batch)

    def _losses(self, group: int) -> Losses | None:
        """What is lost with damaged pages; None if there are none, or they do not tell which rows are lost."""
        try:
            with damage(self.shard):
                leaves = self.file.leaves(self.names)
                found = find_losses(self.shard, self.file, group, leaves, self.image, self.room)
        except UnreadableError:
            raise
        except ShardError:
            return None
        return found if found.causes else None

    def _around(self, group: int, losses: Losses) -> Iterator[RowRun]:
        """The rows of a row group, with nulls for what is lost with damaged pages."""
        causes, at = _first(losses.causes.values()), 0
        names = pixel_columns(self.file.schema) if self.names and LINE in self.names else []
        for parts in in_step(list(self._parts(group, losses))):
            batch = joined_columns(self.file.schema, parts)
            batch = folded(batch, names) if names else batch
            for start, stop in _equal(causes[at : at + batch.num_rows]):
                cause = int(causes[at + start])
                problem = losses.problems[cause - 1] if cause else None
                yield RowRun(rows=stop - start, batch=batch.slice(start, stop - start), problem=problem)
            at += batch.num_rows

    def _parts(self, group: int, losses: Losses) -> Iterator[Iterator[pa.RecordBatch]]:
        """The columns that lack nothing, and each one that does."""
        checked = self.file.without(losses.passed_over)
        proven = self.file.without(losses.passed_over, checked=False)
        # Nothing is known of the values of pages that are read all the same, but that none is longer than its page.
        most = max(page.header.unpacked for page in losses.damaged)
        size = max(1, min(self.size(self.file.without(losses.damaged), group), self.room // max(most, 1)))
        paths = self.file.leaves(self.names)
        if sound := dict.fromkeys(_asked(self.file.schema, path) for path in paths if path not in losses.causes):
            yield checked.batches(size, columns=[*sound], groups=[group])
        for path, absent in losses.absent.items():
            file, asked = proven if path in losses.proven else checked, _asked(self.file.schema, path)
            read = iter(()) if absent.all() else file.batches(size, columns=[asked], groups=[group])
            yield _with_nulls(read, absent, path, self.file.schema)


def _first(causes: Iterable[Array]) -> Array:
    """For each row the first cause that is not 0."""
    return reduce(lambda one, other: np.where(one, one, other), causes)


def _equal(values: Array) -> Iterator[tuple[int, int]]:
    """Where equal neighbours begin and end."""
    edges = np.flatnonzero(np.diff(values)) + 1
    return pairwise([0, *edges.tolist(), len(values)])


def _top(schema: pa.Schema, path: str) -> pa.Field:
    """The column that is called so, or in which this one is."""
    return next(field for field in schema if path == field.name or path.startswith(f"{field.name}."))


def _asked(schema: pa.Schema, path: str) -> str:
    """What a column is asked for by: only those in structs are read by themselves."""
    field = _top(schema, path)
    return path if pa.types.is_struct(field.type) else str(field.name)


def _with_nulls(
    batches: Iterator[pa.RecordBatch], absent: Array, path: str, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """The rows of a column, with nulls in place of those that it lacks.

    Raises:
      pa.ArrowInvalid: it has another number of rows than it must have.
    """
    field = _top(schema, path)
    kind = _narrowed(field.type, path.removeprefix(f"{field.name}."))
    rest = pa.RecordBatch.from_arrays([pa.nulls(0, kind)], [field.name])
    for start, stop in _equal(absent):
        if absent[start]:
            yield pa.RecordBatch.from_arrays([pa.nulls(stop - start, kind)], [field.name])
            continue
        while start < stop:
            rest = rest if rest.num_rows else next(batches, None)
            if rest is None:
                raise pa.ArrowInvalid(f"column {path!r} has too few rows")
            yield rest.slice(0, stop - start)
            start, rest = start + rest.num_rows, rest.slice(stop - start)
    if rest.num_rows or next(batches, None) is not None:
        raise pa.ArrowInvalid(f"column {path!r} has too many rows")


def _narrowed(kind: pa.DataType, path: str) -> pa.DataType:
    """The type of a column that is read alone of the structs around it."""
    if not pa.types.is_struct(kind):
        return kind
    child = next(field for field in kind if path == field.name or path.startswith(f"{field.name}."))
    return pa.struct([child.with_type(_narrowed(child.type, path.removeprefix(f"{child.name}.")))])


def joined_columns(schema: pa.Schema, parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """The same rows of several columns as one batch, in the order of the schema.

    Args:
      schema: of the file.
      parts: columns, and structs with some of their columns.

    >>> schema = pa.schema({"image": pa.struct({"bytes": pa.binary(), "path": pa.string()})})
    >>> one, other = ([{"image": {"path": "a.png"}}], [{"image": {"bytes": b"..."}}])
    >>> joined_columns(schema, [pa.RecordBatch.from_pylist(one), pa.RecordBatch.from_pylist(other)]).to_pylist()
    [{'image': {'bytes': b'...', 'path': 'a.png'}}]
    """
    found: dict[str, list[pa.Array]] = {}
    for part in parts:
        for name, column in zip(part.schema.names, part.columns, strict=True):
            found.setdefault(name, []).append(column)
    fields = [field for field in schema if field.name in found]
    return pa.RecordBatch.from_arrays([_merged(f.type, found[f.name]) for f in fields], [f.name for f in fields])


def _merged(kind: pa.DataType, parts: Sequence[pa.Array]) -> pa.Array:
    if len(parts) == 1:
        return parts[0]
    children = {f.name: [part.field(f.name) for part in parts if part.type.get_field_index(f.name) >= 0] for f in kind}
    fields = [field for field in kind if children[field.name]]
    # Where a part lacks a row its struct is null, too.
    null = reduce(pc.and_, (part.is_null() for part in parts))
    return pa.StructArray.from_arrays([_merged(f.type, children[f.name]) for f in fields], fields=fields, mask=null)
