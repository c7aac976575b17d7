"""What a report counts of planted images among more than 10,000, by three rules, and where nothing is planted.

    python -m benchmarks.outliers_of_many --data DIR

``--data`` is a directory with ``mnist`` and ``cifar10``. Writes ``benchmarks/results/outliers_of_many.md``.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.outlier_rules import odd, small
from benchmarks.outliers import ZOO, encoded
from benchmarks.process import HERE
from benchmarks.quality.place import Place
from harness.machine import machine, on_machine
from lake.core.records import Array
from model.bundle import Bundle
from model.runtime.runtime import Runtime
from pipeline.explore.latent_reader import LatentReader
from pipeline.report.fences import fence_scores
from pipeline.report.survey_latents import LatentSurvey, LatentTally, reference_distances
from pipeline.report.unusual import FENCE, Unusual, scores_of_distances

SAMPLE, PART, BATCH, REFERENCES, MANY = 50_000, 5_000, 8_192, 1_024, 1_000_000
KINDS, COUNTS = ("noise", "inverted", "blank", "of the other set", "salt and pepper"), (20, 60)
RULES = ("fourth of 1,024", f"{PART:,} drawn", "**far ones confirmed**")
ABOUT = (
    "How many of 20 and of 60 planted images are counted, and in brackets how many others are, by three rules: Tukey's",
    "fence of the distance to the fourth of 1,024 latents; the rule for few rows, over 5,000 drawn at random; that",
    "rule for the 2,000 that are farthest from 1,024 others, among these and 50,000 drawn at random. Latents of",
    "`zoo:mnist-autoencoder`; a million are numbers drawn around 40 centres of 128 dimensions. Seconds are of the last",
    "rule, with its pass over all latents in memory. `python -m benchmarks.outliers_of_many`",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lake:
    """Latents, and which of them are planted."""

    name: str
    latents: Array
    planted: Array


def mixed(name: str, plain: Array, planted: Array) -> Lake:
    """Plain latents and planted ones in a random order."""
    order = np.random.default_rng(1).permutation(len(plain) + len(planted))
    return Lake(name=name, latents=np.concatenate([plain, planted])[order], planted=order >= len(plain))


def surveyed(latents: Array) -> LatentSurvey:
    """What a report's pass keeps of them."""
    count, dimension = latents.shape
    schema = pa.schema([("latent", pa.list_(pa.float32(), dimension))])
    drawn = np.sort(np.random.default_rng(0).choice(count, min(count, SAMPLE), replace=False))
    tally = LatentTally(reader=LatentReader.of(schema, "", "latent"), column="latent", sampled=drawn)

    def batches(step: int) -> Iterator[pa.RecordBatch]:
        for start in range(0, count, step):
            flat = pa.array(latents[start : start + BATCH].reshape(-1))
            yield pa.record_batch([pa.FixedSizeListArray.from_arrays(flat, dimension)], schema=schema)

    tally.refer_to(batches(max(BATCH, count // 32)))
    for batch in batches(BATCH):
        tally.add(batch)
    return tally.result()


def counted(latents: LatentSurvey, rows: int) -> Array:
    """Which rows a report counts."""
    return np.asarray(Unusual(measured=scores_of_distances(latents, rows)).scores > FENCE)


def measured(lake: Lake) -> tuple[list[Array], float]:
    """What each rule counts, and the seconds of the last one."""
    latents, count = lake.latents, len(lake.latents)
    drawn = np.sort(np.random.default_rng(2).permutation(count)[:REFERENCES])
    parts = [reference_distances(latents[at : at + BATCH], latents[drawn], 4) for at in range(0, count, BATCH)]
    alone = fence_scores(np.concatenate(parts).astype(np.float64)) > FENCE
    some, few = np.sort(np.random.default_rng(3).permutation(count)[:PART]), np.zeros(count, bool)
    few[some] = counted(surveyed(latents[some]), PART)
    start = time.perf_counter()
    confirmed = counted(surveyed(latents), count)
    return [alone, few, confirmed], time.perf_counter() - start


def lakes(place: Place) -> Iterator[Lake]:
    """Of digits, of photographs, and of a million numbers."""
    runtime = Runtime.load(Bundle.open(str(ZOO / "mnist-autoencoder")))
    digits, photographs = (np.stack(place.images("mnist", "train")[0]), small(place.images("cifar10", "train")[0]))
    held = np.stack(place.images("mnist", "test")[0][:200]), small(place.images("cifar10", "test")[0][:200])
    for name, images, own, other in (
        ("MNIST, 20,000", digits[:20_000], *held),
        ("MNIST, 60,000", digits, *held),
        ("CIFAR-10, 50,000", photographs, *held[::-1]),
    ):
        plain, planted = encoded(runtime, images), odd(own, other)
        yield mixed(f"{name}, nothing", plain, plain[:0])
        for kind in KINDS:
            found = encoded(runtime, planted[kind])
            yield from (mixed(f"{name}, {kind}", plain, found[:count]) for count in COUNTS)
    yield from _many()


def _many() -> Iterator[Lake]:
    generator = np.random.default_rng(4)
    centres = 4 * generator.standard_normal((40, 128), np.float32)
    plain = generator.standard_normal((MANY, 128), np.float32)
    plain += centres[generator.integers(0, 40, MANY)]
    apart = 8 * generator.standard_normal((20, 128), np.float32)
    alike = apart[:1] + 0.3 * generator.standard_normal((60, 128), np.float32)
    planted = (("nothing", plain[:0]), ("different", apart), ("alike", alike[:20]), ("alike", alike))
    for kind, some in planted:
        yield replace(mixed("", plain, some), name=f"a million, {kind}")


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with mnist and cifar10")
    lines = [f"| planted | {' | '.join(RULES)} | seconds |", "|---|" + "---|" * (len(RULES) + 1)]
    for lake in lakes(Place(data=parser.parse_args().data, zoo=ZOO)):
        found, seconds = measured(lake)
        right = [f"{one[lake.planted].sum()} ({one[~lake.planted].sum():,})" for one in found]
        lines.append(f"| {lake.name}, {lake.planted.sum()} | {' | '.join(right)} | {seconds:.1f} |")
    head = ["# Outliers among more than 10,000", "", *ABOUT, "", on_machine(machine()), ""]
    (HERE / "results/outliers_of_many.md").write_text("\n".join([*head, *lines, ""]))


if __name__ == "__main__":
    main()
