"""All interleavings of some programs on one store, breadth first, so that what is found is found in the fewest steps.

At every step one program's request is executed and answered; or its client gives it up, and the store may execute it
at any later time; or its process is killed, before it sent the request or with the request on its way; or a request
that is on its way is executed. A process that is paused is one whose turn does not come.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from tests.protocol.protocol import SUCCESS, Steps
from tests.protocol.store import LEASE, READS, Answer, Kind, Object, Objects, Request, Verb, execute, get

_T = TypeVar("_T")

KILLED = -1  # position of a program whose process was killed


@dataclass(frozen=True, slots=True)
class Client:
    """One process.

    Attributes:
      name: for traces.
      run: id of its run.
      steps: makes its program.
      after: those that must have ended, or been killed, before this one begins.
      needs: what must be in the store when it begins; "" for nothing.
    """

    name: str
    run: str
    steps: Callable[[], Steps]
    after: tuple[str, ...] = ()
    needs: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is explored.

    Attributes:
      kind: of the store.
      clients: the processes.
      objects: what the store holds at first.
      late: requests that are on their way at first.
      losses: how many requests may be given up in all.
      kills: how many processes may be killed in all.
    """

    kind: Kind
    clients: tuple[Client, ...]
    objects: Mapping[str, Object] = field(default_factory=dict)
    late: tuple[Request, ...] = ()
    losses: int = 1
    kills: int = 1


class State(NamedTuple):
    """A state of the world. Stores, requests and positions are numbers in tables of the explorer.

    Attributes:
      store: what the store holds.
      positions: of each program.
      late: requests on their way, in order.
      losses: how many more requests may be given up.
      kills: how many more processes may be killed.
      holder: the run that was the last to take the lease.
      succeeded: the runs whose ``_SUCCESS`` has been in the store.
    """

    store: int
    positions: tuple[int, ...]
    late: tuple[int, ...]
    losses: int
    kills: int
    holder: str
    succeeded: frozenset[str]


@dataclass(frozen=True, slots=True)
class View:
    """A state, as a check sees it.

    Attributes:
      objects: what the store holds.
      ends: how each process ended, by name; None for one that has not.
      runs: the run of each process.
      holder: the run that was the last to take the lease.
      succeeded: the runs whose ``_SUCCESS`` has been in the store.
    """

    objects: Objects
    ends: Mapping[str, str | None]
    runs: Mapping[str, str]
    holder: str
    succeeded: frozenset[str]


@dataclass(frozen=True, slots=True)
class Found:
    """What was found: how many states there are, and the shortest way to one that must not be, with what is wrong."""

    states: int
    wrong: str = ""
    trace: tuple[str, ...] = ()


class Program:
    """A program as a table of its positions, so that two ways to the same position are one.

    A generator cannot be copied. A position is known by where its frames stand and by their variables, and is reached
    again with the answers that led to it first.
    """

    def __init__(self, steps: Callable[[], Steps]) -> None:
        self._steps = steps
        self._known = dict[Hashable, int]()
        self._answers = list[tuple[Any, ...]]()
        self._next = dict[tuple[int, Any], int]()
        self.requests = list[Request | None]()  # by position; None at an end
        self.ends = list[str | None]()
        self._reach(())

    def after(self, position: int, answer: Any) -> int:
        """The position that an answer leads to."""
        if (position, answer) not in self._next:
            self._next[position, answer] = self._reach((*self._answers[position], answer))
        return self._next[position, answer]

    def _reach(self, answers: tuple[Any, ...]) -> int:
        steps, end = self._steps(), None
        request: Request | None = next(steps)
        try:
            for answer in answers:
                request = steps.send(answer)
            key: Hashable = _frames(steps)
        except StopIteration as stop:
            request, end = None, stop.value
            key = end
        if key not in self._known:
            self._known[key] = len(self._answers)
            self._answers.append(answers)
            self.requests.append(request)
            self.ends.append(end)
        return self._known[key]


def _frames(steps: Any) -> Hashable:
    frames = []
    while steps is not None:
        variables = sorted(steps.gi_frame.f_locals.items())
        frames.append((steps.gi_code.co_name, steps.gi_frame.f_lasti, tuple((k, _fixed(v)) for k, v in variables)))
        steps = steps.gi_yieldfrom
    return tuple(frames)


def _fixed(value: Any) -> Hashable:
    """A variable's value in a form that can be compared later, when the variable may have changed."""
    if isinstance(value, dict):
        return tuple(sorted(value.items()))
    return tuple(value) if isinstance(value, list) else value


