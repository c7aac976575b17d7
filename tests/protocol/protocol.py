"""The protocol of a run, request by request, as ``pipeline`` and ``lake.storage`` do it.

A program is a generator: it yields a request, and is sent the store's answer. What a run does beside its requests takes
no time here. Left out are names that are published as others are (the job file, the model's copy, rejects, images; and
parts of a manifest, which are written, kept and removed as files of units are, and say nothing until the manifest names
them), what a run does at once (requests of a batch, several units), that a commit reads a dead run's receipts once more
and ends if one is gone, and renewals of the lease: it may be lost at any instant.
"""

from collections.abc import Container, Generator, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from tests.protocol.store import LEASE, Answer, Kind, Object, Request, Verb, When, version

MANIFEST, SUCCESS = "_manifest", "_SUCCESS"
RETRIED = "+"  # behind the model of a unit that has the rows of a retry of its rejects, too
REJECTS_ONLY = "~"  # behind a unit of a plan of which the rejects alone are tried again
BEING_REPLACED = ""  # in place of the model, in the receipt that a retry leaves before it replaces a file
ROUNDS = 4  # after which a run gives up a name that others replace all the time

Steps: TypeAlias = Generator[Request, Any, Any]
Units: TypeAlias = tuple[tuple[str, str], ...]  # unit and model


