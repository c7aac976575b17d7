"""One run at a time holds an output; a dead one's hold is taken over, a live one's never."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lake.core.errors import HeldError
from lake.storage import Stat, StoreOptions, configure, configured
from lake.storage.local import LocalStore
from pipeline.output.fencing import heartbeat as heartbeats
from pipeline.output.fencing import lease, lease_record
from pipeline.output.fencing.heartbeat import Heartbeat, guard_of, renewing
from pipeline.output.fencing.lease import acquire, await_workers, check_free, release, renew


def held(output: Path) -> dict[str, object]:
    value: dict[str, object] = json.loads((output / "_hold").read_text())
    return value


def write(output: Path, **changes: object) -> None:
    (output / "_hold").write_text(json.dumps(held(output) | changes))


def test_one_run_holds_an_output_until_it_lets_go(tmp_path: Path) -> None:
    output = str(tmp_path / "new" / "out")
    assert check_free(output)
    assert not acquire(output, "one", ends_with_process=True)
    with pytest.raises(HeldError, match=rf"in use by run one \(process {os.getpid()} on .* another --output"):
        acquire(output, "two", ends_with_process=True)
    with pytest.raises(HeldError, match="in use by run one"):
        check_free(output)
    release(output, "two")
    renew(output, "one")
    release(output, "one")
    assert check_free(output)
    assert not acquire(output, "two", ends_with_process=True)


def test_a_killed_run_is_followed_at_once(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pipeline.output.fencing.lease import acquire; "
        "acquire(sys.argv[1], 'dead', ends_with_process=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    while not (tmp_path / "_hold").exists() or not (tmp_path / "_hold").read_bytes():
        time.sleep(0.01)
    with pytest.raises(HeldError, match=f"process {process.pid}"):
        acquire(str(tmp_path), "next", ends_with_process=True)
    process.kill()
    process.wait()
    assert acquire(str(tmp_path), "next", ends_with_process=True)
    assert held(tmp_path)["run"] == "next"


def test_another_process_of_the_same_number_is_not_the_run(tmp_path: Path) -> None:
    acquire(str(tmp_path), "one", ends_with_process=True)
    write(tmp_path, born="1")
    assert acquire(str(tmp_path), "two", ends_with_process=True)


@pytest.mark.parametrize("place", ["", "another boot pid:[1]"])
def test_a_run_elsewhere_lives_while_it_beats(tmp_path: Path, place: str) -> None:
    acquire(str(tmp_path), "far", ends_with_process=False)
    write(tmp_path, place=place, beat=time.time() - lease_record.EXPIRY + 5)
    with pytest.raises(HeldError):
        acquire(str(tmp_path), "near", ends_with_process=True)
    write(tmp_path, beat=time.time() - lease_record.EXPIRY - 1)
    assert acquire(str(tmp_path), "near", ends_with_process=True)


def test_a_run_that_lost_its_hold_is_told(tmp_path: Path) -> None:
    acquire(str(tmp_path), "slow", ends_with_process=False)
    write(tmp_path, beat=0.0)
    acquire(str(tmp_path), "next", ends_with_process=True)
    with pytest.raises(HeldError, match=rf"^{tmp_path} is no longer held by run slow, run next on .* does"):
        renew(str(tmp_path), "slow")
    release(str(tmp_path), "slow")
    assert held(tmp_path)["run"] == "next"
    release(str(tmp_path), "next")
    with pytest.raises(HeldError, match="nobody holds it"):
        renew(str(tmp_path), "slow")


def test_half_a_hold_is_a_dead_runs(tmp_path: Path) -> None:
    (tmp_path / "_hold").write_text('{"run": "one", "ho')
    assert not check_free(str(tmp_path))
    assert acquire(str(tmp_path), "two", ends_with_process=True)


def test_a_fresh_beat_is_not_written_again(tmp_path: Path) -> None:
    acquire(str(tmp_path), "one", ends_with_process=True)
    before = held(tmp_path)
    renew(str(tmp_path), "one")
    assert held(tmp_path) == before
    write(tmp_path, beat=time.time() - lease.RENEWAL)
    renew(str(tmp_path), "one")
    assert time.time() - float(str(held(tmp_path)["beat"])) < lease.RENEWAL / 2


def test_beats_in_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWAL", 0.05)
    acquire(str(tmp_path), "one", ends_with_process=False)
    before = held(tmp_path)["beat"]
    with renewing(str(tmp_path), "one"):
        deadline = time.monotonic() + 10
        while held_or_nothing(tmp_path) in (None, before) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert held_or_nothing(tmp_path) not in (None, before)
    assert not (tmp_path / "_hold").exists()


def held_or_nothing(output: Path) -> object:
    """When the hold last beat; None in the moment in which it is written."""
    text = (output / "_hold").read_text()
    return json.loads(text)["beat"] if text.endswith("}\n") else None


def test_of_many_takers_one_wins(tmp_path: Path) -> None:
    code = (
        "import sys; from pipeline.output.fencing.lease import acquire; from lake.core.errors import HeldError\n"
        "sys.stdin.read()\n"
        "try: acquire(sys.argv[1], sys.argv[2], ends_with_process=False); print('won')\n"
        "except HeldError: print('lost')"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for n in range(8)
    ]
    said = [racer.communicate()[0].decode().strip() for racer in racers]
    assert sorted(said) == ["lost"] * 7 + ["won"]


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    known = Clock()
    monkeypatch.setattr(lease, "store_time", lambda _: known.now)
    monkeypatch.setattr(heartbeats, "time", known)
    return known


def test_what_a_hold_says(tmp_path: Path, clock: Clock) -> None:
    acquire(str(tmp_path), "one", ends_with_process=True)
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert held(tmp_path) == {
        "run": "one",
        "host": socket.gethostname(),
        "place": f"{boot} {Path('/proc/self/ns/pid').readlink()}",
        "pid": os.getpid(),
        "born": stat[19],
        "beat": clock.now,
    }
    acquire(str(tmp_path), "one", ends_with_process=False)
    assert held(tmp_path)["place"] == ""


def test_workers_have_time_to_begin(tmp_path: Path, clock: Clock) -> None:
    """The launcher has left, so nobody beats until the first worker does."""
    acquire(str(tmp_path), "one", ends_with_process=False)
    await_workers(str(tmp_path), "one")
    assert held(tmp_path)["beat"] == clock.now + lease_record.STARTUP
    with pytest.raises(HeldError, match="whose workers have 1860 s to begin"):
        acquire(str(tmp_path), "two", ends_with_process=True)
    clock.now += lease_record.STARTUP + lease_record.EXPIRY - 1
    with pytest.raises(HeldError, match=r"last heard of 59 s ago\)"):
        acquire(str(tmp_path), "two", ends_with_process=True)
    clock.now += 1
    assert acquire(str(tmp_path), "two", ends_with_process=True)
    with pytest.raises(HeldError, match=f"^{tmp_path} is no longer held by run one, run two on"):
        await_workers(str(tmp_path), "one")
    assert held(tmp_path)["run"] == "two"


def test_a_worker_that_begins_takes_the_time_back(tmp_path: Path, clock: Clock) -> None:
    acquire(str(tmp_path), "one", ends_with_process=False)
    await_workers(str(tmp_path), "one")
    renew(str(tmp_path), "one")
    assert held(tmp_path)["beat"] == clock.now


@pytest.mark.parametrize(("later", "written"), [(0.0, False), (4.9, False), (7.5, True), (9.0, True)])
def test_a_beat_is_written_when_the_last_one_is_old_enough(
    tmp_path: Path, clock: Clock, later: float, written: bool
) -> None:
    acquire(str(tmp_path), "one", ends_with_process=False)
    began = clock.now
    clock.now += later
    renew(str(tmp_path), "one")
    assert held(tmp_path)["beat"] == (clock.now if written else began)


def test_of_many_who_see_a_beat_grow_old_few_write_at_once(tmp_path: Path, clock: Clock) -> None:
    acquire(str(tmp_path), "one", ends_with_process=False)
    began, writers = clock.now, 0
    for _ in range(100):
        clock.now = began + 5.5  # a fifth of the way from 5 to 7.5
        renew(str(tmp_path), "one")
        writers += held(tmp_path)["beat"] != began
        write(tmp_path, beat=began)
    assert 5 <= writers <= 45


@pytest.mark.parametrize(
    ("age", "said"),
    [(0.0, "last heard of 0 s ago"), (30.0, "last heard of 30 s ago"), (-60.0, "last heard of 0 s ago")],
)
def test_when_a_run_was_heard_of(tmp_path: Path, clock: Clock, age: float, said: str) -> None:
    acquire(str(tmp_path), "one", ends_with_process=False)
    clock.now += age
    with pytest.raises(HeldError, match=rf"{said}\); wait for its end, or 60 s after it was killed"):
        check_free(str(tmp_path))


class Renewals:
    """Beats that are asked for; what is given is raised."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *errors: Exception | None) -> None:
        self.asked: list[tuple[str, str]] = []
        self.errors = [*errors]
        monkeypatch.setattr(lease, "renew", self.renew)

    def renew(self, output: str, run: str) -> None:
        self.asked.append((output, run))
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error


