"""What the launch and the commit of a run do about the table of their output."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from lake.core.records import OutputFile
from lake.storage import Guard, Stat
from pipeline.output.fencing.lease import renew
from pipeline.output.layout import LATENTS, Layout
from pipeline.output.units.receipts import Receipt
from pipeline.tables.table import TableSpec, files_digest, open_table
from pipeline.tables.table_file import TableRecord, read_table_record, write_table_record


def table_files(receipts: Iterable[Receipt]) -> list[OutputFile]:
    """The files of an output that its table has: those with latents.

    Args:
      receipts: of all units.
    """
    return [file for receipt in receipts for file in receipt.outputs if file.name.startswith(f"{LATENTS}/")]


def check_table(
    spec: TableSpec, layout: Layout, schema: pa.Schema, names: Iterable[str], receipts: Iterable[Receipt]
) -> bool:
    """Check at launch that a table takes the rows of a job, and tell whether a commit is due for it alone.

    Args:
      spec: which table.
      layout: the output.
      schema: of the rows.
      names: of the data files of all units, relative to the output.
      receipts: of the units that are done.

    Returns:
      Whether the table has other files of this output than the receipts.

    Raises:
      UsageError: the catalog cannot be reached, or the table cannot take the rows.
    """
    table = open_table(spec, layout.output)
    table.check(schema, names)
    record, current, files = read_table_record(layout), table.current(), table_files(receipts)
    if current is None:
        return bool(table.published(files))
    if record is None or (record.spec, record.snapshot) != (spec, current.id):
        return True
    return current.digest != files_digest(files)


def check_record(layout: Layout, record: TableRecord, receipts: Iterable[Receipt]) -> Iterator[str]:
    """Yield how an output, its record of its table, and the table differ.

    Args:
      layout: the output.
      record: what the output says of its table.
      receipts: of the committed units.

    Raises:
      UsageError: the catalog cannot be reached.
    """
    files, table = table_files(receipts), open_table(record.spec, layout.output)
    current = table.current()
    if record.digest != files_digest(files):
        yield "it is of another manifest; run the job again"
    if current is not None and current.id != record.snapshot:
        yield f"it says snapshot {record.snapshot}, and the table's last one is {current.id}; run the job again"
    yield from table.problems(files)


class Publishing:
    """The table of an output in the commit of a run.

    Args:
      spec: which table.
      layout: the output.
      run: id of the run.
      guard: the right to write the output's record of its table.
    """

    def __init__(self, spec: TableSpec, layout: Layout, run: str, guard: Guard) -> None:
        self._layout, self._run, self._guard = layout, run, guard
        self._table = open_table(spec, layout.output)
        before = read_table_record(layout)
        fresh = TableRecord(kind=spec.kind, catalog=spec.catalog, name=spec.name)
        self._record = before if before is not None and before.spec == spec else fresh

    @property
    def superseded(self) -> set[str]:
        """Files that earlier commits have left for the readers of a snapshot."""
        return {*self._record.superseded}

    def spare(self, leftover: Sequence[Stat]) -> list[Stat]:
        """Leave out of the files to remove those that a snapshot has, and write down which these are.

        Args:
          leftover: data files that no unit has any more.
        """
        named = self._table.named() if leftover else set[str]()
        kept = {name for stat in leftover if (name := stat.uri[len(self._layout.output) + 1 :]) in named}
        self._note(superseded=tuple(sorted(kept)))
        return [stat for stat in leftover if stat.uri[len(self._layout.output) + 1 :] not in kept]

    def publish(self, receipts: Iterable[Receipt]) -> dict[str, Any] | None:
        """Publish the files of a complete output. Publishing them twice is publishing them once.

        Args:
          receipts: of all units.

        Returns:
          What the summary says of it; None where there is nothing to publish yet.

        Raises:
          HeldError: another run holds the output.
          LatentlakeError: the table cannot take them.
        """
        files = table_files(receipts)
        snapshot = self._table.publish(files, self._record.files, self._run, self._hold)
        if snapshot is None:
            return None
        self._note(snapshot=snapshot.id, digest=snapshot.digest, files=len(self._table.published(files)))
        spec = self._record.spec
        return {"kind": spec.kind, "catalog": spec.catalog, "name": spec.name, "snapshot": snapshot.id}

    def _hold(self) -> None:
        renew(self._layout.output, self._run)

    def _note(self, **changes: Any) -> None:
        record = replace(self._record, **changes)
        if record != self._record:
            write_table_record(self._layout, record, self._guard)
        self._record = record
