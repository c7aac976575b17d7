"""One run at a time holds an output; a dead one's hold is taken over, a live one's never."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import hold
from pipeline.errors import HeldError
from pipeline.hold import beat, beating, check_free, release, take


def held(output: Path) -> dict[str, object]:
    value: dict[str, object] = json.loads((output / "_hold").read_text())
    return value


def write(output: Path, **changes: object) -> None:
    (output / "_hold").write_text(json.dumps(held(output) | changes))


def test_one_run_holds_an_output_until_it_lets_go(tmp_path: Path) -> None:
    output = str(tmp_path / "new" / "out")
    assert check_free(output)
    assert not take(output, "one", ends_here=True)
    with pytest.raises(HeldError, match=rf"in use by run one \(process {os.getpid()} on .* another --output"):
        take(output, "two", ends_here=True)
    with pytest.raises(HeldError, match="in use by run one"):
        check_free(output)
    release(output, "two")
    beat(output, "one")
    release(output, "one")
    assert check_free(output)
    assert not take(output, "two", ends_here=True)


def test_a_killed_run_is_followed_at_once(tmp_path: Path) -> None:
    code = "import sys, time; from pipeline.hold import take; take(sys.argv[1], 'dead', ends_here=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    while not (tmp_path / "_hold").exists() or not (tmp_path / "_hold").read_bytes():
        time.sleep(0.01)
    with pytest.raises(HeldError, match=f"process {process.pid}"):
        take(str(tmp_path), "next", ends_here=True)
    process.kill()
    process.wait()
    assert take(str(tmp_path), "next", ends_here=True)
    assert held(tmp_path)["run"] == "next"


def test_another_process_of_the_same_number_is_not_the_run(tmp_path: Path) -> None:
    take(str(tmp_path), "one", ends_here=True)
    write(tmp_path, born="1")
    assert take(str(tmp_path), "two", ends_here=True)


@pytest.mark.parametrize("place", ["", "another boot pid:[1]"])
def test_a_run_elsewhere_lives_while_it_beats(tmp_path: Path, place: str) -> None:
    take(str(tmp_path), "far", ends_here=False)
    write(tmp_path, place=place, beat=time.time() - hold.EXPIRY + 5)
    with pytest.raises(HeldError):
        take(str(tmp_path), "near", ends_here=True)
    write(tmp_path, beat=time.time() - hold.EXPIRY - 1)
    assert take(str(tmp_path), "near", ends_here=True)


def test_a_run_that_lost_its_hold_is_told(tmp_path: Path) -> None:
    take(str(tmp_path), "slow", ends_here=False)
    write(tmp_path, beat=0.0)
    take(str(tmp_path), "next", ends_here=True)
    with pytest.raises(HeldError, match=r"no longer held by run slow, run next on .* does"):
        beat(str(tmp_path), "slow")
    release(str(tmp_path), "slow")
    assert held(tmp_path)["run"] == "next"
    release(str(tmp_path), "next")
    with pytest.raises(HeldError, match="nobody holds it"):
        beat(str(tmp_path), "slow")


def test_half_a_hold_is_a_dead_runs(tmp_path: Path) -> None:
    (tmp_path / "_hold").write_text('{"run": "one", "ho')
    assert not check_free(str(tmp_path))
    assert take(str(tmp_path), "two", ends_here=True)


def test_a_fresh_beat_is_not_written_again(tmp_path: Path) -> None:
    take(str(tmp_path), "one", ends_here=True)
    before = held(tmp_path)
    beat(str(tmp_path), "one")
    assert held(tmp_path) == before
    write(tmp_path, beat=time.time() - hold.BEAT)
    beat(str(tmp_path), "one")
    assert time.time() - float(str(held(tmp_path)["beat"])) < hold.BEAT / 2


def test_beats_in_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold, "BEAT", 0.05)
    take(str(tmp_path), "one", ends_here=False)
    before = held(tmp_path)["beat"]
    with beating(str(tmp_path), "one"):
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
        "import sys; from pipeline.hold import take; from pipeline.errors import HeldError\n"
        "sys.stdin.read()\n"
        "try: take(sys.argv[1], sys.argv[2], ends_here=False); print('won')\n"
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
