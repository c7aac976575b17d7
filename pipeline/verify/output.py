"""A whole output: what its manifest says, and whether it is so."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pipeline.errors import HeldError, OutputError, VerifyError
from pipeline.hold import check_free
from pipeline.layout import Layout
from pipeline.pool import ordered_map
from pipeline.receipts import Receipt, names, read_manifest, read_receipts
from pipeline.storage import store_for
from pipeline.sweep import data_sizes, unnamed
from pipeline.verify.files import UnitCheck
from pipeline.verify.report import Problem, Report
from pipeline.verify.state import check_model, check_success, read_made

_THREADS = 16  # they wait for the store, most of the time
_DEEP_THREADS = 8
_AHEAD = 64  # units

T = TypeVar("T")


def verify(output: str, *, deep: bool = False) -> Report:
    """Compare a whole output with its manifest and ``_SUCCESS``.

    Every file of the manifest must be there with its size, every Parquet footer must be of its unit, of this model and
    have its rows, no other file may be among the data, and the model's copy and all counts must be right.

    Args:
      output: URI of the output.
      deep: also read every byte: each file's checksum is compared, every page of every table is decoded, and its rows
        must be finite, in order, each once, of shards of their unit, and rejected for the reasons that were counted.

    Raises:
      OutputError: there is no output of this job.
      VerifyError: its manifest is missing or cannot be read.
    """
    layout = Layout(output.rstrip("/"))
    manifest = _manifest(layout)
    lost = _Lost(layout)
    made = lost.tried("_job.json", lambda: read_made(layout))
    if made is not None:
        lost.add(f"_model/{made.model_digest}", check_model(layout, made))
    lost.tried("_SUCCESS", lambda: lost.add("_SUCCESS", check_success(layout, manifest, made)))
    pending = lost.tried("_receipts", lambda: read_receipts(layout)) or {}
    if finished := sum(receipt.error is None for receipt in pending.values()):
        lost.add("_receipts", [f"{finished:,} units finished since the last commit; run the job again to commit"])
    receipts = {**manifest, **pending}
    sizes = data_sizes(layout)
    return Report(
        output=output,
        deep=deep,
        **_totals(receipts.values()),
        damaged=_damaged(UnitCheck(layout, sizes, made, deep=deep), receipts.values()),
        extra=tuple(unnamed(sizes, names([*manifest.values(), *pending.values()]))),  # old files stay until the commit
        lost=tuple(lost.problems),
        notes=_notes(layout),
    )


class _Lost:
    """Problems that no unit can mend."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.problems: list[Problem] = []

    def add(self, name: str, texts: Iterable[str]) -> None:
        """Add what is wrong with one file."""
        prefix = f"{self._layout.at(name)}: "
        self.problems += [Problem(name=name, unit=None, problem=text.removeprefix(prefix)) for text in texts]

    def tried(self, name: str, read: Callable[[], T]) -> T | None:
        """What could be read; None, and a problem, where the file is damaged."""
        try:
            return read()
        except (VerifyError, OSError) as error:
            self.add(name, [str(error)])
            return None


def _manifest(layout: Layout) -> Mapping[str, Receipt]:
    store = store_for(layout.output)
    if store.stat(layout.manifest) is None:
        if store.stat(layout.job) is None:
            raise OutputError(f"{layout.output}: no _manifest.parquet; name the directory that a finished job wrote")
        raise VerifyError(f"{layout.manifest}: missing: no run has finished, or it was removed; run the job again")
    return read_manifest(layout)


def _totals(receipts: Iterable[Receipt]) -> dict[str, int]:
    total = Counter(units=0, files=0, read=0, results=0, rejects=0)
    for r in receipts:
        total.update(units=1, files=len(r.outputs), read=r.read, results=r.results, rejects=r.rejected)
    return dict(total)


def _damaged(check: UnitCheck, receipts: Iterable[Receipt]) -> tuple[Problem, ...]:
    threads = _DEEP_THREADS if check.deep else _THREADS
    with ThreadPoolExecutor(threads, thread_name_prefix="verify") as pool:
        return tuple(problem for found in ordered_map(pool, check.problems, receipts, _AHEAD) for problem in found)


def _notes(layout: Layout) -> tuple[str, ...]:
    """What a hold says: files come and go while a run writes."""
    try:
        free = check_free(layout.output)
    except HeldError as error:
        return (f"{error}; what it is just writing may look wrong",)
    return () if free else ("a run over this output died; run the job again to go on",)
