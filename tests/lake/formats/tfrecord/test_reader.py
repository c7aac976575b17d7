"""TFRecord shards as TensorFlow writes them, and every way in which one can be bad."""

import gzip
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lake.core.errors import InputError
from lake.core.records import Reason, Unit
from lake.formats.reader import ColumnSelection
from tests.lake.formats.support import rows, write
from tests.lake.formats.tfrecord.examples import IMAGES, READER, example, read


@pytest.mark.parametrize("size", [1, 7, 256])
@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_records_are_those_that_tensorflow_wrote(
    tmp_path: Path, digit_files: list[bytes], labels: Any, compression: str, size: int
) -> None:
    count = 300
    written = [
        example(**{"image/encoded": digit_files[i], "image/filename": f"d/{i}.png".encode(), "label": int(labels[i])})
        for i in range(count)
    ]
    shard = write(tmp_path / "a.tfrecord", written, compression)
    columns = READER.settle(shard, ColumnSelection())
    parts = read(shard, columns, size)
    assert [len(part) for part in parts] == [size] * (count // size) + [count % size] * (count % size > 0)
    assert columns.carry == pa.schema([("label", pa.int64())])
    assert {part.shard for part in parts} == {"a.tfrecord"}
    assert rows(parts) == [
        {"index": i, "key": f"d/{i}.png", "payload": digit_files[i], "label": int(labels[i]), "fault": None}
        for i in range(count)
    ]


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_a_batch_ends_with_the_record_that_fills_its_room(tmp_path: Path, compression: str) -> None:
    sizes = [10, 10, 200_000, 10, 1_000_000, 0, 120_000, 1, 1, 1]
    written = [example(image=bytes([i]) * size) for i, size in enumerate(sizes)]
    shard = write(tmp_path / "a.tfrecord", written, compression)
    raw = READER.read(Unit(id="u", format="tfrecord", shards=(shard,)), IMAGES, 4, 100_000)
    parts = [batch.records() for batch in raw]
    assert [len(part) for part in parts] == [3, 2, 2, 3]
    assert [row["payload"] for row in rows(parts)] == [bytes([i]) * size for i, size in enumerate(sizes)]
    assert [row["index"] for row in rows(parts)] == list(range(len(sizes)))


def test_whole_records_are_their_examples(tmp_path: Path) -> None:
    written = [example(image=b"%d" % i, other=[i, i]) for i in range(10)]
    shard = write(tmp_path / "a.tfrecord", written)
    parts = read(shard, READER.settle(shard, ColumnSelection(whole=True)), 4)
    assert [e for part in parts for e in part.source] == written
    assert all(part.source is None for part in read(shard, READER.settle(shard, ColumnSelection()), 4))


@pytest.mark.parametrize(
    ("features", "request_", "image", "key", "carried"),
    [
        (
            {"image/encoded": b"i", "image": b"j", "image/class/label": 1},
            {},
            "image/encoded",
            None,
            "image/class/label",
        ),
        ({"image": b"i", "image_raw": b"j", "key": b"k", "labels": [1.0]}, {}, "image", "key", "labels"),
        ({"image_raw": b"i", "filename": b"k", "id": b"l"}, {}, "image_raw", "filename", ""),
        ({"image/encoded": b"i", "image/filename": b"k", "image/key": b"l"}, {}, "image/encoded", "image/filename", ""),
        (
            {"image/encoded": b"i", "image/class/text": b"cat", "label": 1},
            {},
            "image/encoded",
            None,
            "image/class/text label",
        ),
        ({"a": b"i", "b": b"k", "label": 1, "c": 2}, {"image": "a", "key": "b", "carry": ["c"]}, "a", "b", "c"),
        ({"image": b"i", "label": 1}, {"carry": ()}, "image", None, ""),
        ({"features": [1.0], "y": [2.0]}, {"numeric": True}, "features", None, ""),
        ({"only": [1.0, 2.0], "label": 3}, {"numeric": True}, "only", None, "label"),
        ({"x": [1, 2], "y": [1.0]}, {"numeric": True}, "x", None, ""),
    ],
)
def test_features_are_found_by_their_usual_names(
    tmp_path: Path, features: dict[str, Any], request_: dict[str, Any], image: str, key: str | None, carried: str
) -> None:
    shard = write(tmp_path / "a.tfrecord", [example(**features)])
    columns = READER.settle(shard, ColumnSelection(**request_))
    assert (columns.image, columns.key, columns.carry.names) == (image, key, carried.split())


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (
            {"image": "imge"},
            r"no feature 'imge', there are image \(bytes\), label \(int64\), v \(float\).*--image",
        ),
        ({"image": "label"}, "'label' holds int64 values, and --image needs bytes"),
        ({"key": "label"}, "'label' holds int64 values, and --key needs bytes"),
        ({"carry": ["x"]}, "no feature 'x'.*--carry"),
        ({"image": "image", "numeric": True}, "'image' holds bytes values, and --image needs float or int64"),
    ],
)
def test_a_wrong_name_is_refused_with_the_right_ones(tmp_path: Path, request_: dict[str, Any], words: str) -> None:
    shard = write(tmp_path / "a.tfrecord", [example(image=b"i", label=1, v=[1.0, 2.0])])
    with pytest.raises(InputError, match=words):
        READER.settle(shard, ColumnSelection(**request_))


@pytest.mark.parametrize("records", [[], [b"\xff\xff"], [b""]])
def test_a_shard_without_an_example_settles_nothing(tmp_path: Path, records: list[bytes]) -> None:
    shard = write(tmp_path / "a.tfrecord", records)
    with pytest.raises(InputError, match=r"a\.tfrecord: no tf\.train\.Example"):
        READER.settle(shard, ColumnSelection())


