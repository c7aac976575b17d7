"""What questions to an output cost: ``similar``, ``duplicates``, ``outliers`` and ``compare``, and what they find.

    python -m benchmarks.explore [--records 1000000] [--data DIR] [--work DIR]

Latents are synthetic: 128 numbers around 1,000 centres, whose spread falls from dimension to dimension, with 5,000
near copies among them. ``--data`` holds the folder ``mnist`` with ``*.parquet`` of the columns ``image`` and ``label``:
then the verdict of ``compare`` is asked of halves of it, of one with a tenth less contrast, and of one without a class.
Writes ``benchmarks/results/explore.md``.
"""

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from harness.machine import machine, on_machine
from lake.core.records import OutputFile
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.images.types import Target
from lake.storage import StoreOptions
from pipeline.calls.functions import encode
from pipeline.config import JobConfig
from pipeline.explore.output import Output
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import write_manifest
from pipeline.output.state.job_file import write_job_file
from pipeline.output.units.receipts import Receipt

RESULT = Path(__file__).parent / "results/explore.md"
_ROOT = Path(__file__).parent.parent
_DIMENSION, _CENTRES, _COPIES, _UNIT = 128, 1000, 5000, 100_000
_NEAR = 0.5  # distance of copies, at most; two records of one centre are about 7 apart
_CHECKED = 200  # records whose duplicates are compared with all distances


def synthetic(count: int) -> np.ndarray:
    """Clustered latents float32 ``[count, 128]``; the last 5,000 are near the first ones."""
    generator = np.random.default_rng(0)
    spread = np.linspace(2, 0.5, _DIMENSION).astype(np.float32)
    centres = generator.standard_normal((_CENTRES, _DIMENSION), np.float32) * 2 * spread
    values = centres[generator.integers(0, _CENTRES, count)]
    values += generator.standard_normal((count, _DIMENSION), np.float32) * spread / 2
    steps = generator.standard_normal((_COPIES, _DIMENSION), np.float32)
    steps *= _NEAR * generator.random((_COPIES, 1), np.float32) / np.linalg.norm(steps, axis=1, keepdims=True)
    values[-_COPIES:] = values[:_COPIES] + steps
    return values


def write_output(place: Path, values: np.ndarray) -> str:
    """An output with these latents, in units of 100,000."""
    receipts = []
    for number, start in enumerate(range(0, len(values), _UNIT)):
        part = values[start : start + _UNIT]
        unit = f"part-{number:05d}"
        columns = {
            "key": pa.array([f"{row:08d}.png" for row in range(start, start + len(part))]),
            "shard": pa.array([f"{unit}.tar"] * len(part)).dictionary_encode(),
            "index": pa.array(np.arange(len(part))),
            "latent": pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), _DIMENSION),
        }
        file = place / f"latents/{unit}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        table = pa.table(columns).replace_schema_metadata({"latentlake.fingerprint": unit})
        pq.write_table(table, file, compression="zstd", write_page_checksum=True)
        made = OutputFile(name=f"latents/{unit}.parquet", size=file.stat().st_size, rows=len(part), crc32c="")
        receipts.append(Receipt(unit=unit, fingerprint=unit, read=len(part), results=len(part), outputs=(made,)))
    write_manifest(Layout(str(place)), receipts)
    write_job_file(_config(place), ColumnSelection(), {})
    return str(place)


def _config(place: Path) -> JobConfig:
    columns = RecordSchema(image="", key=None, carry=pa.schema([]), numeric=False, max_record_bytes=1)
    return JobConfig(
        verb="encode",
        output=str(place),
        run="",
        model="",
        model_digest="",
        latent_layer="",
        target=Target(shape=(1, 1, 1)),
        columns=columns,
        variance=False,
        reject_bytes=0,
        stores=StoreOptions(),
        threads=None,
    )


