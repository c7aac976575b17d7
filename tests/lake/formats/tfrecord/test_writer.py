"""TFRecord shards written again and anew, read back by TensorFlow."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lake.core.errors import ShardError
from lake.core.records import Reason, Shard, Unit
from lake.formats import FORMATS
from lake.formats.reader import ColumnSelection
from lake.formats.tfrecord.framing import framed
from lake.images.types import ImageFile
from tests.conftest import png, write_parquet
from tests.lake.formats.rewriting import create_in, feed, rewrite
from tests.lake.formats.support import shard_of, write
from tests.lake.formats.tfrecord.examples import example
from tests.lake.formats.tfrecord.rewriting import made, parsed, values

READER = FORMATS["tfrecord"].reader


def again(tmp_path: Path, shard: Shard, drop: tuple[int, ...] = (), size: int = 64, **request: Any) -> list[Any]:
    """The Examples of the shard that was written again, parsed by TensorFlow."""
    columns = READER.settle(shard, ColumnSelection(whole=True, **request))
    output = rewrite("tfrecord", shard, columns, tmp_path / "out", made, drop, size)
    found = parsed(tmp_path / "out" / shard.path)
    assert output.rows == len(found)
    return found


def every_kind(i: int) -> bytes:
    return example(
        **{
            "image/encoded": b"old %d" % i,
            "image/filename": b"d/%d.jpg" % i,
            "image/class/label": i,
            "image/class/text": ["é", "ß"][i % 2].encode(),
            "boxes": [0.25, float("nan"), -0.0, 1e-40],
            "ids": [-1, 1 << 62, 0],
            "none": [],
            "raw": [b"\x00\xff", b""],
        }
    )


@pytest.mark.parametrize("compression", ["", "GZIP"])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_everything_but_the_image_is_what_it_was(tmp_path: Path, compression: str, size: int) -> None:
    import tensorflow as tf

    written, drop = [every_kind(i) for i in range(40)], (0, 13, 14, 39)
    shard = write(tmp_path / "a.tfrecord", written, compression)
    kept = [i for i in range(40) if i not in drop]
    found = again(tmp_path, shard, drop, size)
    expected = [values(tf.train.Example.FromString(written[i])) for i in kept]
    assert [values(m) for m in found] == [e | {"image/encoded": ("bytes_list", [b"new %d" % i])}
                                          for e, i in zip(expected, kept, strict=True)]  # fmt: skip
    packed = (tmp_path / "out/a.tfrecord").read_bytes().startswith(b"\x1f\x8b")
    assert packed == bool(compression)


def test_tf_data_reads_images_and_keys(tmp_path: Path, digits: Any, digit_files: list[bytes]) -> None:
    import tensorflow as tf

    written = [
        example(**{"image/encoded": digit_files[i], "image/filename": b"%d.png" % i, "label": i}) for i in range(50)
    ]
    shard = write(tmp_path / "a.tfrecord", written)
    columns = READER.settle(shard, ColumnSelection(whole=True))
    inverted = 255 - digits
    rewrite("tfrecord", shard, columns, tmp_path / "out", lambda i: ImageFile(data=png(inverted[i]), suffix="png"))
    features = {name: tf.io.FixedLenFeature([], tf.string) for name in ("image/encoded", "image/filename")}
    dataset = tf.data.TFRecordDataset(str(tmp_path / "out/a.tfrecord")).map(
        lambda record: tf.io.parse_single_example(record, features)
    )
    for i, row in enumerate(dataset):
        assert row["image/filename"].numpy() == b"%d.png" % i
        assert np.array_equal(tf.io.decode_png(row["image/encoded"])[..., 0], inverted[i])
    assert i == 49


def test_unknown_fields_stay(tmp_path: Path) -> None:
    from google.protobuf.unknown_fields import UnknownFieldSet

    shard = write(tmp_path / "a.tfrecord", [example(image=b"i", label=1) + b"\x7a\x03abc"])  # field 15, 3 bytes
    (message,) = again(tmp_path, shard)
    assert [(field.field_number, field.data) for field in UnknownFieldSet(message)] == [(15, b"abc")]


@pytest.mark.parametrize(
    ("image", "name", "before", "after"),
    [
        ("image/encoded", "image/format", b"JPEG", b"PNG"),
        ("image/encoded", "image/format", b"jpg", b"png"),
        ("image/encoded", "image/format", b"Png", b"Png"),
        ("image/encoded", "image/format", b"raw", b"raw"),
        ("image/encoded", "format", b"jpeg", b"jpeg"),
        ("image", "format", b"jpeg", b"png"),
        ("image", "image/format", b"webp", b"png"),
        ("image/encoded", "image/format", 3, 3),
        ("image/encoded", "image/format", [b"jpeg", b"jpeg"], [b"jpeg", b"jpeg"]),
    ],
)
def test_a_feature_that_names_the_format_follows(
    tmp_path: Path, image: str, name: str, before: Any, after: Any
) -> None:
    shard = write(tmp_path / "a.tfrecord", [example(**{image: b"old", name: before})])
    (message,) = again(tmp_path, shard)
    assert message.features.feature[name] == parsed_one(example(**{name: after})).features.feature[name]


def parsed_one(record: bytes) -> Any:
    import tensorflow as tf

    return tf.train.Example.FromString(record)


@pytest.mark.parametrize("kind", [float, int])
def test_vectors_give_way_to_their_image(tmp_path: Path, kind: type) -> None:
    written = [example(x=[kind(i), kind(2)], label=i, key=b"k%d" % i) for i in range(3)]
    written.append(example(**{"x": [kind(3), kind(2)], "image/encoded": b"mine"}))
    written.append(example(x=[kind(4)]))
    found = again(tmp_path, write(tmp_path / "a.tfrecord", written), numeric=True, length=2)
    assert [values(message) for message in found] == [
        *(
            {
                "image/encoded": ("bytes_list", [b"new %d" % i]),
                "label": ("int64_list", [i]),
                "key": ("bytes_list", [b"k%d" % i]),
            }
            for i in range(3)
        ),
        {"image/encoded": ("bytes_list", [b"mine"]), "other_image/encoded": ("bytes_list", [b"new 3"])},
    ]


def test_what_cannot_be_written_again_is_a_fault(tmp_path: Path) -> None:
    """TensorFlow's op accepts the name of a feature that is not UTF-8, and protobuf does not."""
    bad = example(image=b"i", aaaa=1).replace(b"aaaa", b"aa\xff\xfe")
    shard = write(tmp_path / "a.tfrecord", [example(image=b"i"), bad, example(image=b"j")])
    columns = READER.settle(shard, ColumnSelection(whole=True))
    (batch,) = [raw.records() for raw in READER.read(Unit(id="u", format="tfrecord", shards=(shard,)), columns, 8)]
    assert {at: (fault.reason, fault.data) for at, fault in batch.faults.items()} == {1: (Reason.INVALID_RECORD, bad)}
    assert len(again(tmp_path, shard)) == 2


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_bytes_do_not_tell_where_batches_ended(tmp_path: Path, compression: str) -> None:
    shard = write(tmp_path / "a.tfrecord", [every_kind(i) for i in range(300)], compression)
    files = set()
    for size in (1, 7, 256):
        again(tmp_path, shard, (5,), size)
        files.add((tmp_path / "out/a.tfrecord").read_bytes())
    assert len(files) == 1


