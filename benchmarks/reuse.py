"""What ``encode --reuse content`` saves: a lake, the same records cut anew, and the same in another order.

    python -m benchmarks.reuse --data DIR [--work DIR] [--records 100000] [--index 10000000]

Writes ``benchmarks/results/reuse.md``. The records are the images of CIFAR-10 and, beyond 60,000, mirrored ones, all as
PNG; MobileNetV2 with seeded weights makes 1,280 numbers of each, resized to 96 x 96. Latents of both runs are compared
bit by bit, record by record. ``--index`` is how many digests are indexed alone, to see what a large lake takes, and
after them those of 10,000 small tables; 0 for neither. ``--data`` is as of ``benchmarks.quality``.
"""

import argparse
import io
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.process import HERE
from harness.machine import machine, on_machine
from harness.measured import Place, spawn
from pipeline.output.reuse.digest_index import DigestIndex, write_index
from pipeline.output.reuse.reusable import ReusableTable

_MODEL = "thumbnails"
_FIRST, _ANEW = 50, 40  # shards before and after
_TABLE, _ASKED, _BATCH = 1_000_000, 100_000, 256
_SMALL, _SMALL_TABLES = 100, 10_000  # records of a small table, and how many of them there are
_INDEX = (
    "from pathlib import Path; from benchmarks.reuse import measure_index; measure_index(Path({place!r}), {counts})"
)


