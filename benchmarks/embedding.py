"""Daft's public benchmark of images, scaled to two cores: processor time and memory, this job beside Daft.

    python -m benchmarks.embedding --data DIR --peers PYTHON [--work DIR] [--rounds 3] [--images 2000] [--note TEXT]

``--data`` is a directory with ``bsd400``; ``--peers`` is the Python of an environment with
``benchmarks/peers/faults-requirements.txt`` and ``torchvision``. Writes ``benchmarks/results/embedding.md`` and
``embedding.json``. Sides alternate; each runs over ``FEW`` images and over ``--images`` more, so that what a start and
what an image costs are told apart.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeAlias

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.data import PHOTOGRAPH
from benchmarks.photographs import photograph, read
from benchmarks.process import HERE, Used, used
from benchmarks.sections import Side, alternate
from harness.machine import machine, on_machine
from harness.measured import Place, spawn

FEW = 200  # each a photograph of its own
JOB, PUBLISHED, OWN = "latentlake", "Daft, as published", "Daft, its own resize"
Command: TypeAlias = Callable[[Path, Path], Sequence[object]]  # of a source and an output
_PEER = "peers/embedding_daft.py"
_PAGE = """# Embeddings of images, beside Daft

Daft's [benchmark of images](https://github.com/Eventual-Inc/Daft/tree/main/benchmarking/ai/image_classification),
scaled to two cores: JPEG files are decoded, scaled to 256 pixels on the shorter side, cut to the centre of 224,
normalised and given to a network, and what comes is written as Parquet. The files are photographs of {width} x {height}
on this disk, there ImageNet's in a bucket. The network is a MobileNetV2 with random weights in ONNX Runtime, there a
ResNet-18 in PyTorch on GPUs; its 1,280 numbers are kept, there a class. {versions}.

- **as published**: the steps and settings of that benchmark with torchvision's transform, one row at a time, and Daft's
  native runner, the one for one machine.
- **its own resize**: Daft's resize and crop in place of torchvision's. They take one size for all, and all photographs
  have one.
- **latentlake**: `encode` of the folder, with a bundle of `export --preset imagenet --resize 256 --crop 224`. It also
  writes checksums and reads back what it wrote.

{machine} {rounds} rounds, alternating: medians, and each round. {note}

{table}

Processor time and seconds are those of {images:,} images, by the difference of runs over {all:,} and {few}; the start
is what is left of the shorter run. Memory is the most that all processes of a run held at once, shared pages once.
{agree}
"""


def main() -> None:
    """Run all sides, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with bsd400")
    parser.add_argument("--peers", type=Path, required=True, help="Python of the peers' environment")
    parser.add_argument("--work", type=Path, default=HERE / ".work")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=2000, help=f"beyond the first {FEW}; default %(default)s")
    parser.add_argument("--note", default="", help="a sentence for the page: what else the machine did")
    given = parser.parse_args()
    place = Place(data=given.data.resolve(), work=given.work.resolve())
    place.work.mkdir(exist_ok=True, parents=True)
    few, many = (folder(place, count) for count in (FEW, FEW + given.images))
    bundle, network = models(place)
    commands: Mapping[str, Command] = {
        JOB: partial(job, bundle),
        PUBLISHED: partial(daft, given.peers, network),
        OWN: partial(daft, given.peers, network, size=PHOTOGRAPH[::-1]),
    }
    sides: dict[str, Side] = {name: partial(side, place, name, few, many, to) for name, to in commands.items()}
    runs = alternate(given.rounds, sides)
    found = {name: latents(output(place, name, few)) for name in sides}
    agree = [f"{name}: {likeness(found[JOB], found[name])}." for name in (PUBLISHED, OWN)]
    text = _PAGE.format(
        width=PHOTOGRAPH[1],
        height=PHOTOGRAPH[0],
        versions=versions(given.peers),
        machine=on_machine(machine()),
        rounds=given.rounds,
        note=given.note,
        table="\n".join(table(runs)),
        images=given.images,
        few=FEW,
        all=FEW + given.images,
        agree="\n".join([*agree, "`python -m benchmarks.embedding`."]),
    )
    (HERE / "results/embedding.md").write_text(text)
    (HERE / "results/embedding.json").write_text(json.dumps({"machine": machine(), "runs": runs}, indent=1) + "\n")


def folder(place: Place, count: int) -> Path:
    """Photographs as JPEG files, and their URLs in a Parquet file beside the folder; made once."""
    made = place.work / f"embedding-{count}"
    if not made.exists():
        making, originals = made.with_suffix(".making"), read(place.data / "bsd400")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        for number in range(count):
            (making / f"{number:06d}.jpg").write_bytes(photograph(originals[number % len(originals)]).file)
        urls = [(made / file.name).as_uri() for file in sorted(making.iterdir())]
        pq.write_table(pa.table({"image_url": urls}), made.with_suffix(".parquet"))
        making.rename(made)
    return made


