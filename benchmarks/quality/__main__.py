"""How good the trained bundles of ``model/zoo`` are, by the measures that papers use, and beside what people use.

    python -m benchmarks.quality --data DIR [--testsets DIR] [--weights DIR] [--zoo model/zoo] [SECTION ...]

``benchmarks/README.md`` says what these directories hold. Each section measured is kept in
``benchmarks/results/quality.json``; ``quality.md`` and the pictures are made from it, and ``--report`` makes
``quality.md`` alone. Images are read by Pillow, not by this project's readers.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.quality.place import RESULTS, Place
from benchmarks.quality.report import write_report
from benchmarks.quality.sections import SECTIONS
from harness.machine import machine

_KEPT = RESULTS / "quality.json"


def main() -> None:
    """Measure the sections asked for and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all by default")
    parser.add_argument("--data", type=Path, required=True, help="directory of sets")
    parser.add_argument("--testsets", type=Path, help="directory of sets that --data does not have")
    parser.add_argument("--zoo", type=Path, default=Path("model/zoo"))
    parser.add_argument("--weights", type=Path, help="directory with the .mat files of FFDNet and DnCNN")
    parser.add_argument(
        "--network", action="append", default=[], help="measure it alone on sets and in peers, keep the others' rows"
    )
    parser.add_argument("--report", action="store_true", help="measure nothing")
    given = parser.parse_args()
    if unknown := set(given.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    place = Place(
        data=given.data, testsets=given.testsets, zoo=given.zoo, weights=given.weights, networks=tuple(given.network)
    )
    for name in () if given.report else given.sections or SECTIONS:
        measured = SECTIONS[name](place)
        print(name, json.dumps(measured), flush=True)
        _keep(name, measured, partly=bool(given.network))
    write_report(_kept())


def _kept() -> dict[str, Any]:
    return dict(json.loads(_KEPT.read_text())) if _KEPT.exists() else {}


def _keep(name: str, measured: dict[str, Any], *, partly: bool) -> None:
    """Write down what a section measured, beside the rows of other networks if they were measured on this machine."""
    found, here = _kept(), machine()
    machines = found.setdefault("machines", {})
    before = found.get(name, {}) if partly and machines.get(name) == here else {}
    if name == "peers":  # whose rows are within each set
        measured = {key: _beside(before.get(key, {}), rows) for key, rows in measured.items()}
    found[name], machines[name] = _beside(before, measured), here
    _KEPT.write_text(json.dumps(found, indent=1) + "\n")


def _beside(before: dict[str, Any], rows: dict[str, Any]) -> dict[str, Any]:
    return {key: row for key, row in before.items() if key != "absent"} | rows


if __name__ == "__main__":
    main()
