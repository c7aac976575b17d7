"""Latents in smaller types against float32: bytes on disk, neighbours, a linear probe, and images decoded of them.

    python -m benchmarks.latent_types --data DIR [--work DIR]

Writes ``benchmarks/results/latent_types.md``. Every table is written by ``encode`` and read as ``decode`` reads it.
MNIST is encoded by the zoo's autoencoder, CIFAR-10 by one that is trained here on its first shard for two epochs. The
database is the first shard of the training images, and the queries are 1,000 test images. ``--data`` is as of
``benchmarks.quality``.
"""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.process import HERE
from harness.machine import machine, on_machine
from lake.core.records import Array, Unit
from lake.formats import FORMATS
from lake.formats.common.vector_storage import VECTOR_TYPES
from lake.formats.reader import ColumnSelection
from lake.inputs.discover import find_shards
from model.bundle import Bundle
from model.pixels import Floats
from model.runtime.runtime import Runtime
from pipeline.beam.launch import launch
from pipeline.options.job_options import JobOptions

QUERIES, NEIGHBOURS, DECODED = 1000, 10, 2000
SHARDS = {"database": "train-00000-of-00004.parquet", "queries": "test-00000-of-00001.parquet"}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one type gives.

    Attributes:
      size: bytes of both tables.
      column: bytes of their columns ``latent``.
      latents: by part, float32 ``[n, D]``, as ``decode`` reads them.
    """

    size: int
    column: int
    latents: dict[str, Floats]


def main() -> None:
    """Encode, compare, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=HERE / ".work")
    options = parser.parse_args()
    bundles = {"mnist": "zoo:mnist-autoencoder", "cifar10": _trained(options.data / "cifar10", options.work)}
    lines = [
        "| latents | type | file | column | recall@10 | recall@10, queries in float32 | linear probe | decoded, PSNR |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, bundle in bundles.items():
        for line in _rows(name, bundle, options.data / name, options.work):
            lines.append(line)
            print(line, flush=True)
    text = "\n".join(["# Latents in smaller types", "", on_machine(machine()), "", *lines, ""])
    (HERE / "results" / "latent_types.md").write_text(text)


def _rows(name: str, bundle: str, data: Path, work: Path) -> list[str]:
    runtime, rows = Runtime.load(Bundle.open(bundle)), list[str]()
    labels = {part: pq.read_table(data / file, columns=["label"])["label"].to_numpy() for part, file in SHARDS.items()}
    pixels = _pixels(data / SHARDS["queries"])
    base: Measured | None = None
    for kind in VECTOR_TYPES:
        found = _measured(bundle, data, work / f"latent-types-{name}-{kind}", kind)
        base = base or found
        database, queries = found.latents["database"], found.latents["queries"]
        wanted = _nearest(base.latents["queries"], base.latents["database"])
        recalls = (_recall(wanted, _nearest(q, database)) for q in (queries, base.latents["queries"]))
        figures = [
            f"{found.size / base.size:.3f}",
            f"{found.column / base.column:.3f}",
            *(f"{recall:.4f}" for recall in recalls),
            f"{_probe(database, labels['database'], queries, labels['queries']):.4f}",
            f"{_psnr(runtime, queries[:DECODED], pixels):.3f} dB",
        ]
        zeros = float((base.latents["database"] == 0).mean())  # which float32 compresses well, too
        rows.append(f"| {name}, D = {database.shape[1]}, {zeros:.0%} are 0 | {kind} | {' | '.join(figures)} |")
    return rows


def _measured(bundle: str, data: Path, output: Path, kind: str) -> Measured:
    size, column, latents = 0, 0, {}
    for part, file in SHARDS.items():
        own = output / part
        launch(
            JobOptions(
                verb="encode",
                input=(str(data / file),),
                model=bundle,
                output=str(own),
                latent_type=kind,
                overwrite=True,
            ),
            [],
        )
        table = own / "latents" / file
        footer = pq.read_metadata(table)
        groups = [footer.row_group(at) for at in range(footer.num_row_groups)]
        chunks = [group.column(at) for group in groups for at in range(footer.num_columns)]
        size += table.stat().st_size
        column += sum(chunk.total_compressed_size for chunk in chunks if chunk.path_in_schema.startswith("latent."))
        latents[part] = _read(table, Bundle.open(bundle).spec.dimension)
    return Measured(size=size, column=column, latents=latents)


def _read(table: Path, dimension: int) -> Floats:
    (shard,) = find_shards([str(table)], "parquet").shards
    reader = FORMATS["parquet"].reader
    columns = reader.settle(shard, ColumnSelection(numeric=True, latents=True, length=dimension, carry=()))
    unit = Unit(id="x", format="parquet", shards=(shard,))
    return np.concatenate([np.asarray(raw.records().payload) for raw in reader.read(unit, columns, 4096)])


def _nearest(queries: Floats, database: Floats) -> Array:
    ours, theirs = queries[:QUERIES].astype(np.float64), database.astype(np.float64)
    distance = np.square(theirs).sum(axis=1) - 2 * ours @ theirs.T
    return np.argpartition(distance, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]


def _recall(wanted: Array, found: Array) -> float:
    shared = [len(set(one) & set(other)) for one, other in zip(wanted.tolist(), found.tolist(), strict=True)]
    return sum(shared) / wanted.size


def _probe(database: Floats, labels: Array, queries: Floats, truth: Array) -> float:
    """Accuracy of logistic regression on standardised latents."""
    from sklearn.linear_model import LogisticRegression

    mean, deviation = database.mean(axis=0), database.std(axis=0) + 1e-6
    model = LogisticRegression(C=0.1, max_iter=100, tol=1e-3).fit((database - mean) / deviation, labels)
    return float(model.score((queries - mean) / deviation, truth))


def _pixels(file: Path) -> Array:
    import io

    from PIL import Image

    files = pq.read_table(file)["image"].to_pylist()[:DECODED]
    images = [np.asarray(Image.open(io.BytesIO(image["bytes"])), np.float64) / 255 for image in files]
    stacked: Array = np.stack(images).reshape(len(images), images[0].shape[0], images[0].shape[1], -1)
    return stacked


def _psnr(runtime: Runtime, latents: Floats, pixels: Array) -> float:
    """Mean PSNR in dB of decoded images, rounded to 8 bits, against the originals."""
    size = runtime.batch_size
    output = np.concatenate([runtime.decode(latents[at : at + size]) for at in range(0, len(latents), size)])
    low, high = runtime.spec.output_range
    made = np.rint(np.clip((output - low) / (high - low), 0, 1) * 255) / 255
    error = np.square(made - pixels).mean(axis=(1, 2, 3))
    return float((-10 * np.log10(error)).mean())


def _trained(data: Path, work: Path) -> str:
    bundle = work / "latent-types-cifar10-bundle"
    if not bundle.exists():
        command = [
            sys.executable,
            "-m",
            "model",
            "train",
            "--kind",
            "autoencoder",
            "--input",
            str(data / SHARDS["database"]),
        ]
        subprocess.run([*command, "--output", str(bundle), "--epochs", "2"], check=True)
    return str(bundle)


if __name__ == "__main__":
    main()