def models(place: Place) -> tuple[Path, Path]:
    """The bundle, and the same network as ONNX for normalised images, float32 ``[n, 224, 224, 3]``; made once."""
    plain, bundle, network = place.bundle("photographs"), place.work / "embedding-bundle", place.work / "embedding.onnx"
    if not (bundle / "model.json").exists():
        options = ["--latent", "global_average_pooling2d", "--preset", "imagenet", "--resize", "256", "--crop", "224"]
        shutil.rmtree(bundle, ignore_errors=True)
        command = [sys.executable, "-m", "pipeline", "export", f"{plain}.keras", *options, "--output", bundle]
        spawn(command, place.log)
    graph = onnx.load(plain / "encode.onnx")
    (divisor,) = (value for value in graph.graph.input if value.name == "divisor")
    graph.graph.input.remove(divisor)
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1, np.float32), "divisor"))
    onnx.save(graph, network)
    return bundle, network


def job(bundle: Path, source: Path, target: Path) -> Sequence[object]:
    """The command of this project."""
    return sys.executable, "-m", "pipeline", "encode", "--input", source, "--model", bundle, "--output", target


def daft(
    python: Path, network: Path, source: Path, target: Path, size: tuple[int, int] | None = None
) -> Sequence[object]:
    """The command of Daft; with its own resize, where the width and height of all images are given."""
    words = [python, HERE / _PEER, "--input", source.with_suffix(".parquet"), "--model", network, "--output", target]
    return [*words, "--size", *size] if size else words


def side(place: Place, name: str, few: Path, many: Path, command: Command) -> Mapping[str, float]:
    """What images cost, and what a start does, by a run over few of them and one over many."""
    first, second = (run(output(place, name, source), source, command, place.log) for source in (few, many))
    count = sum(1 for _ in many.iterdir()) - FEW
    cpu = (second.cpu - first.cpu) * 1000 / count
    return {
        "cpu": cpu,
        "cpu_of_start": first.cpu - cpu * FEW / 1000,
        "seconds": (second.seconds - first.seconds) * 1000 / count,
        "peak_mib_few": first.peak_mib,
        "peak_mib": second.peak_mib,
    }


def run(target: Path, source: Path, command: Command, log: Path) -> Used:
    """One run, into an output that is not there."""
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(exist_ok=True)
    return used(command(source, target), log)


def output(place: Place, name: str, source: Path) -> Path:
    """Where a side writes what it makes of a folder."""
    return place.work / "embedding-out" / f"{re.sub(r'[^a-z]+', '-', name.lower())}-{source.name}"


def latents(target: Path) -> np.ndarray:
    """Latents float32 ``[n, d]`` in the order of the photographs' names."""
    found = dict[str, list[float]]()
    for file in sorted(target.rglob("*.parquet")):
        rows = pq.read_table(file)
        if "latent" in rows.column_names:
            names = rows["key" if "key" in rows.column_names else "image_url"].to_pylist()
            found |= zip((Path(name).stem for name in names), rows["latent"].to_pylist(), strict=True)
    return np.array([found[name] for name in sorted(found)], np.float32)


def likeness(ours: np.ndarray, theirs: np.ndarray) -> str:
    """How many photographs have the nearest latent of the other side, and how far that is.

    Raises:
      ValueError: they are not as many.
    """
    if ours.shape != theirs.shape:
        raise ValueError(f"latents of {theirs.shape}, not of {ours.shape}")
    apart = np.linalg.norm(ours[:, None] - theirs[None], axis=-1)
    own, others = np.diag(apart), apart[~np.eye(len(apart), dtype=bool)]
    nearest = int((apart.argmin(axis=1) == np.arange(len(apart))).sum())
    words = f"{nearest} of {len(ours)} latents are nearest to this job's of the same photograph"
    return f"{words}, and {np.median(own) / np.median(others):.1%} of the distance between two photographs away from it"


def versions(python: Path) -> str:
    """Those of the peers' packages."""
    program = "import importlib.metadata as m, sys; print(*(f'{p} {m.version(p)}' for p in sys.argv[1:]), sep=', ')"
    packages = ("daft", "torchvision", "onnxruntime")
    return subprocess.check_output([python, "-c", program, *packages], text=True).strip()


def table(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> Iterator[str]:
    """The lines of the table."""
    yield "| | CPU s per 1,000 images | to this job's | CPU s of the start | s per 1,000 | MiB at most | MiB with few |"
    yield "|---|---|---|---|---|---|---|"
    for name, of in runs.items():
        ratio = median(one["cpu"] / other["cpu"] for one, other in zip(of, runs[JOB], strict=True))
        cells = [each(of, "cpu", 1), f"{ratio:.2f}", each(of, "cpu_of_start", 1), each(of, "seconds", 1)]
        yield f"| {' | '.join([name, *cells, each(of, 'peak_mib', 0), each(of, 'peak_mib_few', 0)])} |"


def each(of: Sequence[Mapping[str, float]], key: str, digits: int) -> str:
    """The median of a figure, and that of each round."""
    values = [one[key] for one in of]
    return f"**{median(values):,.{digits}f}** ({', '.join(f'{value:,.{digits}f}' for value in values)})"


if __name__ == "__main__":
    main()