def main() -> None:
    """Run the jobs, compare them, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=HERE / ".work")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--index", type=int, default=10_000_000)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    place, records = Place(data=given.data, work=given.work), given.records
    images = [*islice(_images(given.data / "cifar10"), records)]
    kept = given.work / "reuse-first"
    shutil.rmtree(kept, ignore_errors=True)
    first = _job(place, _lake(given.work / "reuse-before", images, _FIRST, "train"), kept, "--hash")
    runs = {f"first run, {_FIRST} shards": first}
    shuffled = [images[at] for at in np.random.default_rng(0).permutation(records)]
    for what, order in ((f"cut into {_ANEW} shards", images), (f"shuffled into {_ANEW} shards", shuffled)):
        source, output = _lake(given.work / "reuse-after", order, _ANEW, "part"), place.fresh()
        shutil.copytree(kept, output)
        runs[f"{what}, `--reuse content`"] = _job(place, source, output, "--prune", "--reuse", "content")
        _compare(kept, output, records)
    (HERE / "results/reuse.md").write_text(_page(records, runs, _index(given.work, given.index)))


def _images(folder: Path) -> Iterator[bytes]:
    """The files of CIFAR-10, then mirrored ones."""
    files = [
        image["bytes"]
        for shard in sorted(folder.glob("*.parquet"))
        for image in pq.read_table(shard)["image"].to_pylist()
    ]
    yield from dict.fromkeys(files)
    for data in files:
        out = io.BytesIO()
        Image.open(io.BytesIO(data)).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(out, "png")
        yield out.getvalue()


def _lake(folder: Path, images: Sequence[bytes], shards: int, name: str) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    edges = np.linspace(0, len(images), shards + 1).astype(int).tolist()
    for number, (start, stop) in enumerate(pairwise(edges)):
        table = pa.table({"image": pa.array(images[start:stop], pa.binary()), "label": pa.array(range(start, stop))})
        pq.write_table(table, folder / f"{name}-{number:05d}.parquet", compression="none", use_dictionary=False)
    return folder


def _job(place: Place, source: Path, output: Path, *options: object) -> dict[str, Any]:
    command: list[object] = [sys.executable, "-m", "pipeline", "encode", "--json", "--input", source]
    command += ["--model", place.bundle(_MODEL), "--output", output, "--resize", "stretch", *options]
    started = time.time()
    run = spawn(command, place.log)
    state: dict[str, Any] = json.loads(run.text)["run"]
    startup, after = state["first_result"] - started, state["ended"] - state["first_result"]
    parts = {"seconds": run.seconds, "startup": startup, "after": after, "cpu": run.cpu, "peak_mib": run.peak_mib}
    found = {**parts, "reused": state.get("reused", 0), "spent": state["timing"]["spent"]}
    print(found, file=sys.stderr, flush=True)
    return found


def _compare(one: Path, other: Path, records: int) -> None:
    """Check that every record has the same latent in both, bit by bit."""
    tables = (ds.dataset(output / "latents").to_table(["sha256", "latent"]) for output in (one, other))
    before, after = (table.sort_by("sha256").combine_chunks() for table in tables)
    if len(before) != records or not before.equals(after):
        raise SystemExit(f"{other} has other latents than {one}")


def _page(records: int, runs: Mapping[str, Mapping[str, Any]], index: Sequence[str]) -> str:
    first, *_ = runs.values()
    what = (
        f"{records:,} images of CIFAR-10 (some mirrored), MobileNetV2 of 96 x 96, 1,280 numbers each: `python -m "
        "benchmarks.reuse`. Every record has the same latent in all runs, bit by bit. *After start-up* is from the "
        "first result to the end of the commit; start-up is from the command to the first result, with the index of "
        "what is known. Processor time is of all processes, start-up included."
    )
    lines = ["# What `--reuse content` saves", "", on_machine(machine()), ""]
    lines += [
        what,
        "",
        "| run | reused | start-up | after start-up | | processor | | largest process |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, run in runs.items():
        faster, less = first["after"] / run["after"], first["cpu"] / run["cpu"]
        lines.append(
            f"| {name} | {run['reused']:,} | {run['startup']:.1f} s | {run['after']:.1f} s | {faster:.1f}x | "
            f"{run['cpu']:.1f} s | {less:.1f}x | {run['peak_mib']:,.0f} MiB |"
        )
    spent = "; ".join(f"{name.partition(',')[0]}: {_spent(run['spent'])}" for name, run in runs.items())
    return "\n\n".join(["\n".join(lines), f"Seconds of threads: {spent}.", *index]) + "\n"


def _spent(spent: Mapping[str, float]) -> str:
    return ", ".join(f"{part} {seconds:.1f}" for part, seconds in spent.items())


def _index(work: Path, count: int) -> list[str]:
    if not count:
        return []
    large, small = f"{count}, {_TABLE}", f"{_SMALL * _SMALL_TABLES}, {_SMALL}"
    return [_index_of(work / "reuse-index", counts) for counts in (large, small)]


def _index_of(place: Path, counts: str) -> str:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    program = _INDEX.format(place=str(place), counts=counts)
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=HERE.parent)
    shutil.rmtree(place)
    return run.stdout.strip()


def measure_index(place: Path, count: int, per_table: int) -> None:
    """Index random digests in a process of its own, ask for some, and say what it took.

    Args:
      place: an empty directory.
      count: how many digests.
      per_table: how many of them a table has.
    """
    rng, tables = np.random.default_rng(0), list[ReusableTable]()
    for number in range(-(-count // per_table)):
        rows = min(per_table, count - number * per_table)
        digests = pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), rows, [None, pa.py_buffer(rng.bytes(32 * rows))])
        table = pa.table({"sha256": digests}).replace_schema_metadata({"latentlake.fingerprint": f"{number}"})
        pq.write_table(table, place / f"{number}.parquet", use_dictionary=False, compression="none")
        tables.append(ReusableTable(uri=str(place / f"{number}.parquet"), fingerprint=f"{number}", rows=rows))
    base, started = _peak(), time.process_time()
    write_index(str(place / "index"), tables)
    made, built = time.process_time() - started, _peak()
    index, started = DigestIndex(str(place / "index")), time.process_time()
    for keys in map(partial(rng.integers, 0, 1 << 63, dtype=np.uint64), [_BATCH] * (_ASKED // _BATCH)):
        index.find(keys * np.uint64(2))
    asked = time.process_time() - started
    size = sum(file.stat().st_size for file in (place / "index").iterdir())
    print(
        f"An index of {count:,} digests of {len(tables):,} tables alone: {size / 1e6:,.0f} MB, made in {made:.1f} s of "
        f"the processor with {built - base:,.0f} MiB more memory than before; {asked / _ASKED * 1e6:.1f} us to look "
        "one up, its share of fetching the index among it."
    )


def _peak() -> float:
    """The most memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
