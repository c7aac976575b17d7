"""Verify a whole output against its manifest."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

from lake.core.errors import HeldError, OutputError, UsageError, VerifyError
from lake.core.ordered_map import ordered_map
from lake.storage import store_for
from lake.storage.buckets import check_bucket
from pipeline.output.commit.cleanup import data_sizes, unnamed
from pipeline.output.commit.recovery import find_leavings
from pipeline.output.fencing.lease import check_free
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import Manifest, read_manifest
from pipeline.output.manifest.name_set import NameSet
from pipeline.output.units.receipts import Receipt, output_names, read_receipts
from pipeline.output.verify.files import UnitCheck
from pipeline.output.verify.report import Problem, VerifyReport
from pipeline.output.verify.state import check_model, check_success, read_origin
from pipeline.tables.publishing import check_record
from pipeline.tables.table_file import read_table_record

_THREADS = 16  # more than cores: they mostly wait for the store
_DEEP_THREADS = 8  # fewer: each also decodes a table, which takes memory
_AHEAD = 64  # units in flight
_TABLE = "_table.json"

_T = TypeVar("_T")


def verify(output: str, *, deep: bool = False) -> VerifyReport:
    """Compare an output with its manifest and ``_SUCCESS``.

    Every file of the manifest must exist with its size. Every Parquet footer must name its unit and this model, and
    state the right number of rows. No other file may be among the data. The copy of the model and all counts must be
    right. A table of a lake's catalog must have these files and no other ones of the output, and name its manifest.

    Example:
      ```python
      report = verify("latents", deep=True)
      report.raise_for_problems()
      ```

    Args:
      output: URI of the output.
      deep: also read every byte. Checksums are compared, every page of every table is decoded, and the rows must be
        finite, in order, without duplicates, of shards of their unit, and rejected for the reasons that were counted.

    Returns:
      The problems that were found, if any.

    Raises:
      OutputError: there is no output of this job.
      VerifyError: the manifest is missing or damaged.
    """
    layout = Layout(output.rstrip("/"))
    manifest = _manifest(layout)
    lost = _Lost(layout)
    origin = lost.attempt("_job.json", lambda: read_origin(layout))
    if origin is not None:
        lost.add(f"_model/{origin.model_digest}", check_model(layout, origin))
    lost.attempt("_SUCCESS", lambda: lost.add("_SUCCESS", check_success(layout, manifest, origin)))
    pending = lost.attempt("_receipts", lambda: _pending(layout)) or {}
    if finished := sum(receipt.error is None for receipt in pending.values()):
        lost.add("_receipts", [f"{finished:,} units finished since the last commit; run the job again to commit"])
    record = lost.attempt(_TABLE, lambda: read_table_record(layout))
    if record is not None:
        lost.attempt(_TABLE, lambda: lost.add(_TABLE, check_record(layout, record, manifest.receipts())))
    superseded = {*record.superseded} if record else set[str]()
    sizes = data_sizes(layout)
    totals = _Totals()
    damaged = _damaged(UnitCheck(layout, sizes, origin, deep=deep), totals.of(_latest(manifest, pending)))
    return VerifyReport(
        output=output,
        deep=deep,
        **totals.sums,
        damaged=damaged,
        # Of a unit that was processed again both versions are known: the old files stay until the commit.
        extra=tuple(unnamed(sizes, NameSet(chain(manifest.names(), output_names(pending.values()), superseded)))),
        lost=tuple(lost.problems),
        notes=_notes(layout),
    )


class _Lost:
    """Collects problems that no unit can repair."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.problems: list[Problem] = []

    def add(self, name: str, texts: Iterable[str]) -> None:
        """Add the problems of one file."""
        prefix = f"{self._layout.at(name)}: "
        self.problems += [Problem(name=name, unit=None, problem=text.removeprefix(prefix)) for text in texts]

    def attempt(self, name: str, read: Callable[[], _T]) -> _T | None:
        """Return what ``read`` returns; None if the file is damaged, which is added as a problem."""
        try:
            return read()
        except (VerifyError, UsageError, OSError) as error:
            self.add(name, [str(error)])
            return None


def _manifest(layout: Layout) -> Manifest:
    store = store_for(layout.output)
    if store.stat(layout.manifest) is None:
        if store.stat(layout.job) is None:
            check_bucket(layout.output, OutputError)
            raise OutputError(f"{layout.output}: no _manifest.parquet; name the directory that a finished job wrote")
        raise VerifyError(f"{layout.manifest}: missing: no run has finished, or it was removed; run the job again")
    return read_manifest(layout)


def _pending(layout: Layout) -> Mapping[str, Receipt]:
    """Return the receipts since the last commit."""
    receipts = read_receipts(layout)
    last = find_leavings(layout).last_commit if receipts else ""
    # One of a run before the last may have arrived late. It says nothing, and the next run removes it.
    return {unit: receipt for unit, receipt in receipts.items() if not "" < receipt.run < last}


def _latest(manifest: Manifest, pending: Mapping[str, Receipt]) -> Iterator[Receipt]:
    """Yield the last receipt of every unit."""
    yield from (pending.get(receipt.unit, receipt) for receipt in manifest.receipts())
    yield from (receipt for unit, receipt in pending.items() if unit not in manifest)


class _Totals:
    """Counts units and their files and records."""

    def __init__(self) -> None:
        self.sums = Counter(units=0, files=0, read=0, results=0, rejects=0)

    def of(self, receipts: Iterable[Receipt]) -> Iterator[Receipt]:
        """Pass receipts on, and count them."""
        for r in receipts:
            self.sums.update(units=1, files=len(r.outputs), read=r.read, results=r.results, rejects=r.rejected)
            yield r


def _damaged(check: UnitCheck, receipts: Iterable[Receipt]) -> tuple[Problem, ...]:
    threads = _DEEP_THREADS if check.deep else _THREADS
    with ThreadPoolExecutor(threads, thread_name_prefix="verify") as pool:
        return tuple(problem for found in ordered_map(pool, check.problems, receipts, _AHEAD) for problem in found)


def _notes(layout: Layout) -> tuple[str, ...]:
    """Return what the lease says: while a run writes, files come and go."""
    try:
        free = check_free(layout.output)
    except HeldError as error:
        return (f"{error}; what it is just writing may look wrong",)
    return () if free else ("a run over this output died; run the job again to go on",)
