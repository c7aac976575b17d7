"""The whole job over every format, written by other people's tools."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.output.verify import verify
from tests.conftest import Model, Pixels, write_parquet
from tests.pipeline.conftest import run_job

COUNT = 600  # more than a batch
Write = Callable[[Path, list[bytes], Pixels, Pixels], None]


def tfrecord(root: Path, files: list[bytes], pixels: Pixels, labels: Pixels, options: str = "") -> None:
    import tensorflow as tf

    def bytes_feature(value: bytes) -> object:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    with tf.io.TFRecordWriter(str(root / "x.tfrecord"), options) as writer:
        for i, data in enumerate(files):
            feature = {
                "image/encoded": bytes_feature(data),
                "image/filename": bytes_feature(f"{i:05d}".encode()),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[labels[i]])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def tfrecord_gzip(root: Path, files: list[bytes], pixels: Pixels, labels: Pixels) -> None:
    tfrecord(root, files, pixels, labels, "GZIP")


def webdataset(root: Path, files: list[bytes], pixels: Pixels, labels: Pixels) -> None:
    import webdataset as wds

    with wds.ShardWriter(str(root / "x-%06d.tar"), maxcount=250, verbose=0) as writer:
        for i, data in enumerate(files):
            writer.write({"__key__": f"{i:05d}", "png": data, "cls": int(labels[i])})


def hugging_face(root: Path, files: list[bytes], pixels: Pixels, labels: Pixels) -> None:
    from datasets import Dataset, Features, Image, Value

    rows = {"image": [{"bytes": data, "path": f"{i:05d}"} for i, data in enumerate(files)], "label": labels}
    features = Features({"image": Image(), "label": Value("int64")})
    Dataset.from_dict(rows, features=features).to_parquet(root / "x.parquet")


def saved_to_disk(root: Path, files: list[bytes], pixels: Pixels, labels: Pixels) -> None:
    from datasets import Dataset, Features, Image, Value

    rows = {"image": [{"bytes": data, "path": f"{i:05d}"} for i, data in enumerate(files)], "label": labels}
    Dataset.from_dict(rows, features=Features({"image": Image(), "label": Value("int64")})).save_to_disk(root)


def feather(root: Path, files: list[bytes], pixels: Pixels, labels: Pixels) -> None:
    import pandas as pd

    pd.DataFrame({"image": files, "label": labels}).to_feather(root / "x.feather")


def binary_column(root: Path, files: list[bytes], pixels: Pixels, labels: Pixels) -> None:
    keys = [f"{i:05d}" for i in range(len(files))]
    pq.write_table(pa.table({"key": keys, "image": files, "label": labels}), root / "x.parquet", row_group_size=77)


def folder(root: Path, files: list[bytes], pixels: Pixels, labels: Pixels) -> None:
    for i, data in enumerate(files):
        path = root / f"{i % 3}" / f"{i:05d}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)


def npy(root: Path, files: list[bytes], pixels: Pixels, labels: Pixels) -> None:
    np.save(root / "x.npy", pixels)


def npz(root: Path, files: list[bytes], pixels: Pixels, labels: Pixels) -> None:
    np.savez_compressed(root / "x.npz", images=pixels, labels=labels)


def csv(root: Path, files: list[bytes], pixels: Pixels, labels: Pixels) -> None:
    """As Kaggle distributes MNIST."""
    rows = np.column_stack([labels, pixels.reshape(len(pixels), -1)])
    names = ",".join(["label", *(f"pixel{at}" for at in range(64))])
    np.savetxt(root / "train.csv", rows, "%d", ",", header=names, comments="")


def idx(root: Path, files: list[bytes], pixels: Pixels, labels: Pixels) -> None:
    """As MNIST is distributed."""
    head = struct.pack(">IIII", 0x803, *pixels.shape)
    (root / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + pixels.tobytes()))
    head = struct.pack(">II", 0x801, len(labels))
    (root / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(head + labels.astype(np.uint8).tobytes()))


WRITERS: dict[str, tuple[Write, str | None]] = {
    "tfrecord": (tfrecord, "label"),
    "tfrecord gzip": (tfrecord_gzip, "label"),
    "webdataset": (webdataset, "cls"),
    "hugging face": (hugging_face, "label"),
    "binary column": (binary_column, "label"),
    "saved to disk": (saved_to_disk, "label"),
    "feather": (feather, "label"),
    "folder": (folder, None),
    "npy": (npy, None),
    "npz": (npz, "label"),
    "idx": (idx, "label"),
    "csv": (csv, "label"),
}


@pytest.mark.filterwarnings("ignore")  # other people's writers, while they are imported
@pytest.mark.parametrize("name", WRITERS)
def test_latents_labels_and_keys(
    tmp_path: Path, model: Model, digit_files: list[bytes], digits: Pixels, labels: Pixels, name: str
) -> None:
    write, label = WRITERS[name]
    source = tmp_path / "in"
    source.mkdir()
    write(source, digit_files[:COUNT], digits[:COUNT], labels[:COUNT])
    summary = run_job("encode", source, model.bundle, tmp_path / "out")
    assert (summary["complete"], summary["total"]["results"]) == (True, COUNT)
    rows = pq.read_table(tmp_path / "out/latents").to_pylist()
    found = {int(row["key"].partition(".")[0]): row for row in rows}
    assert sorted(found) == list(range(COUNT))
    latents = np.array([found[i]["latent"] for i in range(COUNT)], np.float32)
    np.testing.assert_allclose(latents, model.encode(digits[:COUNT]), atol=1e-5)
    if label:
        assert [found[i][label] for i in range(COUNT)] == labels[:COUNT].tolist()
    assert verify(str(tmp_path / "out")).problems == ()


def test_numeric_vectors(tmp_path: Path, digits: Pixels) -> None:
    from lake.core.tensorflow import keras
    from model.export import export
    from model.training.networks import build_dense_autoencoder

    vectors = digits[:COUNT].reshape(COUNT, 64).astype(np.float32) / 100
    keras().utils.set_random_seed(3)
    dense = build_dense_autoencoder(64, 8)
    dense.save(tmp_path / "dense.keras")
    export(tmp_path / "dense.keras", "encoded", str(tmp_path / "bundle"))
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"features": list(vectors), "label": np.arange(COUNT)}), tmp_path / "in/x.parquet")
    summary = run_job("reconstruct", tmp_path / "in", str(tmp_path / "bundle"), tmp_path / "out")
    assert (summary["complete"], summary["total"]["results"]) == (True, COUNT)
    table = pq.read_table(tmp_path / "out/latents")
    encoder = keras().Model(dense.input, dense.get_layer("encoded").output)
    np.testing.assert_allclose(np.stack(table["latent"].to_numpy()), encoder.predict(vectors, verbose=0), atol=1e-5)
    error = ((dense.predict(vectors, verbose=0) - vectors) ** 2).mean(1)
    np.testing.assert_allclose(table["mse"].to_numpy(), error, rtol=1e-4)


def test_columns_to_carry_and_none(tmp_path: Path, model: Model, digit_files: list[bytes]) -> None:
    write_parquet(tmp_path / "in/x.parquet", digit_files[:5], range(5))
    run_job("encode", tmp_path / "in", model.bundle, tmp_path / "none", carry=())
    assert pq.read_schema(tmp_path / "none/latents/x.parquet").names == ["key", "shard", "index", "latent"]
