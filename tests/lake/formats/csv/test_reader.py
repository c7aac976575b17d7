"""CSV of numbers: as Kaggle's MNIST, with and without a header, of vectors, compressed, and damaged."""

import gzip
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lake.core.errors import InputError, ShardError
from lake.core.records import Fault, Reason, Records, Unit
from lake.formats import FORMATS
from lake.formats.reader import ColumnSelection
from lake.images.decoder import Decoder
from lake.images.types import PixelLayout, Target
from lake.inputs.discover import find_shards
from tests.conftest import Pixels
from tests.lake.formats.support import shard_of

READER = FORMATS["csv"].reader
DICE = np.random.default_rng(0)
SHAPE = (4, 3, 1)
IMAGES = DICE.integers(0, 256, (30, *SHAPE), np.uint8)
LABELS = np.arange(30) % 10


def lines(images: Pixels, labels: Any = LABELS, header: bool = True, end: str = "\n", mark: str = ",") -> str:
    flat = images.reshape(len(images), -1)
    names = [mark.join(["label", *(f"pixel{at}" for at in range(flat.shape[1]))])] if header else []
    rows = [mark.join([str(label), *map(str, row)]) for label, row in zip(labels, flat.tolist(), strict=False)]
    return end.join([*names, *rows]) + end


def read(path: Path, data: bytes, size: int = 7, **selection: Any) -> list[Records]:
    shard = shard_of(path, data)
    columns = READER.settle(shard, ColumnSelection(**selection))
    return [raw.records() for raw in READER.read(Unit(id="u", format="csv", shards=(shard,)), columns, size)]


def pixels_of(parts: list[Records], shape: tuple[int, ...] = SHAPE) -> Pixels:
    return np.concatenate([g.pixels for part in parts for g in Decoder(Target(shape=shape)).decode(part).groups])


def faults_of(parts: list[Records]) -> dict[int, Fault]:
    return {int(part.index[at]): fault for part in parts for at, fault in part.faults.items()}


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize(("end", "mark"), [("\n", ","), ("\r\n", ";"), ("\n", "\t")])
@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_images_and_labels(tmp_path: Path, header: bool, end: str, mark: str, packed: Any) -> None:
    data = packed(lines(IMAGES, header=header, end=end, mark=mark).encode())
    for size in (1, 7, 100):
        parts = read(tmp_path / "a.csv", data, size, shape=SHAPE)
        np.testing.assert_array_equal(pixels_of(parts), IMAGES)
        assert [label for part in parts for label in part.carried["label"].to_pylist()] == LABELS.tolist()
        assert [key for part in parts for key in part.key.to_pylist()] == [str(at) for at in range(30)]


def test_what_pandas_writes(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame(DICE.random((9, 12)).astype("f4"), columns=[f"pixel{at}" for at in range(12)])
    frame.insert(5, "label", [f"a, {at}" for at in range(9)])
    frame.to_csv(tmp_path / "a.csv", index=False)
    parts = read(tmp_path / "a.csv", (tmp_path / "a.csv").read_bytes(), shape=SHAPE)
    truth = frame.drop(columns="label").to_numpy()
    np.testing.assert_array_equal(pixels_of(parts).reshape(9, 12), truth)
    assert [label for part in parts for label in part.carried["label"].to_pylist()] == frame["label"].tolist()


def test_pixels_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    first, *rows = [line.split(",") for line in lines(IMAGES).splitlines()]
    for place in ([0, *sorted(range(1, 13), key=lambda at: first[at])], DICE.permutation(13)):
        text = "\n".join(",".join(row[at] for at in place) for row in [first, *rows])
        parts = read(tmp_path / "a.csv", text.encode(), shape=SHAPE)
        np.testing.assert_array_equal(pixels_of(parts), IMAGES)
        assert [label for part in parts for label in part.carried["label"].to_pylist()] == LABELS.tolist()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("pixel11", "pixel10", "two columns have the name 'pixel10'"),
        ("pixel11", "pixel12", "not numbered from 0 or 1 on, each once"),
        ("pixel11", "pixel_1", "not numbered from 0 or 1 on, each once"),
        ("pixel0,", "pixel12,", None),
    ],
)
def test_columns_that_nobody_can_tell_apart_are_refused(tmp_path: Path, old: str, new: str, says: str | None) -> None:
    data = lines(IMAGES).encode()
    shard = shard_of(tmp_path / "a.csv", data)
    columns = READER.settle(shard, ColumnSelection(shape=SHAPE))
    changed = data.replace(old.encode(), new.encode(), 1)
    later = Unit(id="u", format="csv", shards=(shard_of(tmp_path / "b.csv", changed),))
    if says is None:  # counted from 1
        np.testing.assert_array_equal(
            pixels_of([raw.records() for raw in READER.read(later, columns, 7)]),
            np.roll(IMAGES.reshape(30, -1), -1, 1).reshape(IMAGES.shape),
        )
        return
    with pytest.raises(InputError, match=says):
        READER.settle(later.shards[0], ColumnSelection(shape=SHAPE))
    with pytest.raises(ShardError, match=says):
        list(READER.read(later, columns, 7))


def test_vectors_of_any_names(tmp_path: Path) -> None:
    vectors = DICE.random((8, 5))
    text = "id,a,b,c,d,e,target\n" + "\n".join(
        ",".join([f"k{at}", *map(repr, map(float, row)), str(at / 2)]) for at, row in enumerate(vectors)
    )
    parts = read(tmp_path / "a.csv", text.encode(), numeric=True, length=5)
    np.testing.assert_array_equal(np.concatenate([part.payload for part in parts]), vectors.astype("f4"))
    assert [key for part in parts for key in part.key.to_pylist()] == [f"k{at}" for at in range(8)]
    assert [value for part in parts for value in part.carried["target"].to_pylist()] == [at / 2 for at in range(8)]


