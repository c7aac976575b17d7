"""One large shard among forty small ones on two workers: this tree against another commit's, in turns.

    python -m benchmarks.stragglers --before DIR [--records 120000] [--rounds 3]

``--before`` is a checkout of the other commit. Writes ``benchmarks/results/stragglers.md``. The large shard has as many
records as the small ones together. The processor time of each worker tells how much it had to do, whatever else the
machine is busy with. All manifests, which hold the checksums of all files, must be the same.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.process import HERE, used_by_each
from harness.machine import machine, on_machine

SMALL = 40
MODEL = "zoo:mnist-autoencoder"
TWO_WORKERS = (
    "--runner=FnApiRunner",
    "--direct_running_mode=multi_processing",
    "--direct_num_workers=2",
    "--threads=1",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One job.

    seconds: from the first result to the end of the commit.
    busier, other: processor time of the two workers, in seconds.
    """

    seconds: float
    busier: float
    other: float

    def __str__(self) -> str:
        return f"{self.seconds:.1f} | {self.busier:.1f} | {self.other:.1f}"


def main() -> None:
    """Measure both trees, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--records", type=int, default=120_000, help="of the large shard (default 120000)")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    trees = {"before": given.before.resolve(), "after": HERE.parent}
    with tempfile.TemporaryDirectory() as folder:
        _make_shards(Path(folder) / "in", given.records)
        lines = [f"| {side} | {run} |" for side, run in _runs(trees, Path(folder), given.rounds)]
    head = [
        "# One large shard among forty small ones",
        "",
        f"The large shard has {given.records:,} images of 28 x 28, the small ones as many together; two workers of",
        "Beam's local runner, a thread each. Before and after units were dealt by their size. Seconds from the first",
        "result to the end of the commit, and of processor time, of which seven or eight are start-up.",
        "`python -m benchmarks.stragglers` measures them.",
        "",
        on_machine(machine()),
        "",
        "| | seconds | of the busier worker | of the other |",
        "|---|---|---|---|",
    ]
    (HERE / "results/stragglers.md").write_text("\n".join([*head, *lines, ""]))


def _make_shards(source: Path, records: int) -> None:
    rng, counts = np.random.default_rng(3), {f"{number:02d}": records // SMALL for number in range(SMALL)}
    source.mkdir()
    for name, count in (counts | {"large": records}).items():
        np.save(source / f"{name}.npy", rng.integers(0, 256, (count, 28, 28), np.uint8))


def _runs(trees: dict[str, Path], place: Path, rounds: int) -> Iterator[tuple[str, Run]]:
    manifests = set[bytes]()
    for number in range(rounds):
        for side, tree in trees.items():
            output = place / f"{side}-{number}"
            run = _run(tree, place / "in", output)
            manifests.add((output / "_manifest.parquet").read_bytes())
            print(f"{side} | {run}", file=sys.stderr)
            yield side, run
    assert len(manifests) == 1


def _run(tree: Path, source: Path, output: Path) -> Run:
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "encode",
        "--input",
        str(source),
        "--model",
        MODEL,
        "--output",
        str(output),
    ]
    with output.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen([*command, *TWO_WORKERS], cwd=tree, stdout=log, stderr=log, start_new_session=True)
        _, busier, other, *_ = used_by_each(process)
    assert process.returncode == 0, output.with_suffix(".log").read_text()
    run = json.loads((output / "_SUCCESS").read_text())["run"]
    return Run(seconds=run["ended"] - run["first_result"], busier=busier.cpu, other=other.cpu)


if __name__ == "__main__":
    main()
