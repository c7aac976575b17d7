"""Protocols with one fault each, which an exploration must find."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.protocol import scenarios
from tests.protocol.protocol import (
    MANIFEST,
    RETRIED,
    SUCCESS,
    Plan,
    Protocol,
    Run,
    Steps,
    Units,
    lease_of,
    sent,
    summary_of,
)
from tests.protocol.scenarios import Case
from tests.protocol.store import LEASE, Answer, Kind, Object, Request, Verb, When, version


class LateSweep(Protocol):
    """Files that are to go are listed after the commit, and deleted without a look at the lease."""

    def commit(self, run: Run, plan: Plan, *, tidy: bool) -> Steps:
        state = self.state(run, plan)
        yield from self.replace(run, MANIFEST, ("manifest", state))
        yield from self.publish_success(run, plan, state)
        yield from self.before_sweep(run)
        for name, _ in (yield from self.leftovers(plan, state, tidy=tidy)):
            yield Request(Verb.DELETE if self.kind is not Kind.DISK else Verb.REMOVE, name, run=run.id)
        yield from self.clean_up(run, ())
        yield from self.release(run)

    def before_sweep(self, run: Run) -> Steps:
        return
        yield


class LookThenList(LateSweep):
    """The same with a look at the lease, but before the files are listed."""

    def before_sweep(self, run: Run) -> Steps:
        yield from self.check(run)


class NoLook(Protocol):
    """What was staged is copied without a look at the lease; on a disk, what is renamed."""

    def replace(self, run: Run, name: str, content: Hashable) -> Steps:
        if self.kind is Kind.DISK:
            yield Request(Verb.PUBLISH, name, content, run.id)
            return
        yield from super().replace(run, name, content)

    def check(self, run: Run) -> Steps:
        return
        yield


class Overwriting(Protocol):
    """A conflict is answered by another write, on condition of the version that is there now."""

    def replace(self, run: Run, name: str, content: Hashable) -> Steps:
        written = Answer.CONFLICT
        while written is not Answer.OK:
            found = yield Request(Verb.GET, name)
            when = When.ABSENT if found is None else version(self.kind, found)
            written = yield from sent(Request(Verb.PUT, name, content, run.id, when))


class SuccessByPut(Protocol):
    """``_SUCCESS`` is written on condition that there is none."""

    def publish_success(self, run: Run, plan: Plan, state: Units) -> Steps:
        yield from self.create(run, SUCCESS, ("success", run.id, state))
        yield from self.replace(run, summary_of(run), ((), plan.number))


class StagingKept(Protocol):
    """Who takes the lease leaves what others have staged."""

    def empty_staging(self, run: Run) -> Steps:
        return
        yield


class StagingKeptIfReleased(Protocol):
    """Staging is emptied only by a run that found a lease."""

    def take(self, run: Run) -> Steps:
        if found := (yield from self.acquire(run)):
            yield from self.empty_staging(run)
        return found


class StagedAgain(Protocol):
    """What seems not to have been staged is staged again under the same name."""

    def replace(self, run: Run, name: str, content: Hashable) -> Steps:
        staged = f"staged/{run.id}/{name}"
        yield from sent(Request(Verb.PUT, staged, content, run.id))
        yield from self.check(run)
        copied = yield from sent(Request(Verb.COPY, name, run=run.id, source=staged))
        if copied is not Answer.OK:
            yield from super().replace(run, name, content)


class ManifestTrusted(Protocol):
    """A unit that a dead run was to make is done if the manifest says so."""

    def planned(self, run: Run, before: Mapping[str, str], left: Mapping[str, Any], receipts: Iterable[Any]) -> Plan:
        with_receipt = {of for of, _, _ in receipts}
        kept = {
            name: (tuple(unit for unit in todo if unit in with_receipt), number)
            for name, (todo, number) in left.items()
        }
        return super().planned(run, before, kept, receipts)


class EveryReceiptBelieved(Protocol):
    """A receipt counts, whatever run it is of."""

    def planned(self, run: Run, before: Mapping[str, str], left: Mapping[str, Any], receipts: Iterable[Any]) -> Plan:
        plan = super().planned(run, before, left, receipts)
        done = {**before, **{of: model for of, _, model in receipts}}
        todo = tuple(unit for unit in run.units if done.get(unit) != run.model)
        kept = tuple(sorted((unit, model) for unit, model in done.items() if unit in run.units and unit not in todo))
        return replace(plan, todo=todo, kept=kept)


class VanishedKept(Protocol):
    """A unit that a dead run was to make stays as the manifest says, if the input does not have it any more."""

    def planned(self, run: Run, before: Mapping[str, str], left: Mapping[str, Any], receipts: Iterable[Any]) -> Plan:
        plan = super().planned(run, before, left, receipts)
        vanished = {unit: model for unit, model in before.items() if unit not in run.units}
        return replace(plan, kept=tuple(sorted({**vanished, **dict(plan.kept)}.items())))


class SummariesIgnored(Protocol):
    """A plan counts although its run, or a later one, has committed."""

    def planned(self, run: Run, before: Mapping[str, str], left: Mapping[str, Any], receipts: Iterable[Any]) -> Plan:
        plans = {name: value for name, value in left.items() if name.endswith("/todo")}
        return super().planned(run, before, plans, receipts)


class SameBytesDone(Protocol):
    """An object of the same bytes is left as it is, although another run made it."""

    def is_own(self, run: Run, found: Object, content: Hashable) -> bool:
        return bool(found.content == content)


class SummaryFirst(Protocol):
    """The summary is written before ``_SUCCESS``."""

    def publish_success(self, run: Run, plan: Plan, state: Units) -> Steps:
        yield from self.replace(run, summary_of(run), ((), plan.number))
        yield from self.replace(run, SUCCESS, ("success", run.id, state))


class SummaryByPut(Protocol):
    """The summary is written on condition that there is none."""

    def publish_success(self, run: Run, plan: Plan, state: Units) -> Steps:
        yield from self.replace(run, SUCCESS, ("success", run.id, state))
        yield from self.create(run, summary_of(run), ((), plan.number))


class LeaseByOneRequest(Protocol):
    """The request that creates the lease makes it the run's."""

    def acquire(self, run: Run) -> Steps:
        while True:
            held = yield Request(Verb.GET, LEASE)
            if held is not None and held.run == run.id:
                return True
            when = When.ABSENT if held is None else version(self.kind, held)
            taken = yield from sent(Request(Verb.PUT, LEASE, lease_of(run), run.id, when))
            if taken is Answer.OK:
                return held is not None


