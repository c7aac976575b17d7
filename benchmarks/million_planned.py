"""What the plan of a million shards takes: seconds of a processor, and memory above the start of its process.

    python -m benchmarks.million_planned first [--shards N]    nothing is done: plan, and the lines of the plan
    python -m benchmarks.million_planned again [--shards N]    all is done, as the root of a manifest says

Nothing is listed: the shards are names that are made up, so this runs where a million files would not fit.
"""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa

from benchmarks.many_shards import mib
from lake.formats.reader import RecordSchema
from lake.images.types import Target
from lake.inputs.discover import Found
from lake.inputs.shard_list import Builder
from lake.inputs.units import all_units
from lake.storage import StoreOptions
from pipeline.config import JobConfig, fingerprint
from pipeline.job.dealing import lines_largest_first
from pipeline.job.plan import make_plan
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import Manifest
from pipeline.output.manifest.manifest_parts import PART_UNITS, ManifestPart, Prints, ends_part

CONFIG = JobConfig(
    verb="encode",
    output="out",
    run="run",
    model="bundle",
    model_digest="00",
    latent_layer="encoded",
    target=Target(shape=(8, 8, 1)),
    columns=RecordSchema(image="", key=None, carry=pa.schema([]), numeric=False, max_record_bytes=1 << 28),
    variance=False,
    reject_bytes=0,
    stores=StoreOptions(),
    threads=None,
)


def main() -> int:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("night", choices=("first", "again"))
    parser.add_argument("--shards", type=int, default=1_000_000)
    given = parser.parse_args()
    # What is done is made in a process of its own: memory that it frees would be used again, and not be measured.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        made = pool.submit(parts, given.shards if given.night == "again" else 0).result()
    manifest = Manifest(Layout("out"), parts=made)
    make_plan(found(10), CONFIG, {})  # loads what every plan loads
    Path("/proc/self/clear_refs").write_text("5")  # the highest size begins anew
    before, began = mib("VmRSS"), time.process_time()
    plan = make_plan(found(given.shards), CONFIG, manifest)
    if given.night == "first":
        sum(map(len, lines_largest_first(plan.todo)))
    cpu, memory = time.process_time() - began, mib("VmHWM") - before
    print(f"{given.night}, {given.shards:,} shards, {len(plan.todo):,} to do: {cpu:.1f} s, {memory:.0f} MiB")
    return 0


def found(count: int) -> Found:
    """Shards as a listing has them."""
    builder = Builder()
    for number in range(count):
        builder.add(f"{number // 1000:05d}/part-of-a-lake-{number:08d}.npy", 128, f"1764450000123456789-{number:06d}")
    return Found(root="/data/lake", format="array", shards=builder.build("/data/lake"))


def parts(count: int) -> list[ManifestPart]:
    """The root of a manifest in which all are done."""
    made, prints = list[ManifestPart](), Prints()
    for unit in all_units(found(count)):
        prints.add(unit.id, fingerprint(unit, CONFIG))
        if ends_part(unit.id) or prints.units >= PART_UNITS:
            made.append(part(unit.id, prints))
            prints = Prints()
    return [*made, part(unit.id, prints)] if prints.units else made


def part(last: str, prints: Prints) -> ManifestPart:
    """A part that is never read."""
    return ManifestPart(
        name="_manifest/never.parquet",
        last=last,
        units=prints.units,
        size=1,
        crc32c="",
        prints=prints.digest(),
        read=0,
        results=0,
        rejects={},
        output_bytes=0,
    )


if __name__ == "__main__":
    sys.exit(main())