class LostError(Exception):
    """Another run holds the output."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run, or one of its processes.

    Attributes:
      id: of the run; receipts, plans and attempts carry it.
      model: what it makes the units with.
      units: those that its input has.
      prune: whether units that its input has no longer are dropped.
      retry: whether it tries rejects again. All that it has not retried itself has some, and it gets all of them.
      last: whether it begins when all others have ended, so that nothing may change any more.
      process: which of the run's processes.
      number: by which runs are in order, as its clock says; 0 for one after all that have left anything.
    """

    id: str
    model: str
    units: tuple[str, ...] = ("u",)
    prune: bool = False
    retry: bool = False
    last: bool = False
    process: str = ""
    number: int = 0

    @property
    def made(self) -> str:
        """What it makes of a unit: a retry takes each record of one that is not done by its old policy first."""
        return self.model + RETRIED * self.retry


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run found when it had taken the lease.

    Attributes:
      number: of the run: it is higher than those of all runs before that left anything.
      todo: units to be made.
      kept: units that are done, and with which model.
      named: units that the manifest names, or that a dead run was to make: whose files there may be.
      unfinished: whether a run left what a commit cleans up.
      again: units that are done, and whose rejects are tried again.
      announced: units whose files a retry said to replace.
    """

    number: int
    todo: tuple[str, ...]
    kept: Units
    named: tuple[str, ...]
    unfinished: bool
    again: tuple[str, ...] = ()
    announced: tuple[str, ...] = ()


class Protocol:
    """The protocol on one kind of store.

    Args:
      kind: of the store.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    # ---- programs

    def run(self, run: Run) -> Steps:
        """A whole run; how it ended."""
        try:
            found_dead = yield from self.take(run)
            success = yield Request(Verb.GET, SUCCESS)
            plan = yield from self.plan(run)
            busy = plan.todo or plan.again
            if success and not busy and not found_dead and not plan.unfinished and not _dropped(run, plan):
                yield from self.release(run)
                return "nothing to do"
            # On S3 a receipt may have gone with its name, after which its unit is done again. So is one whose file a
            # retry said to replace, also if it lost the output before.
            anew = tuple(unit for unit in plan.todo if unit not in plan.announced)
            if self.kind is not Kind.S3 and run.last and success and anew and _is_of(run, success):
                return "did again what was done"
            yield from self.stage(run, plan, success)
            for unit in plan.todo:
                yield from self.make(run, unit)
            for unit in plan.again:
                yield from self.retry(run, unit)
            yield from self.commit(run, plan, tidy=found_dead or plan.unfinished)
            return "complete"
        except LostError:
            return "lost"

    def worker(self, run: Run, unit: str) -> Steps:
        """A process that makes a unit of a run, whether or not the run waits for it."""
        try:
            yield from self.make(run, unit)
        except LostError:
            return "lost"
        return "made"

    def retrying(self, run: Run, unit: str) -> Steps:
        """The same for a process that tries the rejects of a unit again."""
        try:
            yield from self.retry(run, unit)
        except LostError:
            return "lost"
        return "made"

    def commit_again(self, run: Run, plan: Plan) -> Steps:
        """An engine that repeats the commit of a run."""
        try:
            lease = yield Request(Verb.GET, LEASE)
            if lease is None or lease.content != lease_of(run):
                ended = yield Request(Verb.GET, summary_of(run))
                return "complete" if ended else "lost"
            yield from self.commit(run, plan, tidy=False)
        except LostError:
            return "lost"
        return "complete"

    # ---- the lease

    def take(self, run: Run) -> Steps:
        """Take the lease, and with it all that others may still have copied; whether there was a lease."""
        found = yield from self.acquire(run)
        yield from self.empty_staging(run)
        return found

    def acquire(self, run: Run) -> Steps:
        """Take the lease, which any run may do at any time: its holder may have been silent for too long.

        Returns:
          Whether there was one.
        """
        if self.kind is Kind.DISK:
            return (yield Request(Verb.TAKE, LEASE, lease_of(run), run.id)) is not None
        found = False
        while True:
            held = yield Request(Verb.GET, LEASE)
            if held is not None and held.content == lease_of(run):
                return found
            if held is None:
                # This request may come late, when there is no lease once more. So what it makes is no run's lease yet.
                yield from sent(Request(Verb.PUT, LEASE, created_by(run), run.id, When.ABSENT))
                continue
            found = held.run != run.id
            taken = yield from sent(Request(Verb.PUT, LEASE, lease_of(run), run.id, version(self.kind, held)))
            if taken is Answer.OK:
                return found

    def check(self, run: Run) -> Steps:
        """Read the lease."""
        lease = yield Request(Verb.GET, LEASE)
        if lease is None or lease.content != lease_of(run):
            raise LostError

    def release(self, run: Run) -> Steps:
        """Release the lease, if it is this run's."""
        if self.kind is Kind.DISK:
            yield Request(Verb.RELEASE, LEASE, run=run.id, when="own")
            return
        held = yield Request(Verb.GET, LEASE)
        if held is not None and held.content == lease_of(run):
            yield from sent(Request(Verb.DELETE, LEASE, run=run.id, when=version(self.kind, held)))

    def empty_staging(self, run: Run) -> Steps:
        """Delete what other runs have staged: a copy of theirs that is still on its way then finds no source."""
        if self.kind is Kind.DISK:
            return
        listed = yield Request(Verb.LIST, "staged/")
        yield from self.delete(run, [one for one in listed if _run_of(one[0]) != run.id], by_name=True)

    # ---- before the units

    def plan(self, run: Run) -> Steps:
        """Find out what is done, by the manifest, and by the plans, summaries and receipts that runs have left."""
        manifest = yield Request(Verb.GET, MANIFEST)
        before = dict(manifest.content[1]) if manifest else {}
        listed = yield Request(Verb.LIST, "plan/")
        left: tuple[tuple[str, Any], ...] = ()
        for name, _ in listed:
            if found := (yield Request(Verb.GET, name)):
                left += ((name, found.content),)
        listed = yield Request(Verb.LIST, "receipt/")
        receipts: tuple[tuple[str, ...], ...] = ()
        for name, _ in listed:
            if found := (yield Request(Verb.GET, name)):
                receipts += ((name.removeprefix("receipt/"), *found.content[1:]),)
        return self.planned(run, before, dict(left), receipts)

    def planned(self, run: Run, before: Mapping[str, str], left: Mapping[str, Any], receipts: Iterable[Any]) -> Plan:
        """The plan, from what was read. A plan has its units, and each plan and summary the number of its run."""
        latest = max((number for _, number in left.values()), default=0)
        if 0 < run.number <= latest:  # one that came later has been there since this one took its number
            raise LostError
        committed = max((number for name, (_, number) in left.items() if name.endswith("/summary")), default=0)
        plans = {_run_of(name): plan for name, plan in left.items() if name.endswith("/todo") and plan[1] > committed}
        # A retry that has left neither mark nor receipt has left the unit alone.
        begun = {(maker, unit) for unit, maker, _ in receipts} | {tuple(name.split("/")[1::2]) for name in left}
        plans = {maker: (_counted(todo, maker, begun), number) for maker, (todo, number) in plans.items()}
        done, doubtful = dict(before), {unit for todo, _ in plans.values() for unit in todo}
        for unit in doubtful:
            # Of those that were to make it, only the last one can have made the file that is there.
            last = max((number, maker) for maker, (todo, number) in plans.items() if unit in todo)[1]
            done.pop(unit, None)
            done |= {of: model for of, by, model in receipts if (of, by) == (unit, last) and model != BEING_REPLACED}
        todo = tuple(unit for unit in run.units if _model(done.get(unit, "")) != run.model)
        again = tuple(unit for unit in run.units if run.retry and done.get(unit) == run.model)
        here = {unit for unit in done if unit in run.units or (_model(done[unit]) == run.model and not run.prune)}
        return Plan(
            number=run.number or latest + 1,
            todo=todo,
            kept=tuple(sorted((unit, done[unit]) for unit in here.difference(todo, again))),
            named=tuple(sorted({*before} | doubtful)),
            unfinished=any(name.endswith("/todo") for name in left) or bool(receipts),
            again=again,
            announced=tuple(sorted(name.rpartition("/")[2] for name in left if "/replaced/" in name)),
        )

    def stage(self, run: Run, plan: Plan, success: Object | None) -> Steps:
        """Take ``_SUCCESS`` away, and write the plan."""
        if success:
            yield from self.delete(run, [(SUCCESS, version(self.kind, success))])
        if todo := plan.todo + tuple(unit + REJECTS_ONLY for unit in plan.again):
            yield from self.replace(run, f"plan/{run.id}/todo", (todo, plan.number))

    # ---- one unit

    def make(self, run: Run, unit: str) -> Steps:
        """Write a unit's file, then its receipt."""
        yield from self.create(run, f"data/{unit}", ("data", run.made))
        yield from self.create(run, f"receipt/{unit}", ("receipt", run.id, run.made))

    def retry(self, run: Run, unit: str) -> Steps:
        """Put the rows of a unit's rejects among those of its file, which says nothing true while it is replaced."""
        name = f"data/{unit}"
        found = yield Request(Verb.GET, name)
        if found is None:  # it is another run's by now
            yield from self.check(run)
            return
        yield from self.announce(run, unit)
        yield from self.create(run, name, self.merged(found.content))
        yield from self.create(run, f"receipt/{unit}", ("receipt", run.id, run.made))

    def announce(self, run: Run, unit: str) -> Steps:
        """Say that a finished file is being replaced: by a mark, since others remove the receipt by its name."""
        yield from self.create(run, f"plan/{run.id}/replaced/{unit}", ((), 0))
        yield from self.create(run, f"receipt/{unit}", ("receipt", run.id, BEING_REPLACED))

    def merged(self, content: Any) -> Any:
        """A file with the rows of a retry. Those that it has already are replaced."""
        return ("data", _model(content[1]) + RETRIED)

    # ---- the end

    def commit(self, run: Run, plan: Plan, *, tidy: bool) -> Steps:
        """Write the manifest and ``_SUCCESS``, then clean up."""
        state = self.state(run, plan)
        gone = yield from self.leftovers(plan, state, tidy=tidy)
        yield from self.replace(run, MANIFEST, ("manifest", state))
        yield from self.publish_success(run, plan, state)
        yield from self.clean_up(run, gone)
        yield from self.release(run)

    def state(self, run: Run, plan: Plan) -> Units:
        """What the output has when the run has made its units."""
        return tuple(sorted({**dict(plan.kept), **dict.fromkeys((*plan.todo, *plan.again), run.made)}.items()))

    def leftovers(self, plan: Plan, state: Units, *, tidy: bool) -> Steps:
        """Find the files that go, before anybody may take the output for complete: what is newer is another run's."""
        listed = yield Request(Verb.LIST, "data/")
        current, superseded = {f"data/{unit}" for unit, _ in state}, {f"data/{unit}" for unit in plan.named}
        return tuple(one for one in listed if one[0] not in current and (tidy or one[0] in superseded))

    def publish_success(self, run: Run, plan: Plan, state: Units) -> Steps:
        """Write ``_SUCCESS``, then the summary, by which a commit that is made twice knows that it has ended.

        A plan counts no more once there is the summary of its run or of a later one. So a summary must not come late.
        """
        yield from self.replace(run, SUCCESS, ("success", run.id, state))
        yield from self.replace(run, summary_of(run), ((), plan.number))

    def clean_up(self, run: Run, gone: Iterable[tuple[str, Hashable]]) -> Steps:
        """Delete files, receipts and plans.

        What was staged goes before the plans: as long as its source is there, a copy that was given up may come late.
        """
        yield from self.delete(run, gone)
        listed = yield Request(Verb.LIST, "staged/")
        yield from self.delete(run, listed, by_name=True)
        listed = yield Request(Verb.LIST, "receipt/")
        yield from self.delete(run, listed, by_name=True)
        listed = yield Request(Verb.LIST, "plan/")
        yield from self.delete(run, [one for one in listed if not one[0].endswith("/summary")], by_name=True)

    # ---- writes and deletes

    def create(self, run: Run, name: str, content: Hashable) -> Steps:
        """Write a name that is usually new. The request of a run that has lost can then replace nothing."""
        if self.kind is not Kind.DISK:
            written = yield from sent(Request(Verb.PUT, name, content, run.id, When.ABSENT))
            if written is Answer.OK:
                return
            found = yield Request(Verb.GET, name)
            if found and self.is_own(run, found, content):
                return
        yield from self.replace(run, name, content)

    def is_own(self, run: Run, found: Object, content: Hashable) -> bool:
        """Whether what is there is this very write, or that of another process of the run."""
        return found.content == content and found.run == run.id

    def replace(self, run: Run, name: str, content: Hashable) -> Steps:
        """Write a name whatever is there: stage the object, look at the lease, copy it there."""
        if self.kind is Kind.DISK:
            yield from _under_lock(Request(Verb.PUBLISH, name, content, run.id, "own"))
            return
        for number in range(ROUNDS):
            staged = f"staged/{run.id}/{name}#{run.process}{number}"
            # A name is sent once. If it were sent again, its first request could bring back what another run deleted.
            if (yield Request(Verb.PUT, staged, content, run.id)) is Answer.TIMEOUT:
                continue
            yield from self.check(run)
            copied = yield from sent(Request(Verb.COPY, name, run=run.id, source=staged))
            if copied is Answer.OK:
                return
        yield from self.check(run)
        raise AssertionError(f"{name} could not be written")

    def delete(self, run: Run, listed: Iterable[tuple[str, Hashable]], *, by_name: bool = False) -> Steps:
        """Delete some names, in the versions that were listed before the lease is looked at.

        On S3 those whose late deletion costs nothing are deleted whatever their version.
        """
        names = tuple(listed)
        if self.kind is not Kind.DISK and names:
            yield from self.check(run)
        for name, seen in names:
            if self.kind is Kind.DISK:
                yield from _under_lock(Request(Verb.REMOVE, name, run=run.id, when="own"))
            else:
                when = When.ALWAYS if by_name and self.kind is Kind.S3 else seen
                yield from sent(Request(Verb.DELETE, name, run=run.id, when=when))