def command(*words: str) -> tuple[float, float, dict[str, object]]:
    """Seconds and peak memory in GB of a command, and its answer."""
    begun = time.perf_counter()
    line = [sys.executable, "-m", "latentlake", *words, "--json"]
    ended = subprocess.run(line, cwd=_ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if ended.returncode not in (0, 5):
        raise RuntimeError(ended.stderr)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6  # of the largest child so far
    return seconds, peak, json.loads(ended.stdout)


def timed(output: Output, keys: list[str]) -> float:
    """Seconds of one question from Python."""
    begun = time.perf_counter()
    output.similar(keys, k=10)
    return time.perf_counter() - begun


def recall(values: np.ndarray, answer: dict[str, object], threshold: float) -> float:
    """The share of records within the threshold of some records that are in the groups of these."""
    rows = answer["duplicates"]
    assert isinstance(rows, list)
    group = {int(row["key"].removesuffix(".png")): row["group"] for row in rows}
    wanted = found = 0
    for row in np.random.default_rng(1).integers(0, _COPIES, _CHECKED).tolist():
        near = np.flatnonzero(np.linalg.norm(values - values[row], axis=1) <= threshold)
        others = [other for other in near.tolist() if other != row]
        wanted += len(others)
        found += sum(row in group and group.get(other) == group[row] for other in others)
    return found / wanted


def questions(values: np.ndarray, work: Path) -> Iterator[tuple[str, str]]:
    """Rows of the table: what, and how it went."""
    name = write_output(work / "output", values)
    begun = time.perf_counter()
    output = Output(name)
    output.latents()
    yield "the matrix of latents, made by the first question", f"{time.perf_counter() - begun:.1f} s"
    seconds, _, _ = command("similar", name, "--key", "00000005.png")
    yield "`similar`, from the command", f"{seconds:.2f} s"
    timed(output, ["00000001.png"])
    yield "`similar`, from Python, warm", f"{min(timed(output, [f'{row:08d}.png']) for row in range(5)):.3f} s"
    yield "`similar`, 1,000 queries", f"{timed(output, [f'{row:08d}.png' for row in range(1000)]):.2f} s"
    seconds, peak, answer = command("duplicates", name, "--threshold", str(_NEAR))
    found = recall(values, answer, _NEAR)
    yield "`duplicates`", f"{seconds:.0f} s, {peak:.2f} GB, {answer['dropped']:,} found, recall {found:.4f}"
    seconds, peak, answer = command("outliers", name)
    yield "`outliers`, by neighbours", f"{seconds:.0f} s, {peak:.2f} GB at most so far, exact: {answer['exact']}"
    seconds, _, answer = command("compare", name, name)
    yield "`compare`", f"{seconds:.0f} s"


def drift(data: Path, work: Path) -> Iterator[tuple[str, str]]:
    """The verdict on MNIST."""
    rows = [row for file in sorted((data / "mnist").glob("train*.parquet")) for row in pq.read_table(file).to_pylist()]
    order = np.random.default_rng(0).permutation(len(rows))
    one, other = ([rows[at] for at in half] for half in np.array_split(order, 2))
    sets = {
        "one half": one,
        "the other half": other,
        "the other half, a tenth less contrast": [{**row, "image": _paler(row["image"])} for row in other],
        "the other half, without the class 3": [row for row in other if row["label"] != 3],
    }
    outputs = {}
    for number, (name, some) in enumerate(sets.items()):
        folder = work / f"shards-{number}"
        folder.mkdir()
        table = pa.Table.from_pylist([{"image": row["image"], "label": row["label"]} for row in some])
        pq.write_table(table, folder / "a.parquet")
        outputs[name] = encode(folder, model="zoo:mnist-autoencoder", output=work / f"encoded-{number}")
    for name in list(sets)[1:]:
        found = outputs["one half"].compare(outputs[name])
        verdict = "drift" if found.drifted else "no drift"
        yield f"MNIST: one half against {name}", f"{verdict}, AUC {found.auc:.4f} ± {found.error:.4f}"


def _paler(image: dict[str, object]) -> dict[str, object]:
    data = image["bytes"]
    assert isinstance(data, bytes)
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    out = io.BytesIO()
    Image.fromarray(np.round(pixels * 0.9).astype(np.uint8)).save(out, "png")
    return {**image, "bytes": out.getvalue()}


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    lines = [
        "# Questions to an output",
        "",
        f"`python -m benchmarks.explore`: {options.records:,} synthetic records of {_DIMENSION} numbers.",
        "",
        on_machine(machine()),
        "",
        "| | |",
        "|---|---|",
    ]
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        work = Path(folder)
        rows = [*questions(synthetic(options.records), work)] if options.records else []
        for what, how in [*rows, *(drift(options.data, work) if options.data else ())]:
            lines.append(f"| {what} | {how} |")
            print(lines[-1], flush=True)
    options.result.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
