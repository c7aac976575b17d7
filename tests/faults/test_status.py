"""``status`` of a run whose launcher was killed on its way, against the files that are there."""

import json
import os
import signal
from pathlib import Path

from pipeline.output.progress.status import State, status
from tests.faults.forkserver import Nursery
from tests.faults.outputs import rows
from tests.faults.torture import Work, log_of


def test_a_killed_launcher(nursery: Nursery, work: Work, tmp_path: Path) -> None:
    """Right to the unit: while it runs, once it is dead, and while the next run does the rest."""
    output = tmp_path / "out"
    for number in (2, 4):
        child = nursery.start([*work.command(output), "--threads=1"], log_of(output))
        while not child.ended and len(receipts(output)) < number:
            pass
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        found, there = status(output), receipts(output)
        assert (found.state, found.exit_status) == (State.DEAD, 3)
        assert found.units == 6
        assert found.done + found.units - found.todo == len(there)
        mine = planned(output, found.run) & there.keys()
        assert (found.todo, found.done) == (len(planned(output, found.run)), len(mine))
        assert found.left == found.todo - len(mine) > 0
        assert (found.read, found.rejects) == counted(output, mine)
        assert found.exact
    ended = nursery.run(work.command(output), log_of(output))
    assert ended.status == 0, ended.said
    assert (status(output).state, status(output).read) == (State.COMPLETE, counted(output, None)[0])


def receipts(output: Path) -> dict[str, int]:
    """Units with a receipt, and how many records each read."""
    found = [json.loads(path.read_text()) for path in output.glob("_receipts/*/*.json")]
    return {receipt["unit"]: receipt["read"] for receipt in found}


def planned(output: Path, run: str) -> set[str]:
    lines = [line for path in output.glob(f"_plan/{run}/part-*.jsonl") for line in path.read_text().splitlines()]
    return {json.loads(line.partition(" ")[2])["id"] for line in lines}


def counted(output: Path, units: set[str] | None) -> tuple[int, int]:
    """Records and rejects of some units, by the rows of their tables; None for all."""
    results, rejects = (
        sum(units is None or row["shard"].removesuffix(".parquet") in units for row in rows(output, table))
        for table in ("latents", "rejects")
    )
    return results + rejects, rejects