def sent(request: Request) -> Steps:
    """Send a request until there is an answer."""
    answer = Answer.TIMEOUT
    while answer is Answer.TIMEOUT:
        answer = yield request
    return answer


def _under_lock(request: Request) -> Steps:
    if (yield request) is Answer.LOST:
        raise LostError


def _dropped(run: Run, plan: Plan) -> bool:
    """Whether the manifest names a unit that is in the output no longer."""
    return bool({*plan.named} - {*plan.todo, *plan.again} - {unit for unit, _ in plan.kept})


def _is_of(run: Run, success: Object) -> bool:
    """Whether an output is complete and has all that this run would make."""
    return {(unit, run.model) for unit in run.units} <= {(unit, _model(made)) for unit, made in success.content[2]}


def _model(made: str) -> str:
    """The model that a unit was made with, without what was retried."""
    return made.removesuffix(RETRIED)


def _counted(todo: Iterable[str], maker: str, begun: Container[tuple[str, ...]]) -> tuple[str, ...]:
    """The units of a dead run's plan whose files it may have replaced."""
    whole = ((unit.removesuffix(REJECTS_ONLY), unit.endswith(REJECTS_ONLY)) for unit in todo)
    return tuple(unit for unit, retried in whole if not retried or (maker, unit) in begun)


def lease_of(run: Run) -> tuple[str, ...]:
    """What a run holds the output by."""
    return ("lease", run.id)


def created_by(run: Run) -> tuple[str, ...]:
    """What a run creates the lease with."""
    return ("lease", run.id, "created")


def _run_of(name: str) -> str:
    return name.split("/")[1]


def summary_of(run: Run) -> str:
    return f"plan/{run.id}/summary"
