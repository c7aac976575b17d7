"""Whether a peer's output is what it should be."""

import glob
from collections.abc import Sequence
from pathlib import Path

import common
import numpy as np
import pyarrow.dataset as ds

Entry = tuple[str, int, bytes]  # key, label, image file


def count(output: Path) -> int:
    """Records in an output, Parquet or TFRecord."""
    return len(_examples(_tfrecords(output))) or ds.dataset(output, format="parquet").count_rows()


def check(given: common.Arguments) -> dict[str, float]:
    """Make the checks that the command line asks for.

    Raises:
      ValueError: records are missing or repeated, or a label, latent or pixel differs.
    """
    found = latents(given) if given.verify else {}
    return found | (images(given, given.expected) if given.expected else {})


def latents(given: common.Arguments) -> dict[str, float]:
    """Compare every key and ``given.verify`` latents with the shards and the model itself."""
    records, table = _entries(given.shards()), ds.dataset(given.output, format="parquet").to_table()
    row_of = {key: row for row, key in enumerate(table["key"].to_pylist())}
    _check_keys(given, len(records), len(table), len(row_of))
    chosen = [records[i] for i in np.linspace(0, len(table) - 1, min(given.verify, len(table))).astype(int)]
    got = table.take([row_of[key] for key, *_ in chosen])
    pixels = np.stack([common.decode(image) for *_, image in chosen]) / np.float32(255)
    expected = common.encoder(given.model).predict(pixels, verbose=0)
    difference = float(np.abs(np.array(got["latent"].to_pylist()) - expected).max())
    if difference > 1e-4 * np.abs(expected).max() or got["label"].to_pylist() != [label for _, label, _ in chosen]:
        raise ValueError(f"{given.output}: labels or latents differ from the model's own by up to {difference}")
    return {"verified": len(chosen), "max_difference": difference}


def images(given: common.Arguments, expected: str) -> dict[str, float]:
    """Compare every key, label and image with those of the ``expected`` shards, which may have more."""
    shards = sorted(glob.glob(expected))  # noqa: PTH207  (the pattern may be absolute)
    right = {key: (label, image) for key, label, image in _entries(shards)}
    records, made = _entries(given.shards()), _denoised(given.output)
    _check_keys(given, len(records), len(made), len({key for key, *_ in made}))
    worst = max(_difference(entry, right) for entry in made)
    if worst > 1:
        raise ValueError(f"{given.output}: labels or images differ from those of {expected} by up to {worst}")
    return {"verified": len(made), "max_difference": worst}


def _difference(entry: Entry, right: dict[str, tuple[int, bytes]]) -> float:
    key, label, image = entry
    if key not in right or right[key][0] != label:
        return float("inf")
    return float(np.abs(common.decode(image).astype(int) - common.decode(right[key][1])).max())


def _check_keys(given: common.Arguments, records: int, rows: int, keys: int) -> None:
    if not records == rows == keys:
        raise ValueError(f"{given.output}: {rows} rows, {keys} keys for {records} records")


def _denoised(output: Path) -> list[Entry]:
    if shards := _tfrecords(output):
        return _entries(shards)
    columns = ds.dataset(output, format="parquet").to_table(common.DENOISED.names).to_pydict().values()
    return list(zip(*columns, strict=True))


def _tfrecords(output: Path) -> list[str]:
    return sorted(map(str, output.glob("*.tfrecord")))


def _examples(shards: Sequence[str]) -> list[bytes]:
    import tensorflow as tf

    return [record for shard in shards for record in tf.data.TFRecordDataset(shard).as_numpy_iterator()]


def _entries(shards: Sequence[str]) -> list[Entry]:
    return list(map(_entry, _examples(shards)))


def _entry(record: bytes) -> Entry:
    import tensorflow as tf

    feature = tf.train.Example.FromString(record).features.feature
    label, image = feature[common.LABEL].int64_list.value[0], feature[common.IMAGE].bytes_list.value[0]
    return feature[common.KEY].bytes_list.value[0].decode(), label, image
