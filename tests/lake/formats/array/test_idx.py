"""IDX files, written by the format's published description, as MNIST is distributed."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lake.core.errors import ShardError, UnreadableError
from lake.formats.reader import ColumnSelection
from tests.lake.formats.array.arrays import LABELS, PIXELS, READER, batches, carried_of, idx, pixels_of
from tests.lake.formats.support import shard_of


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        ("t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"),
        ("emnist-letters-test-images-idx3-ubyte", "emnist-letters-test-labels-idx1-ubyte"),
    ],
)
def test_mnist_as_it_is_distributed(tmp_path: Path, packed: bool, images: str, labels: str) -> None:
    pack: Callable[[bytes], bytes] = gzip.compress if packed else bytes
    end = ".gz" if packed else ""
    (tmp_path / (labels + end)).write_bytes(pack(idx(LABELS)))
    shard = shard_of(tmp_path / (images + end), pack(idx(PIXELS)))
    columns = READER.settle(shard, ColumnSelection())
    parts = batches(shard, columns)
    np.testing.assert_array_equal(pixels_of(parts)[..., 0], PIXELS)
    assert pixels_of(parts).dtype == np.uint8
    assert carried_of(parts, "label") == LABELS.tolist()
    assert (READER.rows(shard) is None) == packed
    sliced = batches(shard, columns, 7, 20, 41)
    np.testing.assert_array_equal(pixels_of(sliced)[..., 0], PIXELS[20:41])
    assert carried_of(sliced, "label") == LABELS[20:41].tolist()


def test_packed_images_find_plain_labels(tmp_path: Path) -> None:
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    shard = shard_of(tmp_path / "train-images-idx3-ubyte.gz", gzip.compress(idx(PIXELS)))
    assert carried_of(batches(shard, READER.settle(shard, ColumnSelection())), "label") == LABELS.tolist()


@pytest.mark.parametrize("kind", [">f4", ">f8"])
def test_idx_of_floats(tmp_path: Path, kind: str) -> None:
    shard = shard_of(tmp_path / "a.idx3-ubyte", idx(PIXELS / 8, kind))
    np.testing.assert_array_equal(
        pixels_of(batches(shard, READER.settle(shard, ColumnSelection())))[..., 0], PIXELS / 8
    )


def test_labels_that_are_lost_or_too_few_are_named(tmp_path: Path) -> None:
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(idx(LABELS))
    shard = shard_of(tmp_path / "train-images-idx3-ubyte", idx(PIXELS))
    columns = READER.settle(shard, ColumnSelection())
    path = tmp_path / "train-images-idx3-ubyte"
    labels.write_bytes(idx(LABELS[:49]))
    with pytest.raises(ShardError, match=r"^train-labels-idx1-ubyte: .* not 50 values"):
        batches(shard_of(path), columns)
    labels.write_bytes(idx(LABELS)[:-1])
    with pytest.raises(ShardError, match=r"^train-labels-idx1-ubyte: its header asks for 58 bytes and there are 57"):
        batches(shard_of(path), columns)
    labels.unlink()
    with pytest.raises(ShardError, match="no array 'label' as in the first shard"):
        batches(shard_of(path), columns)
    with pytest.raises(UnreadableError, match="train-images-idx3-ubyte: changed since it was planned"):
        batches(shard, columns)


def test_gzip_of_several_members_is_one_stream(tmp_path: Path) -> None:
    whole = idx(PIXELS)
    shard = shard_of(tmp_path / "a-idx3-ubyte.gz", gzip.compress(whole[:100]) + gzip.compress(whole[100:]))
    np.testing.assert_array_equal(pixels_of(batches(shard, READER.settle(shard, ColumnSelection())))[..., 0], PIXELS)


def test_the_source_of_mnist_is_its_labels(tmp_path: Path) -> None:
    (tmp_path / "t-labels-idx1-ubyte").write_bytes(idx(LABELS))
    shard = shard_of(tmp_path / "t-images-idx3-ubyte", idx(PIXELS))
    parts = batches(shard, READER.settle(shard, ColumnSelection(whole=True, carry=())))
    assert np.concatenate([part.source["label"] for part in parts]).tolist() == LABELS.tolist()
    assert [part.carried for part in parts] == [{}] * 8