@pytest.mark.parametrize(
    ("header", "same"),
    [
        ("a,b,c,d,label", True),
        ("", True),
        ("a,b,c,label,d", True),
        ("a,c,b,d,label", False),
        ("a,b,c,e,label", False),
    ],
)
def test_vectors_of_a_later_shard_have_the_same_columns(tmp_path: Path, header: str, same: bool) -> None:
    rows = "1,2,3,4,5\n5,6,7,8,9\n"
    first = shard_of(tmp_path / "a.csv", f"a,b,c,d,label\n{rows}".encode())
    columns = READER.settle(first, ColumnSelection(numeric=True, length=4, carry=()))
    later = shard_of(tmp_path / "b.csv", f"{header}\n{rows}".encode())
    reading = READER.read(Unit(id="u", format="csv", shards=(later,)), columns, 7)
    if not same:
        with pytest.raises(ShardError, match=r"b\.csv: its columns of numbers have other names or another order"):
            list(reading)
        return
    (part,) = [raw.records() for raw in reading]
    label = header.split(",").index("label") if header else 0  # without a header the first column is the label
    np.testing.assert_array_equal(part.payload, np.delete([[1, 2, 3, 4, 5], [5, 6, 7, 8, 9]], label, 1))


def test_channels_first_and_a_model_of_any_size(tmp_path: Path) -> None:
    images = DICE.integers(0, 256, (5, 4, 3, 3), np.uint8)
    data = lines(images.transpose(0, 3, 1, 2)).encode()
    parts = read(tmp_path / "a.csv", data, image_shape=(4, 3, 3), layout=PixelLayout.CHW)
    np.testing.assert_array_equal(pixels_of(parts, (4, 3, 3)), images)
    with pytest.raises(InputError, match="images of any size; give --image-shape"):
        read(tmp_path / "a.csv", data)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_one_bad_line_costs_one_record(tmp_path: Path, size: int) -> None:
    text = lines(IMAGES).splitlines()
    text[20] = text[20].rpartition(",")[0]
    text[21] += ",7"
    text[22] = text[22].replace(",", ",x", 1)
    text[23] = text[23].rpartition(",")[0] + ","
    text[24] = text[24].rpartition(",")[0] + ",256"
    text[25] = text[25].rpartition(",")[0] + ",0.5"
    text[26] = "cat" + text[26][1:]
    text[27] = '"' + text[27]
    text[28] += "," + "0" * 500
    text.insert(10, "")
    parts = read(tmp_path / "a.csv", "\n".join(text).encode(), size, shape=SHAPE, max_record_bytes=400)
    found = faults_of(parts)
    assert {at: fault.reason for at, fault in found.items()} == {
        **dict.fromkeys((19, 20, 21, 22, 24, 25, 26), Reason.INVALID_RECORD),
        23: Reason.WRONG_TYPE,
        27: Reason.RECORD_TOO_LARGE,
    }
    assert found[19].detail.startswith("line 22: ")
    assert found[19].data == text[21].encode()
    good = [at for at in range(30) if at not in found]
    np.testing.assert_array_equal(pixels_of(parts), IMAGES[good])


def test_a_damaged_gzip_stream_gives_the_lines_before(tmp_path: Path) -> None:
    data = gzip.compress(lines(DICE.integers(0, 256, (3000, *SHAPE), np.uint8), range(3000)).encode())
    shard = shard_of(tmp_path / "a.csv.gz", data)
    columns = READER.settle(shard, ColumnSelection(shape=SHAPE))
    shard, found = shard_of(tmp_path / "a.csv.gz", data[:-2000]), list[Records]()
    with pytest.raises(ShardError, match="the gzip stream is truncated"):
        found.extend(raw.records() for raw in READER.read(Unit(id="u", format="csv", shards=(shard,)), columns, 100))
    whole = zlib.decompressobj(31).decompress(data[:-2000])
    assert sum(map(len, found)) == whole.count(b"\n") - 1  # the header


def test_a_line_without_end_fills_no_memory(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a.csv", lines(IMAGES[:2]).encode() + b"1," * (8 << 20))
    columns = READER.settle(shard, ColumnSelection(shape=SHAPE, max_record_bytes=1000))
    tracemalloc.start()
    try:
        parts = [raw.records() for raw in READER.read(Unit(id="u", format="csv", shards=(shard,)), columns, 7)]
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert [fault.reason for fault in faults_of(parts).values()] == [Reason.RECORD_TOO_LARGE]


def test_tables_beside_images_are_no_shards(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"...")
    (tmp_path / "train.csv").write_text(lines(IMAGES))
    assert find_shards([str(tmp_path)]).format == "folder"
    assert find_shards([str(tmp_path / "train.csv")]).format == "csv"
    (tmp_path / "names.csv").write_text("name,age\nAnn,7\n")
    with pytest.raises(InputError, match="of no known format"):
        find_shards([str(tmp_path / "names.csv")])


@pytest.mark.parametrize(
    ("selection", "says"),
    [
        ({"shape": (5, 5, 1)}, "12 numbers in a line, and the model takes 25"),
        ({"shape": SHAPE, "carry": ("name",)}, "no column 'name'; set --carry to one of: label, pixel0"),
        ({"shape": SHAPE, "key": "name"}, "no column 'name'; set --key to one of"),
        ({"shape": SHAPE, "image": "x"}, "leave out --image"),
    ],
)
def test_what_is_refused_at_launch(tmp_path: Path, selection: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        read(tmp_path / "a.csv", lines(IMAGES).encode(), **selection)
