"""Arrays written by NumPy, and IDX files written by its published format, read back and compared."""

import gzip
import io
import random
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import InputError, ShardError, UnreadableError
from pipeline.readers import Request, reader_for
from pipeline.readers.base import Columns
from pipeline.records import Array, Records, Shard, Unit
from tests.pipeline.readers.support import identity_of

READER = reader_for("array")
PIXELS = np.random.default_rng(0).integers(0, 256, (50, 4, 3), np.uint8)
LABELS = np.arange(50, dtype=np.int64) % 10

# element type -> third byte of the magic number, of http://yann.lecun.com/exdb/mnist
IDX_TYPES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def idx(array: Array, kind: str = "u1") -> bytes:
    head = bytes([0, 0, IDX_TYPES[kind], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(kind).tobytes()


def npy(array: Array) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npz(compressed: bool = True, **arrays: Array) -> bytes:
    out = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(out, **arrays)
    return out.getvalue()


def shard_of(path: Path, data: bytes | None = None) -> Shard:
    if data is not None:
        path.write_bytes(data)
    return Shard(uri=str(path), path=path.name, size=path.stat().st_size, identity=identity_of(path))


def batches(shard: Shard, columns: Columns, size: int = 7, start: int = 0, stop: int | None = None) -> list[Records]:
    unit = Unit(id="u", format="array", shards=(shard,), start=start, stop=stop)
    return [raw.records() for raw in READER.read(unit, columns, size)]


def pixels_of(parts: Sequence[Records]) -> Array:
    assert all(isinstance(part.payload, np.ndarray) for part in parts)
    return np.concatenate([part.payload for part in parts])


def carried_of(parts: Sequence[Records], name: str) -> list[Any]:
    return [value for part in parts for value in part.carried[name].to_pylist()]


# ---- npy


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["|u1", "<u2", ">u2", "<f2", ">f4", "<f4", "<f8", ">f8"])
@pytest.mark.parametrize("shape", [(50, 4, 3), (50, 4, 3, 2), (50, 6)])
def test_npy_of_every_order_and_type(tmp_path: Path, order: Any, kind: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).integers(0, 200, shape).astype(kind, order=order)
    shard = shard_of(tmp_path / "a.npy", npy(array))
    columns = READER.settle(shard, Request())
    parts = batches(shard, columns)
    payload = pixels_of(parts)
    wide = array[..., None] if array.ndim == 3 else array
    np.testing.assert_array_equal(payload, wide)
    own = np.dtype(np.float32 if array.ndim == 2 or "f" in kind else kind).newbyteorder("=")
    assert all(part.payload.dtype == own for part in parts)
    assert columns.length == (6 if array.ndim == 2 else None)
    assert [len(part) for part in parts] == [7] * 7 + [1]
    assert [value for part in parts for value in part.key.to_pylist()] == [str(at) for at in range(50)]
    assert [value for part in parts for value in part.index.tolist()] == [*range(50)]


@pytest.mark.parametrize("kind", ["i1", "<i2", ">i4", "<i8", "|u1", "<u8"])
def test_vectors_of_integers_become_float32(tmp_path: Path, kind: str) -> None:
    array = np.arange(100).reshape(20, 5).astype(kind)
    shard = shard_of(tmp_path / "a.npy", npy(array))
    payload = pixels_of(batches(shard, READER.settle(shard, Request(length=5))))
    assert payload.dtype == np.float32
    np.testing.assert_array_equal(payload, array)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_header(tmp_path: Path, version: tuple[int, int]) -> None:
    out = io.BytesIO()
    np.lib.format.write_array(out, PIXELS, version=version)
    shard = shard_of(tmp_path / "a.npy", out.getvalue())
    np.testing.assert_array_equal(pixels_of(batches(shard, READER.settle(shard, Request()))), PIXELS[..., None])


@pytest.mark.parametrize("size", [300, 8192, 50_000])
@pytest.mark.parametrize("order", ["C", "F"])
def test_parts_of_plain_arrays_make_the_whole(tmp_path: Path, size: int, order: Any) -> None:
    array = np.random.default_rng(2).integers(0, 256, (20_000, 28, 28), np.uint8).astype(np.uint8, order=order)
    shard = shard_of(tmp_path / "a.npy", npy(array))
    columns, rows = READER.settle(shard, Request()), READER.rows(shard)
    assert rows == (8192, 8192, 3616)  # 8 MiB at most
    edges = pairwise([0, *accumulate(rows)])
    parts = [part for start, stop in edges for part in batches(shard, columns, size, start, stop)]
    np.testing.assert_array_equal(pixels_of(parts)[..., 0], array)
    assert np.array_equal(np.concatenate([part.index for part in parts]), np.arange(20_000))
    with pytest.raises(ShardError, match="no rows 80 to 20001"):
        batches(shard, columns, size, 80, 20_001)


# ---- npz


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize(
    ("images", "labels"), [("x", "y"), ("x_train", "y_train"), ("images", "labels"), ("image", "label")]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_with_labels_under_the_usual_names(
    tmp_path: Path, compressed: bool, images: str, labels: str, order: Any
) -> None:
    data = npz(compressed, **{labels: LABELS, images: np.asarray(PIXELS, order=order), "other": np.zeros((2, 2))})
    shard = shard_of(tmp_path / "a.npz", data)
    columns = READER.settle(shard, Request())
    assert (columns.image, columns.carry, columns.numeric) == (images, pa.schema({"label": pa.int64()}), True)
    assert READER.rows(shard) is None
    parts = batches(shard, columns)
    np.testing.assert_array_equal(pixels_of(parts)[..., 0], PIXELS)
    assert carried_of(parts, "label") == LABELS.tolist()


def test_the_labels_of_a_test_set_are_its_own(tmp_path: Path) -> None:
    data = npz(x_train=PIXELS, y_train=LABELS, x_test=PIXELS[::-1], y_test=LABELS[::-1].reshape(50, 1))
    shard = shard_of(tmp_path / "a.npz", data)
    parts = batches(shard, READER.settle(shard, Request(image="x_test")))
    np.testing.assert_array_equal(pixels_of(parts)[..., 0], PIXELS[::-1])
    assert carried_of(parts, "label") == LABELS[::-1].tolist()


def test_labels_of_another_length_are_not_carried_by_default(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a.npz", npz(x=PIXELS, y=LABELS[:49]))
    assert READER.settle(shard, Request()).carry == pa.schema([])
    with pytest.raises(InputError, match="array 'y' is no column of 50 values"):
        READER.settle(shard, Request(carry=("label",)))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([f"é{at}" for at in range(50)]), pa.string()),
        (np.array([b"k%d" % at for at in range(50)]), pa.binary()),
        (np.arange(50, dtype=">f8") / 4, pa.float64()),
        (np.arange(50) % 3 == 0, pa.bool_()),
    ],
    ids=["text", "bytes", "big-endian", "bool"],
)
def test_other_members_are_carried_and_are_keys(tmp_path: Path, values: Array, kind: pa.DataType) -> None:
    shard = shard_of(tmp_path / "a.npz", npz(pixels=PIXELS, name=values))
    columns = READER.settle(shard, Request(carry=("name",), key="name"))
    parts = batches(shard, columns)
    assert columns.carry == pa.schema({"name": kind})
    assert carried_of(parts, "name") == values.tolist()
    keys = [value for part in parts for value in part.key.to_pylist()]
    assert keys == pa.array(values.astype(values.dtype.newbyteorder("="))).cast(pa.string()).to_pylist()


