"""Shards of digits, sound and damaged, and what must come out of them."""

import io
import json
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lake.core.onnxruntime import onnxruntime
from model.zoo import zoo_uri

SHARDS, GROUP = 24, 125  # shards, records in a row group
BAD = 24  # images
FLIPPED = 12  # shards
HTML = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body>".ljust(400)


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """An input and what must come out.

    expected: label and latent float32 ``[d]`` by key.
    bad: keys of images that are none.
    damaged: names of shards.
    """

    folder: Path
    expected: dict[str, tuple[int, np.ndarray]]
    bad: Collection[str] = ()
    damaged: Collection[str] = ()


def make_model(file: Path) -> None:
    """The encoder of the zoo for peers, which give a model one input: what pixels are divided by is a constant."""
    graph = onnx.load(f"{zoo_uri('zoo:mnist-autoencoder')}/encode.onnx")
    (divisor,) = (value for value in graph.graph.input if value.name == "divisor")
    graph.graph.input.remove(divisor)
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array(255, np.float32), "divisor"))
    onnx.save(graph, file)


def make_all(data: Path, work: Path, model: Path, records: int) -> dict[str, Material]:
    """The inputs by name: ``clean``, ``bad`` images, a ``cut`` shard, ``flipped`` bits."""
    table = digits(data, records)
    expected = truth(table, model)
    write(work / "clean", table)
    rng = np.random.default_rng(0)
    return {
        "clean": Material(folder=work / "clean", expected=expected),
        "bad": _bad(work, rng, table, expected),
        "cut": _cut(work, table, expected),
        "flipped": _flipped(work, rng, expected),
    }


def digits(data: Path, records: int) -> pa.Table:
    """The first digits of MNIST: ``key``, ``label``, ``image``, a PNG."""
    (file, *_) = sorted(data.glob("train-*.parquet"))
    table = pq.read_table(file).slice(0, records)
    keys = pa.array([f"digit-{number:06d}" for number in range(len(table))])
    images = pa.array(table["image"].combine_chunks().field("bytes"), pa.binary())
    return pa.table({"key": keys, "label": table["label"].cast(pa.int64()), "image": images})


def truth(table: pa.Table, model: Path) -> dict[str, tuple[int, np.ndarray]]:
    """Label and latent of each key, computed apart from every side: by Pillow, one image at a time."""
    session = onnxruntime().InferenceSession(str(model), providers=["CPUExecutionProvider"])
    found = {}
    for key, label, data in zip(*(table[name].to_pylist() for name in table.column_names), strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(data)), np.float32)[None, ..., None]
        found[key] = (label, session.run(None, {"pixels": pixels})[0][0])
    return found


def write(folder: Path, table: pa.Table) -> None:
    """Shards of equal size, with checksums of pages, and ``_records.json``, which counts them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    size = -(-len(table) // SHARDS)
    for number in range(SHARDS):
        part = table.slice(number * size, size)
        pq.write_table(part, folder / name(number), row_group_size=GROUP, write_page_checksum=True)
    counts = {name(number): len(table.slice(number * size, size)) for number in range(SHARDS)}
    (folder / "_records.json").write_text(json.dumps(counts))


def name(number: int) -> str:
    """The name of a shard."""
    return f"digits-{number:02d}.parquet"


def _bad(
    work: Path, rng: np.random.Generator, table: pa.Table, expected: dict[str, tuple[int, np.ndarray]]
) -> Material:
    images = table["image"].to_pylist()
    chosen = sorted(rng.choice(len(images), BAD, replace=False).tolist())
    for position, damage in zip(chosen, cycle(_DAMAGES), strict=False):
        images[position] = damage(images[position])
    write(work / "bad", table.set_column(2, "image", pa.array(images, pa.binary())))
    bad = {table["key"][position].as_py() for position in chosen}
    left = {key: value for key, value in expected.items() if key not in bad}
    return Material(folder=work / "bad", expected=left, bad=bad)


def _cut(work: Path, table: pa.Table, expected: dict[str, tuple[int, np.ndarray]]) -> Material:
    folder, shard = _copied(work, "cut"), name(SHARDS // 2)
    data = (folder / shard).read_bytes()
    (folder / shard).write_bytes(data[: len(data) * 6 // 10])
    gone = set(pq.read_table(work / "clean" / shard)["key"].to_pylist())
    assert gone < set(table["key"].to_pylist())
    left = {key: value for key, value in expected.items() if key not in gone}
    return Material(folder=folder, expected=left, damaged=[shard])


def _flipped(work: Path, rng: np.random.Generator, expected: dict[str, tuple[int, np.ndarray]]) -> Material:
    folder = _copied(work, "flipped")
    shards = [name(number) for number in sorted(rng.choice(SHARDS, FLIPPED, replace=False).tolist())]
    for shard in shards:
        data = bytearray((folder / shard).read_bytes())
        data[int(rng.integers(4, _data_end(folder / shard)))] ^= 1 << int(rng.integers(8))
        (folder / shard).write_bytes(data)
    return Material(folder=folder, expected=expected, damaged=shards)


def _copied(work: Path, kind: str) -> Path:
    shutil.rmtree(work / kind, ignore_errors=True)
    return Path(shutil.copytree(work / "clean", work / kind))


def _data_end(file: Path) -> int:
    """Where the pages of a Parquet file end."""
    metadata = pq.read_metadata(file)
    return int(file.stat().st_size - 8 - metadata.serialized_size)


def _cut_image(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip_image(data: bytes) -> bytes:
    position = data.index(b"IDAT") + 40
    return data[:position] + bytes((data[position] ^ 16,)) + data[position + 1 :]


def _widen(data: bytes) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).resize((31, 28)).save(out, "PNG")
    return out.getvalue()


_DAMAGES: tuple[Callable[[bytes], bytes], ...] = (
    lambda _: b"",
    lambda _: HTML,
    _cut_image,
    _flip_image,
    _widen,
)
