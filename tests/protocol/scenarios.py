"""What is explored, and what must hold in every state of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

from tests.protocol.explorer import Client, Explorer, Found, View, World
from tests.protocol.protocol import MANIFEST, SUCCESS, Plan, Protocol, Run
from tests.protocol.store import LEASE, Kind, Object, Request, Verb, When, get


def check(view: View) -> str:
    """What is wrong with a state; "" for nothing."""
    return _success(view) or _ends(view)


def _success(view: View) -> str:
    """``_SUCCESS`` stands over the manifest that its run wrote, and over the files that this names."""
    if (success := get(view.objects, SUCCESS)) is None:
        return ""
    manifest = get(view.objects, MANIFEST)
    if manifest is None or manifest.content != ("manifest", success.content[2]):
        return f"_SUCCESS of {success.run} stands over another manifest"
    for unit, model in success.content[2]:
        file = get(view.objects, f"data/{unit}")
        if file is None:
            return f"the file of {unit} is gone, which {success.run} has committed"
        if file.content != ("data", model):
            return f"the file of {unit} is {file.run}'s, and {success.run} has committed its own"
    return ""


def _ends(view: View) -> str:
    """Who says that it completed the output did, and the output is complete until another run takes it."""
    for name, end in view.ends.items():
        run = view.runs[name]
        if end == "complete" and run not in view.succeeded:
            return f"{name} ended complete and had no _SUCCESS"
        success = get(view.objects, SUCCESS)
        if end == "complete" and view.holder == run and (success is None or success.run != run):
            return f"{name} ended complete, nobody else took the output, and its _SUCCESS is gone"
        if name == "C" and end == "lost":
            return "C lost the output, although all others have ended"
        if end not in (None, "complete", "lost", "nothing to do", "made"):
            return f"{name} {end}"
    return ""


def litter(view: View) -> str:
    """Files that no manifest names, beside a ``_SUCCESS`` over which no run is at work."""
    success = get(view.objects, SUCCESS)
    if success is None or get(view.objects, LEASE):
        return ""
    named = {f"data/{unit}" for unit, _ in success.content[2]}
    extra = [
        name for name in view.objects if name.startswith("data/") and get(view.objects, name) and name not in named
    ]
    return f"{extra[0]} is of no unit" if extra else ""


# ---- what the store holds at first


def committed(**units: str) -> dict[str, Object]:
    """An output that a run O has committed: units and their models."""
    state = tuple(sorted(units.items()))
    files = {f"data/{unit}": Object(("data", model), "O", 1) for unit, model in state}
    objects = {MANIFEST: Object(("manifest", state), "O", 1), SUCCESS: Object(("success", "O", state), "O", 1)}
    return {**files, **objects}


def held_by(run: str) -> dict[str, Object]:
    """The lease of a run that has not released it."""
    return {LEASE: Object(("lease", run), run, 1)}


# ---- scenarios

Scenario = Callable[..., World]


def _world(protocol: Protocol, *clients: Client, last: Run, objects: dict[str, Object], **options: Any) -> World:
    """Some processes at once, and a run when all of them have ended."""
    steps = partial(protocol.run, replace(last, id="C", last=True, number=0))
    third = Client("C", "C", steps, after=tuple(client.name for client in clients))
    return World(kind=protocol.kind, clients=(*clients, third), objects=objects, **options)


def _two(protocol: Protocol, one: Run, other: Run, objects: dict[str, Object], **options: Any) -> World:
    clients = (Client(run.id, run.id, partial(protocol.run, run)) for run in (one, other))
    return _world(protocol, *clients, last=other, objects=objects, **options)


def new(protocol: Protocol, **options: Any) -> World:
    """Two runs with two models make a new output."""
    return _two(protocol, Run("A", "m1"), Run("B", "m2"), {}, **options)


def replaced(protocol: Protocol, **options: Any) -> World:
    """Two runs with two models replace a third one's."""
    return _two(protocol, Run("A", "m1"), Run("B", "m2"), committed(u="m0"), **options)


def reverted(protocol: Protocol, **options: Any) -> World:
    """One run replaces the model, the other one has the model that the manifest holds."""
    return _two(protocol, Run("A", "m2"), Run("B", "m1"), committed(u="m1"), **options)