class InsertedTwice(Protocol):
    """Rows of a retry are inserted whether or not they are there."""

    def merged(self, content: Any) -> Any:
        return ("data", content[1] + RETRIED)


class NothingAnnounced(Protocol):
    """A retry does not say that it replaces a file before it does."""

    def announce(self, run: Run, unit: str) -> Steps:
        return
        yield


@dataclass(frozen=True, slots=True)
class Fault:
    """A protocol with a fault, a case that shows it, and what is wrong there."""

    protocol: type[Protocol]
    case: Case
    wrong: str

    def __str__(self) -> str:
        return f"{self.protocol.__name__}-{self.case}"


_OTHERS = "has committed its own"
FOUND_SOON = (
    Fault(LateSweep, Case(scenarios.tidied, Kind.DISK), "the file of v is gone"),
    Fault(LateSweep, Case(scenarios.tidied, Kind.GS), "the file of v is gone"),
    Fault(LookThenList, Case(scenarios.tidied, Kind.S3), "the file of v is gone"),
    Fault(Overwriting, Case(scenarios.worker, Kind.GS), _OTHERS),
    Fault(Overwriting, Case(scenarios.worker, Kind.S3), _OTHERS),
    Fault(NoLook, Case(scenarios.worker, Kind.DISK), _OTHERS),
    Fault(NoLook, Case(scenarios.worker, Kind.S3), _OTHERS),
    Fault(SuccessByPut, Case(scenarios.replaced, Kind.GS), _OTHERS),
    Fault(StagingKept, Case(scenarios.worker, Kind.GS), _OTHERS),
    Fault(StagingKeptIfReleased, Case(scenarios.straggler, Kind.S3), _OTHERS),
    Fault(StagedAgain, Case(scenarios.worker, Kind.S3, losses=1), _OTHERS),
    Fault(ManifestTrusted, Case(scenarios.reverted, Kind.DISK), _OTHERS),
    Fault(ManifestTrusted, Case(scenarios.reverted, Kind.GS), _OTHERS),
    Fault(EveryReceiptBelieved, Case(scenarios.receipt_late, Kind.GS, kills=1), _OTHERS),
    Fault(VanishedKept, Case(scenarios.vanishes, Kind.DISK), _OTHERS),
    Fault(SummariesIgnored, Case(scenarios.alone, Kind.GS, kills=1), "C did again what was done"),
    Fault(SameBytesDone, Case(scenarios.comes_back, Kind.GS), "the file of x is gone"),
    Fault(InsertedTwice, Case(scenarios.retried_beside, Kind.DISK), _OTHERS),
    Fault(NothingAnnounced, Case(scenarios.retried_by_night, Kind.DISK, kills=1), _OTHERS),
    Fault(SummaryFirst, Case(scenarios.committed_twice, Kind.S3), "ended complete and had no _SUCCESS"),
)
FOUND_LATE = (
    Fault(SummaryByPut, Case(scenarios.clocks_differ, Kind.S3, kills=1), _OTHERS),
    Fault(LeaseByOneRequest, Case(scenarios.new, Kind.S3, losses=1), _OTHERS),
)
