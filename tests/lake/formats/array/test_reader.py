"""Arrays written by NumPy, and IDX files written by its published format, read back and compared."""

import gzip
import random
import struct
import tracemalloc
import zipfile
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lake.core.errors import InputError, ShardError
from lake.core.records import Array, Shard, Unit
from lake.formats.reader import ColumnSelection, RecordSchema
from tests.conftest import long_forms
from tests.lake.formats.array.arrays import LABELS, PIXELS, READER, batches, idx, npy, npz, pixels_of
from tests.lake.formats.support import shard_of


@pytest.mark.parametrize("size", [300, 8192, 50_000])
@pytest.mark.parametrize("order", ["C", "F"])
def test_parts_of_plain_arrays_make_the_whole(tmp_path: Path, size: int, order: Any) -> None:
    array = np.random.default_rng(2).integers(0, 256, (20_000, 28, 28), np.uint8).astype(np.uint8, order=order)
    shard = shard_of(tmp_path / "a.npy", npy(array))
    columns, rows = READER.settle(shard, ColumnSelection()), READER.rows(shard)
    assert rows == (8192, 8192, 3616)  # 8 MiB at most
    edges = pairwise([0, *accumulate(rows)])
    parts = [part for start, stop in edges for part in batches(shard, columns, size, start, stop)]
    np.testing.assert_array_equal(pixels_of(parts)[..., 0], array)
    assert np.array_equal(np.concatenate([part.index for part in parts]), np.arange(20_000))
    with pytest.raises(ShardError, match="no rows 80 to 20001"):
        batches(shard, columns, size, 80, 20_001)