def tidied(protocol: Protocol, **options: Any) -> World:
    """A dead run has left a plan and a file; one run cleans up after it, the other has one more unit."""
    left = {"plan/Z/todo": Object((("u",), 1), "Z", 1), "data/x": Object(("data", "m1"), "Z", 1)}
    return _two(protocol, Run("A", "m1"), Run("B", "m1", ("u", "v")), {**left, **held_by("Z")}, **options)


def comes_back(protocol: Protocol, **options: Any) -> World:
    """One run drops a unit, and the other one has it again."""
    runs = (Run("A", "m1", prune=True), Run("B", "m1", ("u", "x")))
    return _two(protocol, *runs, committed(u="m1", x="m1"), **options)


def vanishes(protocol: Protocol, **options: Any) -> World:
    """One run replaces a unit that the input of the other one does not have."""
    runs = (Run("A", "m2", ("u", "v")), Run("B", "m1", ("v",)))
    return _two(protocol, *runs, committed(u="m1", v="m1"), **options)


def clocks_differ(protocol: Protocol, **options: Any) -> World:
    """As one replaces the model and the other one has the old, and by their clocks the second came last in any case."""
    runs = (Run("A", "m2", number=1), Run("B", "m1", number=2))
    return _two(protocol, *runs, committed(u="m1"), **options)


def worker(protocol: Protocol, **options: Any) -> World:
    """A worker of a run is replacing a file when another run takes over."""
    staged = {**committed(u="m0"), **held_by("A"), "plan/A/todo": Object((("u",), 1), "A", 1)}
    del staged[SUCCESS]
    a, b = Run("A", "m1"), Run("B", "m2")
    clients = (Client("A", "A", partial(protocol.worker, a, "u")), Client("B", "B", partial(protocol.run, b)))
    return _world(protocol, *clients, last=b, objects=staged, **options)


def straggler(protocol: Protocol, **options: Any) -> World:
    """A worker that its run does not wait for is replacing a file when the run ends, and another run begins."""
    a, b = Run("A", "m1"), Run("B", "m2")
    twin = Client("W", "A", partial(protocol.worker, replace(a, process="w"), "u"), needs="plan/A/todo")
    clients = (Client("A", "A", partial(protocol.run, a)), twin)
    after = Client("B", "B", partial(protocol.run, b), after=("A",))
    return _world(protocol, *clients, after, last=b, objects=committed(u="m0"), **options)


def receipt_late(protocol: Protocol, **options: Any) -> World:
    """The receipt of a dead run is on its way; one run replaces its file, the next has the model of the dead one."""
    left = {"plan/A/todo": Object((("u",), 1), "A", 1), "data/u": Object(("data", "m1"), "A", 1), **held_by("A")}
    late = (Request(Verb.PUT, "receipt/u", ("receipt", "A", "m1"), "A", When.ABSENT),)
    second = Client("B", "B", partial(protocol.run, Run("B", "m2")))
    return _world(protocol, second, last=Run("C", "m1"), objects=left, late=late, **options)


def committed_twice(protocol: Protocol, **options: Any) -> World:
    """An engine repeats the commit of a run while its first attempt is still at it, and another run takes over."""
    a, b = Run("A", "m1"), Run("B", "m2")
    left = {"plan/A/todo": Object((("u",), 1), "A", 1), "data/u": Object(("data", "m1"), "A", 1), **held_by("A")}
    left["receipt/u"] = Object(("receipt", "A", "m1"), "A", 1)
    plan = Plan(number=1, todo=("u",), kept=(), named=(), unfinished=False)
    attempts = (
        Client(f"A{number}", "A", partial(protocol.commit_again, replace(a, process=str(number)), plan))
        for number in (1, 2)
    )
    return _world(protocol, *attempts, Client("B", "B", partial(protocol.run, b)), last=b, objects=left, **options)


def alone(protocol: Protocol, **options: Any) -> World:
    """One run, and one after it that has nothing else to do."""
    a = Run("A", "m1")
    return _world(protocol, Client("A", "A", partial(protocol.run, a)), last=a, objects=committed(u="m0"), **options)


def extra(protocol: Protocol, **options: Any) -> World:
    """The input of one run has a unit that the other one's does not have; that run ends last."""
    b = Run("B", "m1")
    one = Client("A", "A", partial(protocol.run, Run("A", "m1", ("x",))))
    return _world(protocol, one, Client("B", "B", partial(protocol.run, b)), last=b, objects={}, **options)


