"""What runs left that did not come to their end, and what of it the next run may count on."""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial

from lake.core import sealed_json
from lake.core.errors import LatentlakeError, VerifyError
from lake.core.ordered_map import requested
from lake.core.records import Unit
from lake.storage import Guard, Stat, put, store_for
from lake.storage.options import StoreOptions
from pipeline.output.commit.cleanup import is_summary
from pipeline.output.layout import Layout, files_below
from pipeline.output.manifest.manifest import read_manifest
from pipeline.output.state.plan_files import read_units, unpack_unit
from pipeline.output.state.state_file import read_state_file
from pipeline.output.state.state_values import list_of, relative
from pipeline.output.units.marks import mark_name
from pipeline.output.units.receipts import Receipt, read_receipts, read_receipts_of

_TIME = "%Y%m%dT%H%M%SZ"
_RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f-]{6,100}")  # ids that runs give themselves


def run_after(last: str) -> str:
    """Make an id of a run that begins now, which sorts after that of an earlier run whatever the clocks say.

    Args:
      last: id of the earlier run; "" for none.
    """
    mark = os.urandom(3).hex()
    if (new := f"{time.strftime(_TIME, time.gmtime())}-{mark}") > last:
        return new
    # A second more than a clock that is ahead. An id with more behind it would grow from run to run.
    try:
        then = datetime.strptime(last.partition("-")[0], _TIME) + timedelta(seconds=1)
    except (ValueError, OverflowError):  # no clock has given this name
        return f"{last}-{mark}"
    return f"{then:{_TIME}}-{mark}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leavings:
    """What runs left below an output.

    Attributes:
      plans: the files of plans, by run.
      summaries: ids of the runs that wrote a summary. Such a run has published its manifest.
      receipts: the receipts.
      others: files beside the plans of which no run has the name.
    """

    plans: Mapping[str, Sequence[Stat]]
    summaries: frozenset[str]
    receipts: Sequence[Stat]
    others: Sequence[Stat]

    @property
    def unfinished(self) -> bool:
        """Whether a run did not come to its end, if none holds the output."""
        return bool(self.plans or self.receipts or self.others)

    @property
    def last_run(self) -> str:
        """Id of the last run that left anything; "" for none."""
        return max((*self.plans, *self.summaries), default="")

    @property
    def last_commit(self) -> str:
        """Id of the last run that has published a manifest, as far as is known; "" for none."""
        return max(self.summaries, default="")


