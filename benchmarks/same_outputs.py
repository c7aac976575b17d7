"""Whether this tree writes, byte for byte, what another one writes, and takes its outputs for done.

    python -m benchmarks.same_outputs --before DIR [--output FILE]

``DIR`` is a checkout of the other commit. Every verb runs over small shards of every format, in both trees, with one
Python and one set of packages. Compared are all data files and the manifest; receipts, plans and summaries have times
in them. Then this tree runs each command over the other's output, where there must be nothing to do.
"""

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from harness.machine import machine, on_machine

ROOT = Path(__file__).resolve().parent.parent
COUNT = 40
_DRIVER = """
import json, sys
try:
    from pipeline.cli.command import main
except ImportError:
    from pipeline.cli import main
for command in json.loads(sys.argv[1]):
    if status := main(command):
        sys.exit(f"{' '.join(command)} ended with {status}")
"""


def main() -> None:
    """Run everything, print the table, and end with status 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--before", type=Path, required=True, help="checkout of the commit to compare with")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/same_outputs.md")
    options = parser.parse_args()
    before = options.before.resolve()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        make_inputs(root / "in", before)
        jobs = dict(commands(root / "in", before / "model/zoo"))
        for tree, name in ((before, "before"), (ROOT, "after")):
            run(tree, [[*words, "--output", str(root / name / job)] for job, words in jobs.items()])
        again = [[*words, "--output", str(root / "before" / job), "--json"] for job, words in jobs.items()]
        summaries = documents(run(ROOT, again))
        lines = [_row(job, root, summary) for job, summary in zip(jobs, summaries, strict=True)]
    head = ["| command | data files | bytes | differ | units done again |", "|---|---|---|---|---|"]
    text = "\n".join(
        [
            "# Outputs of this tree and of the one before",
            f"\nBy `python -m benchmarks.same_outputs --before` a checkout of `{commit(before)}`.\n",
            f"{on_machine(machine())}\n",
            *head,
            *lines,
        ]
    )
    options.output.write_text(text + "\n")
    print(text)
    sys.exit(any(not line.endswith("| 0 | 0 |") for line in lines))


def commit(tree: Path) -> str:
    """The commit that a checkout holds."""
    words = ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def run(tree: Path, commands: list[list[str]]) -> str:
    """Run commands of one tree in one process; gives what they print."""
    words = [sys.executable, "-c", _DRIVER, json.dumps(commands)]
    return subprocess.run(words, cwd=tree, check=True, stdout=subprocess.PIPE, text=True).stdout


def documents(text: str) -> Iterator[Any]:
    """JSON documents that follow one another."""
    decoder = json.JSONDecoder()
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        yield value
        text = text[end:]


def commands(source: Path, zoo: Path) -> Iterator[tuple[str, list[str]]]:
    """Name and words of every job."""
    formats = ("parquet", "webdataset", "tfrecord", "folder", "array")
    auto, vae, gray = (["--model", str(zoo / name)] for name in ("mnist-autoencoder", "mnist-vae", "denoiser-gray"))
    for format in formats:
        given = ["--input", str(source / "digits" / format), "--max-reject-fraction", "0.2"]
        yield f"encode {format}", ["encode", *given, *auto]
        yield f"reconstruct {format}", ["reconstruct", *given, *auto, "--error-map"]
        photos = ["--input", str(source / "photos" / format), "--max-reject-fraction", "0.2"]
        yield f"denoise {format}", ["denoise", *photos, *gray, "--noise-level", "25"]
    parquet = ["--input", str(source / "digits/parquet"), "--max-reject-fraction", "0.2"]
    for format in formats:
        yield f"reconstruct to {format}", ["reconstruct", *parquet, *auto, "--output-format", format]
    yield "encode variance", ["encode", *parquet, *vae, "--latent-variance"]
    yield (
        "encode resized",
        ["encode", "--input", str(source / "photos/folder"), *auto, "--resize", "crop", "--color", "convert"],
    )
    yield (
        "denoise estimate",
        ["denoise", "--input", str(source / "photos/webdataset"), *gray, "--noise-level", "estimate"],
    )
    reference = ["--reference", str(source / "clean/folder")]
    yield (
        "denoise reference",
        ["denoise", "--input", str(source / "photos/folder"), *gray, "--noise-level", "25", *reference],
    )
    yield "decode", ["decode", "--input", str(source / "latents.parquet"), *vae]
    yield "generate", ["generate", "--count", "30", "--seed", "3", *vae]
    yield "vectors", ["encode", "--input", str(source / "vectors.npy"), "--model", str(source / "dense")]


def make_inputs(source: Path, before: Path) -> None:
    """Digits with two bad ones, noisy photographs and their clean ones, latents, vectors; a bundle for vectors."""
    rng = np.random.default_rng(0)
    digits = (rng.random((COUNT, 28, 28)) * 255).astype(np.uint8)
    smooth = np.add.outer(np.linspace(0, 200, 96), np.linspace(0, 55, 80))
    clean = np.stack([np.roll(smooth, 7 * i, axis=0) for i in range(6)]).astype(np.uint8)
    noisy = np.clip(clean + rng.normal(0, 25, clean.shape), 0, 255).astype(np.uint8)
    for name, images in (("digits", digits), ("photos", noisy), ("clean", clean)):
        files = [_png(image) for image in images]
        if name == "digits":
            files[3], files[9] = b"no image", files[9][:60]
        _write(source / name, files, images)
    np.save(source / "vectors.npy", rng.normal(size=(300, 12)).astype(np.float32))
    latents = rng.normal(size=(50, 32)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(latents.reshape(-1)), 32)
    pq.write_table(pa.table({"key": [f"k{i}" for i in range(50)], "latent": column}), source / "latents.parquet")
    words = ["train", "--kind", "dense", "--input", str(source / "vectors.npy"), "--output", str(source / "dense")]
    subprocess.run(
        [sys.executable, "-m", "model", *words, "--latent-dim", "4", "--epochs", "1"], cwd=before, check=True
    )


def _write(place: Path, files: list[bytes], images: np.ndarray) -> None:
    for format in ("parquet", "webdataset", "tfrecord", "folder/sub", "array"):
        (place / format).mkdir(parents=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": data, "path": f"{i:04d}.png"} for i, data in enumerate(files)], kind)
    pq.write_table(
        pa.table({"image": rows, "label": range(len(files))}), place / "parquet/a.parquet", row_group_size=16
    )
    with tarfile.open(place / "webdataset/a.tar", "w") as tar:
        for i, data in enumerate(files):
            for name, content in ((f"{i:04d}.png", data), (f"{i:04d}.cls", b"%d" % (i % 10))):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    for i, data in enumerate(files):
        (place / f"folder/sub/{i:04d}.png").write_bytes(data)
    np.savez(place / "array/a.npz", images=images, labels=np.arange(len(images)))
    _tfrecord(place / "tfrecord/a.tfrecord", files)


def _tfrecord(path: Path, files: list[bytes]) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for i, data in enumerate(files):
            features = {
                "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[data])),
                "image/filename": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"%04d" % i])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[i])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


def _png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "png")
    return out.getvalue()


def _row(job: str, root: Path, summary: dict[str, dict[str, int]]) -> str:
    one, other = (_digests(root / name / job) for name in ("before", "after"))
    differing = [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]
    size = sum(path.stat().st_size for path in _files(root / "after" / job))
    return f"| {job} | {len(one)} | {size:,} | {len(differing)} | {summary['run']['units']} |"


def _files(output: Path) -> list[Path]:
    """Data files and the manifest."""
    found = [path for path in output.rglob("*") if path.is_file()]
    return [
        path
        for path in found
        if path.name == "_manifest.parquet" or not path.relative_to(output).parts[0].startswith("_")
    ]


def _digests(output: Path) -> dict[str, str]:
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in _files(output)}


if __name__ == "__main__":
    main()