def retried(protocol: Protocol, **options: Any) -> World:
    """One run tries rejects again, and the other one replaces the model."""
    return _two(protocol, Run("A", "m1", retry=True), Run("B", "m2"), committed(u="m1"), **options)


def retried_twice(protocol: Protocol, **options: Any) -> World:
    """Two runs try the same rejects again."""
    runs = (Run("A", "m1", retry=True), Run("B", "m1", retry=True))
    return _two(protocol, *runs, committed(u="m1"), **options)


def retried_by_night(protocol: Protocol, **options: Any) -> World:
    """One run tries rejects again while another one has a new unit, and drops one that has vanished."""
    runs = (Run("A", "m1", retry=True), Run("B", "m1", ("u", "v"), prune=True))
    return _two(protocol, *runs, committed(u="m1", x="m1"), **options)


def retried_alone(protocol: Protocol, **options: Any) -> World:
    """One run tries rejects again, and one after it has nothing else to do."""
    a = Run("A", "m1", retry=True)
    return _world(protocol, Client("A", "A", partial(protocol.run, a)), last=a, objects=committed(u="m1"), **options)


def retried_beside(protocol: Protocol, **options: Any) -> World:
    """Two workers of a run try the same rejects again, of which it waits for one; then another run begins."""
    a, b = Run("A", "m1", retry=True), Run("B", "m2")
    twin = Client("W", "A", partial(protocol.retrying, replace(a, process="w"), "u"), needs="plan/A/todo")
    clients = (Client("A", "A", partial(protocol.run, a)), twin)
    after = Client("B", "B", partial(protocol.run, b), after=("A",))
    return _world(protocol, *clients, after, last=b, objects=committed(u="m1"), **options)


# ---- cases


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario on a kind of store, with some requests that are given up and some processes that are killed."""

    scenario: Scenario
    kind: Kind
    losses: int = 0
    kills: int = 0

    def __str__(self) -> str:
        return f"{self.scenario.__name__}-{self.kind}-{self.losses}-{self.kills}"


@dataclass(frozen=True, slots=True)
class Limit:
    """What can go wrong on a kind of store, whatever a run does (``docs/decisions/0013-fencing.md``)."""

    case: Case
    wrong: str

    def __str__(self) -> str:
        return str(self.case)


def explored(case: Case, protocol: Protocol, check: Callable[[View], str] = check) -> Found:
    """Explore a case."""
    return Explorer(case.scenario(protocol, losses=case.losses, kills=case.kills), check).explore()


_TWO = (new, replaced, reverted, tidied, comes_back, vanishes, clocks_differ)  # whole runs
_RETRIES = (retried, retried_twice, retried_by_night, retried_alone, retried_beside)
_PARTS = (worker, straggler, receipt_late, alone)  # parts of runs, or one after the other
# A name that comes back with the same bytes, which S3 cannot tell from the old one.
LIMITS = (
    Limit(Case(comes_back, Kind.S3), "the file of x is gone"),
    Limit(Case(replaced, Kind.MINIO), "its _SUCCESS is gone"),
)
_LIMITED = {(limit.case.scenario, limit.case.kind) for limit in LIMITS} | {(tidied, Kind.S3)}


def _cases(some: Iterable[Scenario], kinds: Iterable[Kind], *budgets: tuple[int, int]) -> tuple[Case, ...]:
    every = product(some, kinds, budgets)
    return tuple(Case(one, kind, *budget) for one, kind, budget in every if (one, kind) not in _LIMITED)


QUICK = (
    *_cases((*_TWO, *_RETRIES, *_PARTS), (Kind.DISK,), (1, 1)),
    *_cases((*_TWO, *_RETRIES, *_PARTS), (Kind.GS,), (0, 0)),
    *_cases((reverted, retried, retried_alone, *_PARTS), (Kind.S3,), (0, 0)),
)
LONG = (
    *_cases((committed_twice,), (Kind.DISK,), (1, 1)),
    *_cases(_TWO, (Kind.GS, Kind.S3), (0, 1)),
    *_cases(_TWO, (Kind.GS,), (1, 0)),
    *_cases((new, replaced), (Kind.S3,), (1, 0)),
    *_cases((worker, alone, receipt_late), (Kind.GS, Kind.S3), (1, 1)),
    *_cases((straggler,), (Kind.GS, Kind.S3), (1, 0), (0, 1)),
    *_cases((committed_twice,), (Kind.GS, Kind.S3), (0, 0)),
)