def find_leavings(layout: Layout) -> Leavings:
    """List what runs left."""
    plans: dict[str, list[Stat]] = {}
    summaries = set[str]()
    others = list[Stat]()
    for stat in files_below(layout.plans):
        run = stat.uri[len(layout.plans) + 1 :].partition("/")[0]
        if is_summary(stat) and _RUN.fullmatch(run):
            summaries.add(run)
        elif _RUN.fullmatch(run):
            plans.setdefault(run, []).append(stat)
        elif not is_summary(stat):
            others.append(stat)
    receipts = [*files_below(layout.receipts)]
    return Leavings(plans=plans, summaries=frozenset(summaries), receipts=receipts, others=others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a run counts on of earlier ones that did not commit.

    Attributes:
      adopted: ids of the units whose receipts count. The receipts of other runs do not.
      doubtful: ids of the units that the manifest calls done, and whose files a run may have replaced.
    """

    adopted: Sequence[str] = ()
    doubtful: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.adopted or self.doubtful)


def write_recovered(uri: str, recovered: Recovered, guard: Guard) -> None:
    """Write it for the commit."""
    put(uri, sealed_json.dumps(asdict(recovered)), guard)


def read_recovered(uri: str) -> Recovered:
    """Read it. Nothing is counted on if it is gone: an earlier attempt of this commit has cleaned it up.

    Raises:
      VerifyError: it is damaged.
    """
    if not uri or store_for(uri).stat(uri) is None:
        return Recovered()
    rules = dict.fromkeys(("adopted", "doubtful"), list_of(relative))
    return Recovered(**{name: tuple(read_state_file(uri, rules)[name]) for name in rules})


def read_adopted(layout: Layout, run: str, units: Sequence[str]) -> dict[str, Receipt]:
    """Read the receipts of earlier runs that a run counts on, for its commit.

    Args:
      layout: the output.
      run: id of the run.
      units: ids of the units.

    Returns:
      By unit. Only after the run has published its manifest, which has the units, may there be fewer: an earlier
      attempt of the commit has removed some.

    Raises:
      LatentlakeError: one is gone. A request to remove it, of a run that had committed before, may have come late:
        receipts are removed by their names.
    """
    found = read_receipts_of(layout, units)
    gone = [unit for unit in units if unit not in found]
    if gone and store_for(layout.output).stat(layout.summary(run)) is None:
        text = f"{len(gone)} receipts of an earlier run are gone, such as {layout.receipt(gone[0])}"
        raise LatentlakeError(f"{text}; run the job again, which does their units again")
    return found


def known_state(layout: Layout, left: Leavings, stores: StoreOptions) -> tuple[Mapping[str, Receipt], Recovered]:
    """Tell what is done, by the manifest and by what runs left since.

    What a unit's files hold is known of the last run that was to do it: by its receipt. Without one the unit is not
    done, whatever an earlier receipt or the manifest says, since its files may have been replaced just before the run
    died. A receipt may also arrive late, after another run has replaced the files or committed; then it is not of the
    last run.

    Args:
      layout: the output.
      left: what ``find_leavings`` returned.
      stores: how to reach the stores.

    Returns:
      Receipts of all finished units, and what of them is not in the manifest.

    Raises:
      VerifyError: the manifest, or the plan of a dead run, is damaged.
    """
    manifest = read_manifest(layout)
    receipts = read_receipts(layout) if left.receipts else {}
    last = _last_runs(layout, left, receipts, stores)
    pending = {unit: receipt for unit, receipt in receipts.items() if receipt.run in ("", last.get(unit))}
    finished = {unit for unit, receipt in pending.items() if receipt.error is None}
    if not (last or pending):
        return manifest, Recovered(adopted=[], doubtful=[])
    doubtful = {unit for unit in last.keys() | pending.keys() if unit in manifest} - finished
    state = {unit: receipt for unit, receipt in {**manifest, **pending}.items() if unit not in doubtful}
    state = {unit: receipt for unit, receipt in state.items() if receipt.error is None}
    return state, Recovered(adopted=sorted(finished), doubtful=sorted(doubtful))


def _last_runs(layout: Layout, left: Leavings, receipts: Mapping[str, Receipt], stores: StoreOptions) -> dict[str, str]:
    """Return for each unit the last run that was to do it, of those since the last commit."""
    last: dict[str, str] = {}
    for run in sorted(run for run in left.plans if run > left.last_commit):
        names = {stat.uri for stat in left.plans[run]}
        for unit in _units(sorted(uri for uri in names if uri.endswith(".jsonl")), stores):
            # A retry of rejects writes a mark and a receipt before it replaces a file; the receipt may be gone, by a
            # removal that came late. Without either it has left the unit alone.
            if (
                not unit.retry_rejects
                or (unit.id in receipts and receipts[unit.id].run == run)
                or layout.replaced(run, mark_name(unit.id)) in names
            ):
                last[unit.id] = run
    return last


def _units(parts: Sequence[str], stores: StoreOptions) -> Iterator[Unit]:
    for packed in requested(partial(_read, stores=stores), parts):
        yield from map(unpack_unit, packed)


def _read(part: str, stores: StoreOptions) -> list[bytes]:
    try:
        return [*read_units(part, stores)]
    except FileNotFoundError:  # its run is alive and has ended meanwhile: the plan is made again under the lease
        return []
    except VerifyError as error:  # which files that run may have replaced, cannot be told
        raise VerifyError(
            f"{part}: the plan of a run that died is damaged; remove it, run the job again, and let verify --deep "
            "--repair look for files that the run has replaced"
        ) from error
