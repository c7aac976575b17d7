"""Faults: this project's job beside Beam's stock recipe, Daft, LitData and Ray Data.

    python -m benchmarks.faults --data DIR --peers PYTHON [--side NAME ...] [--fault NAME ...] [--runs 2] [--add]
                                [--kill-at SHARE ...] [--seconds 900] [--records 6000] [--work DIR]

``--data`` is a directory with ``mnist``; ``--peers`` is the Python of an environment with
``benchmarks/peers/faults-requirements.txt``. Writes ``benchmarks/results/faults.json`` and ``faults.md``; of sides that
are not named, what was found before stays, and of those that are, with ``--add``.
"""

import argparse
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.faults.judge import judge
from benchmarks.faults.material import Material, make_all, make_model
from benchmarks.faults.page import keep, kept
from benchmarks.faults.sides import SECONDS, SIDES, Ended, Place, place, versions
from benchmarks.process import HERE

FAULTS = ("output", "bad", "cut", "flipped", "kill")
INSTANTS = (0.3, 0.7, 1.0)  # shares of the records that have passed the model when all is killed
FLIPS = 24  # bits of an output


def main() -> None:
    """Put every side through every fault, and write the page after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with mnist")
    parser.add_argument("--peers", type=Path, required=True, help="Python of the peers' environment")
    parser.add_argument("--side", action="append", choices=[side.name for side in SIDES], help="default: all")
    parser.add_argument("--fault", action="append", choices=FAULTS, help="default: all")
    parser.add_argument("--kill-at", action="append", type=float, choices=INSTANTS, help="default: all")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for one run of a side; default %(default)s")
    parser.add_argument("--runs", type=int, default=2, help="of every fault; default %(default)s")
    parser.add_argument("--add", action="store_true", help="to what earlier runs of a side have found")
    parser.add_argument("--records", type=int, default=6000)
    parser.add_argument("--work", type=Path, default=HERE / ".work/faults")
    given = parser.parse_args()
    work, model = given.work.resolve(), given.work.resolve() / "encode.onnx"
    work.mkdir(parents=True, exist_ok=True)
    make_model(model)
    inputs = make_all(given.data / "mnist", work, model, given.records)
    for side in SIDES:
        if given.side and side.name not in given.side:
            continue
        here = place(work / "side", side, given.peers, model, given.seconds)
        about = versions(side, given.peers)
        found = kept(side.name, about, given.records) if given.add else []
        faults, instants = given.fault or FAULTS, given.kill_at or INSTANTS
        for entry in chain.from_iterable(suffered(here, inputs, faults, instants) for _ in range(given.runs)):
            print(side.name, entry, file=sys.stderr, flush=True)
            found.append(entry)
            keep(side.name, about, given.records, found)


def suffered(
    here: Place, inputs: Mapping[str, Material], faults: Collection[str], instants: Collection[float] = INSTANTS
) -> Iterator[dict[str, Any]]:
    """What became of a side by each of some ``FAULTS``, in figures; it is killed at some ``INSTANTS``."""
    if "output" in faults:
        yield from damaged_output(here.fresh(), inputs["clean"])
    for kind in ("bad", "cut", "flipped"):
        if kind in faults:
            yield one(kind, inputs[kind], here.fresh().run(inputs[kind].folder))
    if "bad" in faults and here.side.catches:
        ended = here.fresh().run(inputs["bad"].folder, own_handling=True)
        yield one("bad, caught by the user's function", inputs["bad"], ended)
    for share in instants if "kill" in faults else ():
        yield killed(here.fresh(), inputs["clean"], share)


def damaged_output(here: Place, material: Material) -> Iterator[dict[str, Any]]:
    """A run that nothing disturbs, and flips of bits in what it wrote."""
    ended = here.run(material.folder, flips=FLIPS)
    yield one("clean", material, ended)
    outcomes = [outcome(rows, material) for rows in ended.found[1:]]
    yield {"fault": "output", **{kind: outcomes.count(kind) for kind in ("found", "silent", "harmless")}}


def outcome(rows: Any, material: Material) -> str:
    """What became of a flipped bit: the reader raises, or it gives wrong rows, or the right ones."""
    if isinstance(rows, str):
        return "found"
    return "harmless" if judge(rows, material.expected).sound else "silent"


def killed(here: Place, material: Material, share: float) -> dict[str, Any]:
    """A run that is killed, and another that goes on as the tool's documentation says.

    One that has not come so far in its time is not gone on with: it says nothing of a kill.
    """
    records = len(material.expected)
    first = here.run(material.folder, kill_at=round(share * records))
    if first.status is None:
        return {"fault": f"kill at {share:.0%}", "status": None, "seconds": round(first.seconds), "killed": False}
    second = here.run(material.folder)
    redone = first.passed + second.passed - records
    return one(f"kill at {share:.0%}", material, second) | {"redone": redone, "killed": first.status == -9}


def one(fault: str, material: Material, ended: Ended) -> dict[str, Any]:
    """The figures of a run.

    told: keys of bad images that have a row without a latent. shards named: damaged ones whose name the run says.
    """
    rows = ended.found[0]
    figures: dict[str, Any] = {"fault": fault, "status": ended.status, "seconds": round(ended.seconds, 1)}
    if isinstance(rows, str):
        said = re.sub(r"(/[^/\s]+)+/", "", rows.strip().splitlines()[-1])  # where it was done says nothing
        figures |= {"unreadable": said[:200], "lost": len(material.expected)}
    else:
        verdict = judge(rows, material.expected)
        figures |= {"lost": verdict.lost, "doubled": verdict.doubled, "wrong": verdict.wrong, "told": verdict.told}
    figures |= {"of bad": len(material.bad), "of shards": len(material.damaged)}
    return figures | {"shards named": sum(shard in ended.said for shard in material.damaged)}


if __name__ == "__main__":
    main()