class Bomb:
    """Fails the test if it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.array([[Bomb(), Bomb()]], object), "holds |O, not numbers"),
        (np.zeros((3, 2), complex), "holds <c16, not numbers"),
        (np.zeros((3, 2), "U3"), "holds <U3, not numbers"),
        (np.zeros((3, 2), [("a", "f4")]), "holds [('a', '<f4')], not numbers"),
        (np.zeros((3, 2), "M8[s]"), "holds <M8[s], not numbers"),
        (np.zeros(3), "has the shape (3,), not [n, d]"),
        (np.zeros(()), "has the shape (), not [n, d]"),
        (np.zeros((1, 2, 3, 4, 5)), "has the shape (1, 2, 3, 4, 5), not [n, d]"),
        (np.zeros((3, 0)), "has records of 0 bytes, not 1 to 64"),
        (np.zeros((3, 9)), "has records of 72 bytes, not 1 to 64"),
        (np.zeros((3, 4)), "has records of shape (4,), and the model takes vectors of 5 numbers"),
    ],
    ids=lambda value: None if isinstance(value, np.ndarray) else value,
)
@pytest.mark.parametrize("packed", [True, False])
def test_an_array_without_records_is_refused(tmp_path: Path, array: Array, says: str, packed: bool) -> None:
    shard = shard_of(tmp_path / "a.npy", npz(image=array) if packed else npy(array))
    with pytest.raises(InputError) as caught:
        READER.settle(shard, ColumnSelection(length=5, max_record_bytes=64))
    assert says in str(caught.value)
    assert str(caught.value).startswith("a.npy: array 'image' ")


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (ColumnSelection(), "2 arrays have rows and none has a usual name; name one with --image. There are: a, b, c"),
        (ColumnSelection(image="z"), "no array 'z'; set --image to one of: a, b, c"),
        (ColumnSelection(image="a", key="z"), "no array 'z'; set --key to one of: a, b, c"),
        (ColumnSelection(image="a", key="b"), "array 'b' is (50, 4, 3) of |u1, not one key for each record"),
        (ColumnSelection(image="a", carry=("z",)), "no array 'z'; set --carry to one of: a, b, c"),
        (ColumnSelection(image="a", carry=("b",)), "array 'b' is no column of 50 values"),
    ],
    ids=str,
)
def test_a_wrong_request_is_refused_with_what_there_is(tmp_path: Path, request_: ColumnSelection, says: str) -> None:
    shard = shard_of(tmp_path / "a.npz", npz(a=PIXELS, b=PIXELS, c=LABELS[:3]))
    with pytest.raises(InputError) as caught:
        READER.settle(shard, request_)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (npz(z=PIXELS), "no array 'x' as in the first shard; there are: z"),
        (npz(x=PIXELS), "no array 'label' as in the first shard; there are: x"),
        (npz(x=PIXELS, y=LABELS / 2), "column 'label' is (50,) of <f8, not 50 values of int64"),
        (npz(x=PIXELS, y=LABELS[1:]), "column 'label' is (49,) of <i8, not 50 values of int64"),
        (npz(x=PIXELS * 1j, y=LABELS), "array 'x' holds <c16, not numbers"),
    ],
    ids=["image", "label", "type", "length", "complex"],
)
def test_a_shard_unlike_the_first_is_named(tmp_path: Path, other: bytes, says: str) -> None:
    columns = READER.settle(shard_of(tmp_path / "a.npz", npz(x=PIXELS, y=LABELS)), ColumnSelection())
    with pytest.raises(ShardError) as caught:
        batches(shard_of(tmp_path / "b.npz", other), columns)
    assert says in str(caught.value)
    assert str(caught.value).startswith("b.npz: ")


SAMPLES = {
    "a.npy": npy(PIXELS),
    "f.npy": npy(np.asfortranarray(PIXELS)),
    "a.npz": npz(x=PIXELS, y=LABELS),
    "f.npz": npz(x=np.asfortranarray(PIXELS), y=LABELS),
    "s.npz": npz(False, x=PIXELS, y=LABELS),
    "images-idx3-ubyte": idx(PIXELS),
    "images-idx3-ubyte.gz": gzip.compress(idx(PIXELS)),
}


def outcome(shard: Shard, columns: RecordSchema) -> tuple[list[Any], list[Any]] | None:
    """Pixels and labels, or None where the damage is reported."""
    try:
        parts = batches(shard, columns, 16)
    except ShardError as error:
        assert str(error).startswith(shard.path)
        return None
    return [row for part in parts for row in part.payload.tolist()], [
        value for part in parts for column in part.carried.values() for value in column.to_pylist()
    ]


@pytest.mark.parametrize("name", SAMPLES)
def test_truncation_and_trailing_bytes_are_reported(tmp_path: Path, name: str) -> None:
    whole = SAMPLES[name]
    columns = READER.settle(shard_of(tmp_path / name, whole), ColumnSelection())
    for length in range(0, len(whole), 3):
        assert outcome(shard_of(tmp_path / name, whole[:length]), columns) is None, length
    zipped = name.endswith(".npz")  # a zip archive may have a comment, here one that does not begin
    for extra in () if zipped else (b"x", b"\n" * 100):
        assert outcome(shard_of(tmp_path / name, whole + extra), columns) is None


@pytest.mark.parametrize("name", [name for name in SAMPLES if name.endswith("z")])
def test_a_flipped_bit_never_changes_packed_records(tmp_path: Path, name: str) -> None:
    whole = SAMPLES[name]
    columns = READER.settle(shard_of(tmp_path / name, whole), ColumnSelection())
    truth = outcome(shard_of(tmp_path / name, whole), columns)
    assert truth is not None
    dice = random.Random(3)
    for at in range(0, len(whole), 2):
        data = whole[:at] + bytes([whole[at] ^ 1 << dice.randrange(8)]) + whole[at + 1 :]
        assert outcome(shard_of(tmp_path / name, data), columns) in (None, truth), at


def test_a_shard_that_is_gone_is_named(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a.npy", npy(PIXELS))
    columns = READER.settle(shard, ColumnSelection())
    (tmp_path / "a.npy").unlink()
    for attempt in (
        READER.rows,
        lambda gone: READER.settle(gone, ColumnSelection()),
        lambda gone: batches(gone, columns),
    ):
        with pytest.raises(ShardError, match=r"^a\.npy: "):
            attempt(shard)


@pytest.mark.parametrize(
    "data", [npy(PIXELS[:0]), npz(x=PIXELS[:0], y=LABELS[:0]), idx(PIXELS[:0])], ids=["npy", "npz", "idx"]
)
def test_arrays_without_rows_give_nothing(tmp_path: Path, data: bytes) -> None:
    shard = shard_of(tmp_path / "a.npy", data)
    assert batches(shard, READER.settle(shard, ColumnSelection())) == []
    assert not READER.rows(shard)


@pytest.mark.parametrize("name", ["a.npy", "c.npz", *long_forms("f.npy", "g-idx3-ubyte.gz")])
def test_memory_does_not_grow_with_the_array(tmp_path: Path, name: str) -> None:
    peaks = []
    for count in (24_000, 96_000):
        array = np.random.default_rng(5).integers(0, 16, (count, 28, 28), np.uint8)
        array[:, ::2] = 0  # packs well, and so fast
        if name.endswith("npz"):
            with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                archive.writestr("x.npy", npy(array))
        elif name.endswith("gz"):
            (tmp_path / name).write_bytes(gzip.compress(idx(array), 1))
        else:
            np.save(tmp_path / name, np.asfortranarray(array) if name == "f.npy" else array)
        del array
        peaks.append(peak_of_reading(shard_of(tmp_path / name)))
    assert peaks[1] < 1.1 * peaks[0]


def peak_of_reading(shard: Shard) -> int:
    columns = READER.settle(shard, ColumnSelection())
    tracemalloc.start()
    try:
        for _ in READER.read(Unit(id="u", format="array", shards=(shard,)), columns, 256):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_recognises_by_name_and_content() -> None:
    assert READER.recognises("a/x.NPY", b"")
    assert READER.recognises("x", npy(PIXELS)[:1024])
    assert READER.recognises("x", npz(x=PIXELS)[:1024])
    assert READER.recognises("train-images-idx3-ubyte", idx(PIXELS)[:1024])
    assert READER.recognises("d/train-images-idx3-ubyte.gz", gzip.compress(idx(PIXELS))[:1024])
    assert READER.recognises("train-images-idx3-ubyte.gz", b"")
    assert READER.recognises("t10k-images.idx3-ubyte", b"")
    assert READER.recognises("no-name", idx(PIXELS)[:1024])
    assert not READER.recognises("no-name", idx(LABELS)[:1024])
    assert not READER.recognises("train-labels-idx1-ubyte", idx(LABELS)[:1024])
    assert not READER.recognises("train-labels-idx1-ubyte.gz", gzip.compress(idx(LABELS))[:1024])
    assert not READER.recognises("a.zip", b"PK\x03\x04" + bytes(22) + struct.pack("<HH", 5, 0) + b"a.txt")
    assert not READER.recognises("x.json.gz", gzip.compress(b"{}"))


def test_a_row_beside_the_image_has_a_limit_too(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a.npz", npz(x=PIXELS, wide=np.zeros((50, 100))))
    columns = READER.settle(shard, ColumnSelection(whole=True, max_record_bytes=799))
    with pytest.raises(ShardError, match=r"^a\.npz: array 'wide' has rows of 800 bytes; the most is 799$"):
        batches(shard, columns)


@pytest.mark.parametrize(("room", "edges"), [(12 * 7, [7] * 7 + [1]), (12 * 3 + 11, [3] * 16 + [2]), (1, [1] * 50)])
def test_large_rows_come_in_small_batches(tmp_path: Path, room: int, edges: list[int]) -> None:
    shard = shard_of(tmp_path / "a.npy", npy(PIXELS))
    unit = Unit(id="u", format="array", shards=(shard,))
    parts = [raw.records() for raw in READER.read(unit, READER.settle(shard, ColumnSelection()), 7, room)]
    assert [len(part) for part in parts] == edges
    np.testing.assert_array_equal(pixels_of(parts)[..., 0], PIXELS)