@pytest.mark.parametrize("packed", [False, True])
def test_a_shard_without_records_stays_one(tmp_path: Path, packed: bool) -> None:
    some = write(tmp_path / "a.tfrecord", [example(image=b"i")])
    columns = READER.settle(some, ColumnSelection(whole=True))
    (tmp_path / "b.tfrecord").write_bytes(gzip.compress(b"") if packed else b"")
    empty = shard_of(tmp_path / "b.tfrecord")
    assert rewrite("tfrecord", empty, columns, tmp_path / "out", made).rows == 0
    data = (tmp_path / "out/b.tfrecord").read_bytes()
    assert (gzip.decompress(data) if packed else data) == b""


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_an_aborted_shard_leaves_nothing(tmp_path: Path, compression: str) -> None:
    shard = write(tmp_path / "a.tfrecord", [every_kind(i) for i in range(10)], compression)
    columns = READER.settle(shard, ColumnSelection(whole=True))
    unit = Unit(id="a", format="tfrecord", shards=(shard,))
    format = FORMATS["tfrecord"].writer(columns, True, lambda unit: {})
    writer = format.begin(unit, create_in(tmp_path / "out"))
    writer.abort()
    feed(writer, format, unit, columns, made)
    assert len(list((tmp_path / "out").iterdir())) == 1
    writer.abort()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_shard_that_is_gone_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    shard = write(tmp_path / "a.tfrecord", [example(image=b"i")])
    format = FORMATS["tfrecord"].writer(READER.settle(shard, ColumnSelection(whole=True)), True, lambda unit: {})
    writer = format.begin(Unit(id="a", format="tfrecord", shards=(shard,)), create_in(tmp_path / "out"))
    (tmp_path / "a.tfrecord").unlink()
    with pytest.raises(ShardError, match=r"a\.tfrecord: "):
        writer.publish()
    assert not (tmp_path / "out").exists()


def test_anew(tmp_path: Path) -> None:
    images = [b"x"] * 5
    write_parquet(tmp_path / "in/a.parquet", images, [3, 1, 4, 1, 5])
    shard = shard_of(tmp_path / "in/a.parquet")
    columns = FORMATS["parquet"].reader.settle(shard, ColumnSelection())
    suffixes = ["png", "jpg", "webp", "tif", "png"]
    output = rewrite(
        "parquet", shard, columns, tmp_path / "out",
        lambda i: ImageFile(data=b"new %d" % i, suffix=suffixes[i]), (2,), 2, to="tfrecord",
    )  # fmt: skip
    assert (output.name, output.rows) == ("a.tfrecord", 4)
    assert [values(message) for message in parsed(tmp_path / "out/a.tfrecord")] == [
        {
            "image/encoded": ("bytes_list", [b"new %d" % i]),
            "image/format": ("bytes_list", [word]),
            "image/filename": ("bytes_list", [b"%05d.png" % i]),
            "label": ("int64_list", [label]),
        }
        for i, label, word in [(0, 3, b"png"), (1, 1, b"jpeg"), (3, 1, b"tiff"), (4, 5, b"png")]
    ]


def test_framing_is_tensorflows(tmp_path: Path) -> None:
    records = [b"", b"a", bytes(1000), b"\xff" * 70_000, *(b"%d" % i for i in range(100))]
    shard = write(tmp_path / "a.tfrecord", records)
    assert framed(records) == Path(shard.uri).read_bytes()
    assert framed([]) == b""
