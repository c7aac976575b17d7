"""Many tiny shards on Flink: milliseconds for each, after the start-up.

    scripts/engines
    python -m benchmarks.tiny_shards [--shards 2000] [--work DIR]

Parquet shards of ten images on two TaskManagers, ``encode`` with ``zoo:mnist-autoencoder``. Prints one line.
"""

import argparse
import io
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from harness.engines.flink import running
from harness.engines.jobs import begun
from harness.machine import machine, on_machine
from pipeline.output.state.state_file import read_summary

_IMAGES = 10  # in a shard


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=2000)
    parser.add_argument("--work", type=Path, default=Path("benchmarks/.work"))
    given = parser.parse_args()
    work = given.work.absolute() / "tiny_shards"
    shutil.rmtree(work, ignore_errors=True)
    write_tiny_shards(work / "in", given.shards)
    output = work / "out"
    named = ["--input", work / "in", "--model", "zoo:mnist-autoencoder", "--resize", "stretch", "--output", output]
    with running(work / "cluster") as cluster:
        command = ["encode", *map(str, named), *cluster.options]
        with begun(command, work / "job") as job:
            assert job.wait() == 0, job.part.said
            ended = time.time()
    seconds = ended - read_summary(str(output / "_SUCCESS"))["run"]["first_result"]
    print(on_machine(machine()))
    print(f"{given.shards:,} shards: {1000 * seconds / given.shards:.1f} ms each after the first result; wanted <= 5")


def write_tiny_shards(folder: Path, count: int) -> None:
    """Shards of one grey image, ten times, in directories of a hundred."""
    image = io.BytesIO()
    Image.fromarray(np.full((28, 28), 7, np.uint8)).save(image, "png")
    table = pa.table({"image": [image.getvalue()] * _IMAGES, "label": range(_IMAGES)})
    for number in range(count):
        place = folder / f"{number // 100:04d}"
        place.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, place / f"{number:06d}.parquet")


if __name__ == "__main__":
    main()