def test_an_unnamed_image_is_asked_for(tmp_path: Path) -> None:
    shard = write(tmp_path / "a.tfrecord", [example(picture=b"i")])
    with pytest.raises(InputError, match=r"picture \(bytes\); set --image"):
        READER.settle(shard, ColumnSelection())


def test_settling_looks_past_bad_records_and_does_not_load_tensorflow(tmp_path: Path) -> None:
    shard = write(tmp_path / "a.tfrecord", [b"\xff", example(image=b"i")])
    code = (
        "import sys; from lake.formats import FORMATS; from lake.formats.reader import ColumnSelection\n"
        "from lake.core.records import Shard\n"
        f"shard = Shard(uri={shard.uri!r}, path='a', size=1, identity='')\n"
        "columns = FORMATS['tfrecord'].reader.settle(shard, ColumnSelection())\n"
        "assert columns.image == 'image' and 'tensorflow' not in sys.modules and 'apache_beam' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_carried_columns_have_the_types_of_the_first_records(tmp_path: Path) -> None:
    written = [
        example(image=b"i", int=1, float=0.5, text="é".encode(), raw=b"\xff\x00", list=[1, 2], texts=[b"a", b"b"]),
        example(image=b"i", int=-2, text=b"ok", list=[3], texts=[b"c"]),
        example(image=b"i", float=2.5, raw=b"plain"),
        *[example(image=b"i")] * 14,
        example(image=b"i", text=b"not \xff text", texts=[b"\xfe"]),
    ]
    shard = write(tmp_path / "a.tfrecord", written)
    names = ["int", "float", "text", "raw", "list", "texts"]
    columns = READER.settle(shard, ColumnSelection(carry=names))
    types = [pa.int64(), pa.float32(), pa.string(), pa.binary(), pa.list_(pa.int64()), pa.list_(pa.string())]
    assert columns.carry == pa.schema(list(zip(names, types, strict=True)))
    (part,) = read(shard, columns)
    assert [column.type for column in part.carried.values()] == types
    found = [[column[i].as_py() for column in part.carried.values()] for i in (0, 1, 2, 17)]
    assert found == [
        [1, 0.5, "é", b"\xff\x00", [1, 2], ["a", "b"]],
        [-2, None, "ok", None, [3], ["c"]],
        [None, 2.5, None, b"plain", None, None],
        [None, None, r"not \xff text", None, None, [r"\xfe"]],
    ]
    assert not part.faults


@pytest.mark.parametrize("size", [1, 3, 256])
@pytest.mark.parametrize("kind", [float, int])
def test_vectors(tmp_path: Path, kind: type, size: int) -> None:
    numbers = np.arange(30).reshape(10, 3)
    written = [example(x=[kind(v) for v in row], label=1) for row in numbers]
    written[4:6] = [example(x=[kind(1)]), example(label=2)]
    shard = write(tmp_path / "a.tfrecord", written)
    columns = READER.settle(shard, ColumnSelection(numeric=True))
    assert columns.length == 3
    parts = read(shard, columns, size)
    assert {part.payload.dtype for part in parts} == {np.dtype(np.float32)}
    found = rows(parts)
    faults = {row["index"]: (row["fault"].reason, row["fault"].detail) for row in found if row["fault"]}
    assert faults == {
        4: (Reason.WRONG_LENGTH, "1 values in feature 'x', not 3"),
        5: (Reason.MISSING_IMAGE, "no value in feature 'x'"),
    }
    assert [row["payload"] for row in found if not row["fault"]] == np.delete(numbers, (4, 5), 0).tolist()


def test_vectors_of_another_length_than_the_models(tmp_path: Path) -> None:
    shard = write(tmp_path / "a.tfrecord", [example(x=[1.0, 2.0]), example(x=[1.0, 2.0, 3.0])])
    columns = READER.settle(shard, ColumnSelection(numeric=True, length=3))
    assert [row["fault"] and row["fault"].reason for row in rows(read(shard, columns))] == [Reason.WRONG_LENGTH, None]
    with pytest.raises(InputError, match="'x' holds 2 numbers, and the model takes vectors of 4"):
        READER.settle(shard, ColumnSelection(numeric=True, length=4))


HEAD = bytes.fromhex("1c00000000000000c8c1951d")  # of 28 bytes


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.tfrecord", b"", True),
        ("a.TFRecords", b"", True),
        ("a.tfrec", b"", True),
        ("a.tfrecord.gz", b"", True),
        ("mnist-train.tfrecord-00000-of-00010", b"", True),
        ("mnist-train.tfrecord-00000-of-00010.gz", b"", True),
        ("a.tfrecord.txt", b"", False),
        ("tfrecord", b"", False),
        ("part-0", HEAD + b"anything", True),
        ("part-0", gzip.compress(HEAD + b"anything", mtime=0), True),
        ("part-0", gzip.compress(HEAD + bytes(1 << 20), mtime=0)[:200], True),
        ("part-0", b"", False),
        ("part-0", bytes(1024), False),
        ("part-0", gzip.compress(b"something else", mtime=0)[:9], False),
        ("part-0", b"\x1f\x8b\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", False),
        ("part-0", b"PAR1" + zlib.compress(bytes(100)), False),
    ],
)
def test_recognises(name: str, head: bytes, expected: bool) -> None:
    assert READER.recognises(name, head) is expected


def test_features_that_are_called_after_their_formats_are_refused_until_one_is_chosen(tmp_path: Path) -> None:
    shard = write(tmp_path / "a.tfrecord", [example(png=b"mask", jpeg=b"photo")])
    with pytest.raises(
        InputError, match=r"a\.tfrecord: there are several images, jpeg and png; choose one with --image"
    ):
        READER.settle(shard, ColumnSelection())
    assert READER.settle(shard, ColumnSelection(image="png")).image == "png"