# ---- IDX


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
    columns = READER.settle(shard, Request())
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
    assert carried_of(batches(shard, READER.settle(shard, Request())), "label") == LABELS.tolist()


@pytest.mark.parametrize("kind", [">f4", ">f8"])
def test_idx_of_floats(tmp_path: Path, kind: str) -> None:
    shard = shard_of(tmp_path / "a.idx3-ubyte", idx(PIXELS / 8, kind))
    np.testing.assert_array_equal(pixels_of(batches(shard, READER.settle(shard, Request())))[..., 0], PIXELS / 8)


def test_labels_that_are_lost_or_too_few_are_named(tmp_path: Path) -> None:
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(idx(LABELS))
    shard = shard_of(tmp_path / "train-images-idx3-ubyte", idx(PIXELS))
    columns = READER.settle(shard, Request())
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


# ---- refusals


class Bomb:
    """Fails the test if it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.array([[Bomb(), Bomb()]], object), "holds |O, not numbers"),
        (np.zeros((3, 2), bool), "holds |b1, not numbers"),
        (np.zeros((3, 2), complex), "holds <c16, not numbers"),
        (np.zeros((3, 2), "U3"), "holds <U3, not numbers"),
        (np.zeros((3, 2), [("a", "f4")]), "holds [('a', '<f4')], not numbers"),
        (np.zeros((3, 2), "M8[s]"), "holds <M8[s], not numbers"),
        (np.zeros(3), "has the shape (3,), not [n, d]"),
        (np.zeros(()), "has the shape (), not [n, d]"),
        (np.zeros((1, 2, 3, 4, 5)), "has the shape (1, 2, 3, 4, 5), not [n, d]"),
        (np.zeros((3, 2, 2), "i8"), "holds <i8; pixels must be uint8, uint16 or floating"),
        (np.zeros((3, 2, 2), "i1"), "holds |i1; pixels must be uint8, uint16 or floating"),
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
        READER.settle(shard, Request(length=5, max_record_bytes=64))
    assert says in str(caught.value)
    assert str(caught.value).startswith("a.npy: array 'image' ")


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (Request(), "2 arrays have rows and none has a usual name; name one with --image. There are: a, b, c"),
        (Request(image="z"), "no array 'z'; set --image to one of: a, b, c"),
        (Request(image="a", key="z"), "no array 'z'; set --key to one of: a, b, c"),
        (Request(image="a", key="b"), "array 'b' is (50, 4, 3) of |u1, not one key for each record"),
        (Request(image="a", carry=("z",)), "no array 'z'; set --carry to one of: a, b, c"),
        (Request(image="a", carry=("b",)), "array 'b' is no column of 50 values"),
    ],
    ids=str,
)
def test_a_wrong_request_is_refused_with_what_there_is(tmp_path: Path, request_: Request, says: str) -> None:
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
        (npz(x=PIXELS > 9, y=LABELS), "array 'x' holds |b1, not numbers"),
    ],
    ids=["image", "label", "type", "length", "bool"],
)
def test_a_shard_unlike_the_first_is_named(tmp_path: Path, other: bytes, says: str) -> None:
    columns = READER.settle(shard_of(tmp_path / "a.npz", npz(x=PIXELS, y=LABELS)), Request())
    with pytest.raises(ShardError) as caught:
        batches(shard_of(tmp_path / "b.npz", other), columns)
    assert says in str(caught.value)
    assert str(caught.value).startswith("b.npz: ")


# ---- damage


def header(words: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(words)) + words.encode()


@pytest.mark.parametrize(
    "data",
    [
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 28, 28)}") + bytes(100),
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 28)}"),
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (True, 28)}"),
        header("{'descr': '|u1', 'fortran_order': 0, 'shape': (1, 28)}"),
        header("{'descr': '|u1', 'fortran_order': False}"),
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2), 'more': 1}") + bytes(4),
        header("__import__('os').abort()"),
        header("(" * 5000),
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2)}" + " " * 20_000) + bytes(4),
        b"\x93NUMPY\x04\x00" + bytes(100),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100),
        bytes([0, 0, 8, 3]) + struct.pack(">3I", *[0xFFFFFFFF] * 3) + bytes(100),
        bytes([0, 0, 7, 3]) + struct.pack(">3I", 1, 1, 1) + bytes(1),
        gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 0xFFFFFFFF, 28, 28) + bytes(100)),
        b"nothing of the kind",
        b"",
    ],
    ids=range(16),
)
def test_a_header_that_lies_is_reported_before_anything_is_allocated(tmp_path: Path, data: bytes) -> None:
    shard = shard_of(tmp_path / "a.npy", data)
    tracemalloc.start()
    try:
        with pytest.raises(ShardError, match=r"^a\.npy: "):
            READER.settle(shard, Request())
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


SAMPLES = {
    "a.npy": npy(PIXELS),
    "f.npy": npy(np.asfortranarray(PIXELS)),
    "a.npz": npz(x=PIXELS, y=LABELS),
    "f.npz": npz(x=np.asfortranarray(PIXELS), y=LABELS),
    "s.npz": npz(False, x=PIXELS, y=LABELS),
    "images-idx3-ubyte": idx(PIXELS),
    "images-idx3-ubyte.gz": gzip.compress(idx(PIXELS)),
}


def outcome(shard: Shard, columns: Columns) -> tuple[list[Any], list[Any]] | None:
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
    columns = READER.settle(shard_of(tmp_path / name, whole), Request())
    for length in range(0, len(whole), 3):
        assert outcome(shard_of(tmp_path / name, whole[:length]), columns) is None, length
    zipped = name.endswith(".npz")  # a zip archive may have a comment, here one that does not begin
    for extra in () if zipped else (b"x", b"\n" * 100):
        assert outcome(shard_of(tmp_path / name, whole + extra), columns) is None


@pytest.mark.parametrize("name", [name for name in SAMPLES if name.endswith("z")])
def test_a_flipped_bit_never_changes_packed_records(tmp_path: Path, name: str) -> None:
    whole = SAMPLES[name]
    columns = READER.settle(shard_of(tmp_path / name, whole), Request())
    truth = outcome(shard_of(tmp_path / name, whole), columns)
    assert truth is not None
    dice = random.Random(3)
    for at in range(0, len(whole), 2):
        data = whole[:at] + bytes([whole[at] ^ 1 << dice.randrange(8)]) + whole[at + 1 :]
        assert outcome(shard_of(tmp_path / name, data), columns) in (None, truth), at


def test_an_encrypted_or_exotic_member_is_reported(tmp_path: Path) -> None:
    data = bytearray(npz(x=PIXELS))
    for flag in (data.find(b"PK\x01\x02") + 8, 6):  # bit 0 of the flags, in the directory and before the member
        data[flag] |= 1
    with pytest.raises(ShardError, match="encrypted"):
        READER.settle(shard_of(tmp_path / "a.npz", bytes(data)), Request())


def test_gzip_of_several_members_is_one_stream(tmp_path: Path) -> None:
    whole = idx(PIXELS)
    shard = shard_of(tmp_path / "a-idx3-ubyte.gz", gzip.compress(whole[:100]) + gzip.compress(whole[100:]))
    np.testing.assert_array_equal(pixels_of(batches(shard, READER.settle(shard, Request())))[..., 0], PIXELS)


def test_a_shard_that_is_gone_is_named(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a.npy", npy(PIXELS))
    columns = READER.settle(shard, Request())
    (tmp_path / "a.npy").unlink()
    for attempt in (READER.rows, lambda gone: READER.settle(gone, Request()), lambda gone: batches(gone, columns)):
        with pytest.raises(ShardError, match=r"^a\.npy: "):
            attempt(shard)


@pytest.mark.parametrize(
    "data", [npy(PIXELS[:0]), npz(x=PIXELS[:0], y=LABELS[:0]), idx(PIXELS[:0])], ids=["npy", "npz", "idx"]
)
def test_arrays_without_rows_give_nothing(tmp_path: Path, data: bytes) -> None:
    shard = shard_of(tmp_path / "a.npy", data)
    assert batches(shard, READER.settle(shard, Request())) == []
    assert not READER.rows(shard)


@pytest.mark.parametrize("name", ["a.npy", "f.npy", "c.npz", "g-idx3-ubyte.gz"])
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
    columns = READER.settle(shard, Request())
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


# ---- written again, and large rows


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("compressed", [True, False])
def test_the_source_is_every_other_array_with_rows(tmp_path: Path, order: Any, compressed: bool) -> None:
    others = {
        "y": LABELS.astype(">i4"),
        "name": np.array([f"é{at}" for at in range(50)]),
        "box": np.asarray(np.random.default_rng(3).normal(size=(50, 2, 3)), order=order),
        "when": np.arange(50).astype("M8[ms]"),
        "wave": np.arange(50) * 1j,
    }
    rest = {"mean": np.zeros((4, 3)), "one": np.array(50), "meta": np.array([None] * 50), "none": np.zeros((50, 0))}
    shard = shard_of(tmp_path / "a.npz", npz(compressed, x=PIXELS, **others, **rest))
    columns = READER.settle(shard, Request(whole=True, key="name"))
    parts = batches(shard, columns)
    assert [set(part.source) for part in parts] == [set(others)] * 8
    for name, wanted in others.items():
        made = np.concatenate([part.source[name] for part in parts])
        np.testing.assert_array_equal(made, wanted)
        assert {part.source[name].dtype for part in parts} == {wanted.dtype}
    assert carried_of(parts, "label") == LABELS.tolist()
    assert all(part.source is None for part in batches(shard, READER.settle(shard, Request())))


def test_the_source_of_mnist_is_its_labels(tmp_path: Path) -> None:
    (tmp_path / "t-labels-idx1-ubyte").write_bytes(idx(LABELS))
    shard = shard_of(tmp_path / "t-images-idx3-ubyte", idx(PIXELS))
    parts = batches(shard, READER.settle(shard, Request(whole=True, carry=())))
    assert np.concatenate([part.source["label"] for part in parts]).tolist() == LABELS.tolist()
    assert [part.carried for part in parts] == [{}] * 8


def test_a_row_beside_the_image_has_a_limit_too(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a.npz", npz(x=PIXELS, wide=np.zeros((50, 100))))
    columns = READER.settle(shard, Request(whole=True, max_record_bytes=799))
    with pytest.raises(ShardError, match=r"^a\.npz: array 'wide' has rows of 800 bytes; the most is 799$"):
        batches(shard, columns)


@pytest.mark.parametrize(("room", "edges"), [(12 * 7, [7] * 7 + [1]), (12 * 3 + 11, [3] * 16 + [2]), (1, [1] * 50)])
def test_large_rows_come_in_small_batches(tmp_path: Path, room: int, edges: list[int]) -> None:
    shard = shard_of(tmp_path / "a.npy", npy(PIXELS))
    unit = Unit(id="u", format="array", shards=(shard,))
    parts = [raw.records() for raw in READER.read(unit, READER.settle(shard, Request()), 7, room)]
    assert [len(part) for part in parts] == edges
    np.testing.assert_array_equal(pixels_of(parts)[..., 0], PIXELS)


def test_a_unit_of_time_that_there_is_not_is_damage(tmp_path: Path) -> None:
    shard = shard_of(
        tmp_path / "a.npy", header("{'descr': '<M8[xy]', 'fortran_order': False, 'shape': (1, 1)}") + bytes(8)
    )
    with pytest.raises(ShardError, match=r"^a\.npy: no element type of a \.npy header: '<M8\[xy\]'"):
        READER.settle(shard, Request())