def test_a_worker_beats_often_enough_and_not_with_every_batch(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    clock.now = 0.0  # as on a machine that has just started
    renewals, heartbeat = Renewals(monkeypatch), Heartbeat()
    for later, count in ((0.0, 1), (1.0, 1), (8.9, 1), (0.1, 2), (0.0, 2), (9.9, 2), (0.1, 3), (50.0, 4)):
        clock.now += later
        heartbeat.renew_if_due("/out", "run")
        assert len(renewals.asked) == count, clock.now
    assert {*renewals.asked} == {("/out", "run")}


def test_every_run_has_beats_of_its_own(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    renewals, heartbeat = Renewals(monkeypatch), Heartbeat()
    for output, run in (("/a", "1"), ("/a", "2"), ("/b", "2")):
        heartbeat.renew_if_due(output, run)
        heartbeat.renew_if_due(output, run)
    assert renewals.asked == [("/a", "1"), ("/a", "2"), ("/b", "2")]


def test_two_jobs_of_a_process_do_not_renew_with_every_batch(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    renewals, heartbeat = Renewals(monkeypatch), Heartbeat()
    for _ in range(100):
        clock.now += 0.1
        for output in ("/a", "/b"):
            heartbeat.renew_if_due(output, "run")
    assert renewals.asked == [("/a", "run"), ("/b", "run")]
    clock.now += lease.RENEWAL
    heartbeat.renew_if_due("/b", "run")
    assert renewals.asked[2:] == [("/b", "run")]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> float:
    """A lease of a short life, in seconds."""
    monkeypatch.setattr(lease, "RENEWAL", 0.05)
    monkeypatch.setattr(lease_record, "EXPIRY", 0.5)
    return 0.5


def test_a_step_that_takes_longer_than_the_lease_keeps_it(tmp_path: Path, short: float) -> None:
    outputs = [str(tmp_path / name) for name in "ab"]
    heartbeat = Heartbeat()
    for output in outputs:
        acquire(output, "one", ends_with_process=False)
    with heartbeat.beating(outputs[0], "one"), heartbeat.beating(outputs[1], "one"):
        time.sleep(3 * short)
        for output in outputs:
            with pytest.raises(HeldError):
                acquire(output, "two", ends_with_process=False)
            heartbeat.renew_if_due(output, "one")
    time.sleep(2 * short)  # the work has ended, and with it the renewals
    assert acquire(outputs[0], "two", ends_with_process=False)


def beats() -> int:
    """How many leases this process renews."""
    return sum(thread.name == "lease" for thread in threading.enumerate())


def test_a_lease_has_one_thread_while_anything_works_for_it(tmp_path: Path, short: float) -> None:
    acquire(str(tmp_path), "one", ends_with_process=False)
    heartbeat, before = Heartbeat(), beats()
    with heartbeat.beating(str(tmp_path), "one"):
        with heartbeat.beating(str(tmp_path), "one"):
            assert beats() == before + 1
        time.sleep(2 * short)
        with pytest.raises(HeldError):
            acquire(str(tmp_path), "two", ends_with_process=False)
    assert beats() == before


def test_work_whose_lease_was_lost_is_told_before_the_next_renewal_is_due(tmp_path: Path, short: float) -> None:
    acquire(str(tmp_path), "one", ends_with_process=False)
    write(tmp_path, run="two")
    heartbeat = Heartbeat()
    with heartbeat.beating(str(tmp_path), "one"):
        time.sleep(short)
        with pytest.raises(HeldError, match="no longer held by run one, run two on"):
            heartbeat.renew_if_due(str(tmp_path), "one")
    assert held(tmp_path)["run"] == "two"


def test_a_store_that_hangs_keeps_no_work_from_its_end(monkeypatch: pytest.MonkeyPatch, short: float) -> None:
    hanging, heartbeat = threading.Event(), Heartbeat()
    monkeypatch.setattr(lease, "renew", lambda output, run: hanging.wait(20))
    began = time.monotonic()
    with heartbeat.beating("/out", "one"):
        pass
    assert time.monotonic() - began < 10
    hanging.set()


def test_a_store_that_fails_now_and_then_ends_no_run(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    Renewals(monkeypatch, TimeoutError("the store was away"), HeldError("lost"))
    heartbeat = Heartbeat()
    heartbeat.renew_if_due("/out", "run")
    assert caplog.messages == ["the lease could not be renewed and will be tried again: the store was away"]
    clock.now += lease.RENEWAL
    with pytest.raises(HeldError, match="lost"):
        heartbeat.renew_if_due("/out", "run")


def test_beats_in_the_background_end_where_the_hold_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWAL", 0.001)
    renewals = Renewals(monkeypatch, None, TimeoutError("away"), HeldError("lost"))
    acquire(str(tmp_path), "one", ends_with_process=False)
    with renewing(str(tmp_path), "one"):
        deadline = time.monotonic() + 10
        while renewals.errors and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
    assert renewals.asked == [(str(tmp_path), "one")] * 3, "the units and the commit look for themselves"
    assert not (tmp_path / "_hold").exists()


HELD = {"run": "one", "host": "h", "place": "", "pid": 1, "born": "2", "beat": 1e9}
ODD: list[object] = [None, [], {}, "x", -1, 1e18, -1e18, 10**400, float("nan"), float("inf"), True]


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("field", HELD)
def test_an_odd_value_holds_nothing_for_ever(tmp_path: Path, clock: Clock, field: str, value: object) -> None:
    clock.now = 1e9 + 1
    (tmp_path / "_hold").write_text(json.dumps({**HELD, field: value}))
    clock.now += lease_record.STARTUP + 2 * lease_record.EXPIRY
    assert not check_free(str(tmp_path))
    assert acquire(str(tmp_path), "two", ends_with_process=True)


@pytest.mark.parametrize("born", ["", None])
def test_a_process_that_never_was_holds_nothing(tmp_path: Path, born: str | None) -> None:
    acquire(str(tmp_path), "one", ends_with_process=True)
    write(tmp_path, pid=2**31 - 1, born=born)
    assert acquire(str(tmp_path), "two", ends_with_process=True)


def test_a_living_process_that_never_renews_holds_nothing_for_ever(tmp_path: Path) -> None:
    acquire(str(tmp_path), "one", ends_with_process=True)
    write(tmp_path, beat=time.time() - lease_record.STARTUP)
    with pytest.raises(HeldError):
        acquire(str(tmp_path), "two", ends_with_process=True)
    for beat in (time.time() - 2 * lease_record.STARTUP, time.time() + 1e9):
        write(tmp_path, beat=beat)
        assert not check_free(str(tmp_path))
    assert acquire(str(tmp_path), "two", ends_with_process=True)


def test_a_holder_with_escapes_in_its_name_is_said_on_one_line(tmp_path: Path) -> None:
    acquire(str(tmp_path), "one", ends_with_process=False)
    write(tmp_path, host="\x1b[2J\n" * 10_000, run="a\nb")
    with pytest.raises(HeldError) as caught:
        check_free(str(tmp_path))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"run": "one"}', "null", "\x00", "[" * 100_000, "1" * 5000])
def test_what_is_no_hold_holds_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "_hold").write_text(content)
    assert not check_free(str(tmp_path))
    with pytest.raises(HeldError, match="nobody holds it"):
        renew(str(tmp_path), "one")
    acquire(str(tmp_path), "two", ends_with_process=True)
    assert held(tmp_path)["run"] == "two"


def test_a_run_may_take_its_own_output_again(tmp_path: Path) -> None:
    acquire(str(tmp_path), "one", ends_with_process=True)
    assert acquire(str(tmp_path), "one", ends_with_process=True)


def test_a_process_that_has_ended_is_none_though_nobody_has_waited_for_it() -> None:
    """A container's first process may never do so."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    stat = Path(f"/proc/{process.pid}/stat")
    assert lease_record.born(process.pid) == stat.read_text().rpartition(")")[2].split()[19]
    process.stdin.close()  # type: ignore[union-attr]
    deadline = time.monotonic() + 20
    while stat.read_text().rpartition(")")[2].split()[0] != "Z" and time.monotonic() < deadline:
        time.sleep(0.005)
    assert lease_record.born(process.pid) == ""
    process.wait()
    assert lease_record.born(process.pid) == ""


def test_a_process_may_have_any_name(tmp_path: Path) -> None:
    script = tmp_path / "a) Z 1 2"
    script.write_text(f"#!{sys.executable}\ninput()\n")
    script.chmod(0o700)
    process = subprocess.Popen([str(script)], stdin=subprocess.PIPE)
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    assert lease_record.born(process.pid) == stat.rpartition(")")[2].split()[19]
    process.communicate(b"\n")


def test_where_no_process_can_be_seen_its_end_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(path: Path) -> str:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "read_text", unreadable)
    assert lease_record.this_place() == ""
    assert lease_record.born(os.getpid()) == ""


@pytest.mark.usefixtures("short")
def test_the_thread_that_renews_has_the_store_options_of_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of one process may have other endpoints each."""
    own, seen, before = StoreOptions(s3_endpoint="http://127.0.0.1:1"), list[StoreOptions](), configured()
    monkeypatch.setattr(lease, "renew", lambda *_: seen.append(configured()))
    configure(own)
    try:
        with Heartbeat().beating("/out", "one"):
            other = threading.Thread(target=configure, args=(before,))  # for a job of another thread
            other.start()
            other.join()
            seen.clear()
            while not seen:
                time.sleep(0.01)
    finally:
        configure(before)
    assert seen[0] == own


def test_clocks_of_machines_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that holds the output is ten minutes behind the one that wants it, then ten minutes ahead."""
    acquire(str(tmp_path), "one", ends_with_process=False)
    began, now = float(str(held(tmp_path)["beat"])), time.time
    for wrong in (600, -600):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: now() + wrong)
        with pytest.raises(HeldError, match=r"in use by run one .*last heard of \d s ago"):
            acquire(str(tmp_path), "two", ends_with_process=False)
        with pytest.raises(HeldError):
            check_free(str(tmp_path))
        renew(str(tmp_path), "one")
        assert abs(float(str(held(tmp_path)["beat"])) - began) < 60


def test_a_lease_that_is_released_while_it_is_looked_at_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire(str(tmp_path), "one", ends_with_process=False)
    stat = LocalStore.stat

    def then_released(store: LocalStore, uri: str) -> Stat | None:
        found = stat(store, uri)
        release(str(tmp_path), "one")
        return found

    monkeypatch.setattr(LocalStore, "stat", then_released)
    assert check_free(str(tmp_path))


def test_what_creates_a_lease_makes_it_nobodys_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that creates it may arrive once more, after the run has ended, and must not give it back its right."""
    made = list[bytes]()
    swap = LocalStore.swap

    def seen(store: LocalStore, uri: str, change: Callable[[bytes | None], bytes | None]) -> None:
        swap(store, uri, change)
        made.append(Path(uri).read_bytes())

    monkeypatch.setattr(LocalStore, "swap", seen)
    acquire(str(tmp_path), "one", ends_with_process=False)
    monkeypatch.undo()
    assert [json.loads(data)["run"] for data in made] == ["one (begins)", "one"]
    release(str(tmp_path), "one")
    (tmp_path / "_hold").write_bytes(made[0])
    with pytest.raises(HeldError, match="no longer held by run one"):
        renew(str(tmp_path), "one")
    with pytest.raises(HeldError):
        guard_of(str(tmp_path), "one").check(made[0])
    with pytest.raises(HeldError, match="in use by run one"):
        acquire(str(tmp_path), "two", ends_with_process=False)


def test_what_was_seen_a_moment_ago_need_not_be_looked_at(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by the next block of the same run, which does not renew at once."""
    heartbeat, output = Heartbeat(), str(tmp_path)
    monkeypatch.setattr(lease_record, "EXPIRY", 60.0)
    acquire(output, "one", ends_with_process=False)
    assert not heartbeat.confirmed(output, "one")
    with heartbeat.beating(output, "one"):
        deadline = time.monotonic() + 10
        while not heartbeat.confirmed(output, "one") and time.monotonic() < deadline:
            time.sleep(0.01)
    assert heartbeat.confirmed(output, "one")
    assert not heartbeat.confirmed(output, "two")
    clock.now += 29
    assert heartbeat.confirmed(output, "one")
    clock.now += 1
    assert not heartbeat.confirmed(output, "one"), "as after a sleep of the process"
    write(tmp_path, run="two")
    with pytest.raises(HeldError):
        heartbeat.renew_if_due(output, "one")
    assert not heartbeat.confirmed(output, "one")
