"""The benchmark: this job and its peers side by side in one run, alternating, several rounds.

    scripts/bench --data DIR [--work DIR] [--rounds 5] [--records 480000] [SECTION ...]

``--data`` holds real images as Parquet (see ``benchmarks/data.py``). Each section measured is written to
``benchmarks/results/<section>.json``; ``bench.md`` and ``bench.png`` are made from all that are there.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks import camera, images, sections
from benchmarks.process import HERE
from benchmarks.report import write_report
from harness.machine import machine
from harness.measured import Place

SECTIONS = {**sections.SECTIONS, **camera.SECTIONS, **images.SECTIONS}
RESULTS = HERE / "results"


def main() -> None:
    """Measure the sections asked for and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"one of {', '.join(SECTIONS)}; all by default")
    parser.add_argument("--data", type=Path, required=True, help="directory of the Parquet sources")
    parser.add_argument("--work", type=Path, default=HERE / ".work", help="directory for shards and outputs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=480_000, help="records of the sets of small images")
    parser.add_argument("--photographs", type=int, default=8_000, help="records of the set of photographs")
    parser.add_argument("--side", type=int, default=10_000, help="pixels of a side of the large image")
    parser.add_argument("--peers", type=Path, help="Python with the packages of benchmarks/requirements.txt")
    given = parser.parse_args()
    if unknown := set(given.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    given.work.mkdir(parents=True, exist_ok=True)
    place = Place(data=given.data.resolve(), work=given.work.resolve())
    plan = sections.Plan(
        place=place,
        rounds=given.rounds,
        records=given.records,
        photographs=given.photographs,
        side=given.side,
        peers=given.peers,
    )
    RESULTS.mkdir(exist_ok=True)
    for name in given.sections or SECTIONS:
        print(f"{name}: {SECTIONS[name].__doc__}", file=sys.stderr, flush=True)
        value = {"machine": machine(), "rounds": given.rounds, "records": given.records, **SECTIONS[name](plan)}
        (RESULTS / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")
    write_report(RESULTS)


if __name__ == "__main__":
    main()