class Explorer:
    """Goes through the states of a world.

    Args:
      world: what is explored.
      check: what is wrong with a state; "" for nothing.
    """

    def __init__(self, world: World, check: Callable[[View], str]) -> None:
        self._world, self._check = world, check
        self._programs = [Program(client.steps) for client in world.clients]
        self._numbers = {client.name: number for number, client in enumerate(world.clients)}
        self._stores = Table[Objects](lambda objects: frozenset(objects.items()))
        self._requests = Table[Request](lambda request: request)
        self._executed = dict[tuple[int, int], tuple[int, Any]]()
        self._checked = dict[Hashable, str]()

    def explore(self, most: int = 10**9) -> Found:
        """Go through all states, until one is wrong.

        Raises:
          AssertionError: there are more than ``most``.
        """
        first = self._first()
        ways: dict[State, State | None] = {first: None}
        waiting = deque([first])
        while waiting:
            state = waiting.popleft()
            if wrong := self._wrong(state):
                return Found(len(ways), wrong, self._trace(state, ways))
            for then, _ in self._steps(state):
                if then not in ways:
                    ways[then] = state
                    waiting.append(then)
            assert len(ways) <= most, f"more than {most} states"
        return Found(len(ways))

    def _first(self) -> State:
        lease = self._world.objects.get(LEASE)
        return State(
            store=self._stores.number(dict(self._world.objects)),
            positions=(0,) * len(self._programs),
            late=tuple(sorted(map(self._requests.number, self._world.late))),
            losses=self._world.losses,
            kills=self._world.kills,
            holder=lease.run if lease else "",
            succeeded=frozenset(),
        )

    def _steps(self, state: State) -> Iterator[tuple[State, tuple[Any, ...]]]:
        """The states that follow, each with what happens, for the trace."""
        for number, client in enumerate(self._world.clients):
            position = state.positions[number]
            if position != KILLED and (position or self._may_begin(state, client)):
                yield from self._steps_of(state, number)
        for late in dict.fromkeys(state.late):
            then, answer = self._execute(state, late)
            yield then._replace(late=_without(state.late, late)), ("late:", late, "->", answer)

    def _steps_of(self, state: State, number: int) -> Iterator[tuple[State, tuple[Any, ...]]]:
        program, name, position = self._programs[number], self._world.clients[number].name, state.positions[number]
        if (wanted := program.requests[position]) is None:
            return
        request = self._requests.number(wanted)
        then, answer = self._execute(state, request)
        yield _at(then, number, program.after(position, answer)), (f"{name}:", request, "->", answer)
        may_be_late = self._may_be_late(wanted)
        if state.kills and position:  # a process that has done nothing yet is as good as killed
            gone = _at(state, number, KILLED)._replace(kills=state.kills - 1)
            yield gone, (name, "is killed")
            if may_be_late:
                yield gone._replace(late=_with(state.late, request)), (name, "is killed while it sends", request)
        if state.losses and may_be_late:
            late = _with(state.late, request)
            without_answer = _at(state, number, program.after(position, Answer.TIMEOUT))
            yield without_answer._replace(losses=state.losses - 1, late=late), (name, "gives up", request)

    def _may_begin(self, state: State, client: Client) -> bool:
        ended = all(self._has_ended(state, self._numbers[name]) for name in client.after)
        return ended and (not client.needs or get(self._stores[state.store], client.needs) is not None)

    def _has_ended(self, state: State, number: int) -> bool:
        position = state.positions[number]
        return position == KILLED or self._programs[number].requests[position] is None

    def _may_be_late(self, request: Request) -> bool:
        # What is read too late is read by nobody, and a call of a disk is over when its process is.
        return self._world.kind is not Kind.DISK and request.verb not in READS

    def _execute(self, state: State, number: int) -> tuple[State, Any]:
        if (state.store, number) not in self._executed:
            objects, answer = execute(self._world.kind, self._stores[state.store], self._requests[number])
            self._executed[state.store, number] = self._stores.number(objects), answer
        store, answer = self._executed[state.store, number]
        if store == state.store:
            return state, answer
        request, holder, succeeded = self._requests[number], state.holder, state.succeeded
        if (
            request.name == LEASE
            and request.verb in (Verb.PUT, Verb.TAKE)
            and request.content == ("lease", request.run)
        ):
            holder = request.run
        elif request.name == SUCCESS and (now := get(self._stores[store], SUCCESS)):
            succeeded |= {now.run}
        return State(store, *state[1:5], holder, succeeded), answer

    def _wrong(self, state: State) -> str:
        ends = tuple(
            program.ends[position] if position != KILLED else None
            for program, position in zip(self._programs, state.positions, strict=True)
        )
        key = state.store, ends, state.holder, state.succeeded
        if key not in self._checked:
            runs = {client.name: client.run for client in self._world.clients}
            ends_by_name = dict(zip(runs, ends, strict=True))
            view = View(self._stores[state.store], ends_by_name, runs, state.holder, state.succeeded)
            self._checked[key] = self._check(view)
        return self._checked[key]

    def _trace(self, state: State, ways: Mapping[State, State | None]) -> tuple[str, ...]:
        steps = list[str]()
        while (before := ways[state]) is not None:
            what = next(what for then, what in self._steps(before) if then == state)
            steps.append(" ".join(str(self._requests[word] if isinstance(word, int) else word) for word in what))
            state = before
        return tuple(reversed(steps))


class Table(Generic[_T]):
    """Values by number, each once.

    Args:
      key: what tells a value from another.
    """

    def __init__(self, key: Callable[[_T], Hashable]) -> None:
        self._key, self._values, self._numbers = key, list[_T](), dict[Hashable, int]()

    def __getitem__(self, number: int) -> _T:
        return self._values[number]

    def number(self, value: _T) -> int:
        """The number of a value, which may be new."""
        key = self._key(value)
        if key not in self._numbers:
            self._numbers[key] = len(self._values)
            self._values.append(value)
        return self._numbers[key]


def _at(state: State, number: int, position: int) -> State:
    positions = (*state.positions[:number], position, *state.positions[number + 1 :])
    return State(state.store, positions, state.late, state.losses, state.kills, state.holder, state.succeeded)


def _with(late: tuple[int, ...], request: int) -> tuple[int, ...]:
    return tuple(sorted((*late, request)))


def _without(late: tuple[int, ...], request: int) -> tuple[int, ...]:
    place = late.index(request)
    return (*late[:place], *late[place + 1 :])
