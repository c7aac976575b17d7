"""Arrays that are written, read back by NumPy, gzip and by hand; all else that a shard holds is as it was."""

import gzip
import io
import struct
import tracemalloc
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lake.core.errors import InputError, ShardError
from lake.core.records import Array, OutputFile, Records, Shard, Unit
from lake.formats import FORMATS
from lake.formats.array.writer import ArrayDatasetWriter
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.formats.writer import Results, UnitWriter
from lake.storage import Sink, store_for
from tests.lake.formats.array.arrays import npy, npz
from tests.lake.formats.support import identity_of

READER = FORMATS["array"].reader
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (50, 6, 5), np.uint8)
LABELS = np.arange(50, dtype=np.int64) % 10
BAD = frozenset({0, 7, 8, 30, 49})
GOOD = [i for i in range(50) if i not in BAD]


def create_in(folder: Path) -> Any:
    def create(name: str) -> Sink:
        return store_for("x").create(str(folder / name))

    return create


def again(
    shard: Shard, folder: Path, bad: frozenset[int] = BAD, size: int = 7, **request: Any
) -> tuple[OutputFile, ...]:
    """Write a shard again with the negative of every image, as the job does."""
    columns = READER.settle(shard, ColumnSelection(whole=True, **request))
    unit = Unit(id="u", format="array", shards=(shard,))
    form = ArrayDatasetWriter(columns, True)

    def rendered() -> Iterator[Any]:
        for records in READER.read(unit, columns, size):
            good = np.array([i for i, index in enumerate(records.index.tolist()) if index not in bad], np.int64)
            images = [negative(pixels) for pixels in records.payload[good]]
            yield form.render(Results(records=records, positions=good, images=images))

    return written(form.begin(unit, create_in(folder)), rendered())


def written(writer: UnitWriter, rendered: Iterable[Any]) -> tuple[OutputFile, ...]:
    try:
        for part in rendered:
            writer.write(part)
        return writer.publish()
    except BaseException:
        writer.abort()
        raise


def negative(pixels: Array) -> Array:
    return np.float32(1) - pixels if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max - pixels


def shard_of(path: Path, data: bytes) -> Shard:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return Shard(uri=str(path), path=path.name, size=len(data), identity=identity_of(path))


def idx(array: Array, code: int = 8, kind: str = "u1") -> bytes:
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(kind).tobytes()


# ---- again: npy


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["|u1", "<u2", ">u2", "<f2", ">f4", "<f4", "<f8"])
@pytest.mark.parametrize("shape", [(50, 6, 5), (50, 6, 5, 1), (50, 6, 5, 3)])
def test_npy_is_what_numpy_saves(tmp_path: Path, order: Any, kind: str, shape: tuple[int, ...]) -> None:
    array = RNG.integers(0, 200, shape).astype(kind, order=order)
    outputs = again(shard_of(tmp_path / "in/a.npy", npy(array)), tmp_path / "out")
    dtype = np.float32 if "f" in kind else np.dtype(kind[1:])
    wanted = np.ascontiguousarray(negative(array.astype(dtype)))[GOOD]
    written = (tmp_path / "out/a.npy").read_bytes()
    assert written == npy(wanted)
    assert [(o.name, o.rows, o.size) for o in outputs] == [("a.npy", 45, len(written))]


def test_packed_npy_stays_packed(tmp_path: Path) -> None:
    again(shard_of(tmp_path / "in/a.npy", gzip.compress(npy(PIXELS))), tmp_path / "out")
    assert gzip.decompress((tmp_path / "out/a.npy").read_bytes()) == npy(255 - PIXELS[GOOD])


def test_images_of_vectors_have_a_channel_axis(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "in/a.npy", npy(RNG.normal(size=(9, 4)).astype("f4")))
    columns = READER.settle(shard, ColumnSelection(whole=True, length=4))
    unit, form = Unit(id="u", format="array", shards=(shard,)), ArrayDatasetWriter(columns, True)
    writer = form.begin(unit, create_in(tmp_path))
    (records,) = READER.read(unit, columns, 16)
    images = list(PIXELS[:9, ..., None])
    writer.write(form.render(Results(records=records, positions=np.arange(9), images=images)))
    writer.publish()
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), PIXELS[:9, ..., None])


# ---- again: npz


@pytest.mark.parametrize("compressed", [True, False])
def test_npz_keeps_every_other_array(tmp_path: Path, compressed: bool) -> None:
    arrays = {
        "y": LABELS,
        "mean": PIXELS.mean(0),
        "name": np.array([f"é{i}" for i in range(50)]),
        "x": PIXELS,
        "raw": np.array([b"k%d" % i for i in range(50)]),
        "box": np.asfortranarray(RNG.normal(size=(50, 2, 2)).astype(">f8")),
        "when": np.arange(50).astype("M8[s]"),
        "wave": RNG.normal(size=50) * 1j,
        "flag": LABELS > 4,
        "split": np.array(3),
        "other": np.asfortranarray(PIXELS[:9]),
    }
    shard = shard_of(tmp_path / "in/a.npz", npz(compressed, **arrays))
    (output,) = again(shard, tmp_path / "out", key="name")
    assert (output.name, output.rows) == ("a.npz", 45)
    made = np.load(tmp_path / "out/a.npz")
    assert made.files == [*arrays]
    np.testing.assert_array_equal(made["x"], 255 - PIXELS[GOOD])
    for name in arrays.keys() - {"x"}:
        wanted = arrays[name] if name in ("mean", "split", "other") else arrays[name][GOOD]
        np.testing.assert_array_equal(made[name], wanted)
        assert made[name].dtype == wanted.dtype and made[name].flags.fnc == arrays["other"].flags.fnc * (
            name == "other"
        )
    with zipfile.ZipFile(tmp_path / "out/a.npz") as archive:
        assert archive.testzip() is None
        kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
        assert {(info.compress_type, info.date_time) for info in archive.infolist()} == {(kind, (1980, 1, 1, 0, 0, 0))}


def test_two_sets_in_one_npz_are_not_confused(tmp_path: Path) -> None:
    data = npz(x_train=PIXELS, y_train=LABELS, x_test=PIXELS[:20], y_test=LABELS[:20])
    again(shard_of(tmp_path / "in/a.npz", data), tmp_path / "out", frozenset({1}), image="x_test")
    made = np.load(tmp_path / "out/a.npz")
    np.testing.assert_array_equal(made["x_train"], PIXELS)
    np.testing.assert_array_equal(made["y_train"], LABELS)
    np.testing.assert_array_equal(made["x_test"], 255 - np.delete(PIXELS[:20], 1, 0))
    np.testing.assert_array_equal(made["y_test"], np.delete(LABELS[:20], 1))


def test_what_is_no_array_in_an_archive_is_copied(tmp_path: Path) -> None:
    data = io.BytesIO(npz(x=PIXELS))
    with zipfile.ZipFile(data, "a") as archive:
        archive.writestr("note.txt", "über alles " * 9)
    again(shard_of(tmp_path / "in/a.npz", data.getvalue()), tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "out/a.npz") as archive:
        assert archive.read("note.txt").decode() == "über alles " * 9


def test_objects_pass_whole_and_never_out_of_step(tmp_path: Path) -> None:
    objects = np.array([{"i": i} for i in range(50)], object)
    shard = shard_of(tmp_path / "in/a.npz", npz(x=PIXELS, meta=objects))
    again(shard, tmp_path / "out", frozenset())
    with zipfile.ZipFile(tmp_path / "out/a.npz") as after, zipfile.ZipFile(tmp_path / "in/a.npz") as before:
        assert after.read("meta.npy") == before.read("meta.npy")
    with pytest.raises(
        ShardError, match=r"array 'meta' holds \|O, .* and 5 of its records are rejected; choose another"
    ):
        again(shard, tmp_path / "out")


# ---- again: IDX


@pytest.mark.parametrize("packed", [True, False])
def test_mnist_is_written_as_it_is_distributed(tmp_path: Path, packed: bool) -> None:
    pack, unpack, end = (gzip.compress, gzip.decompress, ".gz") if packed else (bytes, bytes, "")
    names = [f"train-images-idx3-ubyte{end}", f"train-labels-idx1-ubyte{end}"]
    shard_of(tmp_path / "in" / names[1], pack(idx(LABELS)))
    outputs = again(shard_of(tmp_path / "in" / names[0], pack(idx(PIXELS))), tmp_path / "out")
    assert [(output.name, output.rows) for output in outputs] == [(names[0], 45), (names[1], 0)]
    assert unpack((tmp_path / "out" / names[0]).read_bytes()) == idx(255 - PIXELS[GOOD])
    assert unpack((tmp_path / "out" / names[1]).read_bytes()) == idx(LABELS[GOOD])
    for output in outputs:
        assert output.size == (tmp_path / "out" / output.name).stat().st_size


def test_plain_labels_beside_packed_images_stay_plain(tmp_path: Path) -> None:
    shard_of(tmp_path / "in/t-labels-idx1-ubyte", idx(LABELS))
    again(shard_of(tmp_path / "in/t-images-idx3-ubyte.gz", gzip.compress(idx(PIXELS))), tmp_path / "out")
    assert (tmp_path / "out/t-labels-idx1-ubyte").read_bytes() == idx(LABELS[GOOD])
    assert gzip.decompress((tmp_path / "out/t-images-idx3-ubyte.gz").read_bytes()) == idx(255 - PIXELS[GOOD])


def test_labels_of_another_number_are_copied(tmp_path: Path) -> None:
    shard_of(tmp_path / "in/t-labels-idx1-ubyte", idx(LABELS[:9]))
    again(shard_of(tmp_path / "in/t-images-idx3-ubyte", idx(PIXELS)), tmp_path / "out")
    assert (tmp_path / "out/t-labels-idx1-ubyte").read_bytes() == idx(LABELS[:9])


@pytest.mark.parametrize(("code", "kind"), [(13, ">f4"), (14, ">f8")])
def test_floating_idx_is_float32_and_big_endian(tmp_path: Path, code: int, kind: str) -> None:
    images = RNG.normal(size=(50, 6, 5)).astype("f4")
    again(shard_of(tmp_path / "in/a.idx3-ubyte", idx(images, code, kind)), tmp_path / "out")
    wanted = idx((np.float32(1) - images)[GOOD], 13, ">f4")
    assert (tmp_path / "out/a.idx3-ubyte").read_bytes() == wanted


# ---- again: edges


SAMPLES = {
    "a.npy": npy(PIXELS),
    "f.npy": npy(np.asfortranarray(PIXELS)),
    "a.npz": npz(x=PIXELS, y=LABELS),
    "s.npz": npz(False, x=PIXELS, y=LABELS),
    "images-idx3-ubyte": idx(PIXELS),
    "images-idx3-ubyte.gz": gzip.compress(idx(PIXELS)),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_batches_change_no_byte(tmp_path: Path, name: str) -> None:
    shard = shard_of(tmp_path / "in" / name, SAMPLES[name])
    for size in (1, 7, 50):
        again(shard, tmp_path / str(size), size=size)
    assert len({(tmp_path / str(size) / name).read_bytes() for size in (1, 7, 50)}) == 1


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("rows", [0, 50])
def test_nothing_left_is_an_array_without_rows(tmp_path: Path, name: str, rows: int) -> None:
    empty = {"a.npy": npy, "f.npy": npy, "a.npz": lambda x: npz(x=x, y=LABELS[:0]), "s.npz": lambda x: npz(False, x=x)}
    data = SAMPLES[name] if rows else empty.get(name, idx)(PIXELS[:0])
    shard = shard_of(tmp_path / "in" / name, gzip.compress(data) if name.endswith("gz") and not rows else data)
    (output,) = again(shard, tmp_path / "out", frozenset(range(50)))
    assert output.rows == 0
    path = tmp_path / "out" / name
    left = Shard(uri=str(path), path=name, size=output.size, identity=identity_of(path))
    assert (
        list(READER.read(Unit(id="u", format="array", shards=(left,)), READER.settle(left, ColumnSelection()), 7)) == []
    )
    if name.endswith("npz"):
        assert np.load(tmp_path / "out" / name)["x"].shape == (0, 6, 5)


@pytest.mark.parametrize("name", SAMPLES)
def test_abort_leaves_nothing(tmp_path: Path, name: str) -> None:
    shard = shard_of(tmp_path / "in" / name, SAMPLES[name])
    columns = READER.settle(shard, ColumnSelection(whole=True))
    unit, form = Unit(id="u", format="array", shards=(shard,)), ArrayDatasetWriter(columns, True)
    writer = form.begin(unit, create_in(tmp_path / "out"))
    (records,) = READER.read(unit, columns, 64)
    writer.write(form.render(Results(records=records, positions=np.arange(50), images=list(records.payload))))
    (tmp_path / "in" / name).write_bytes(SAMPLES[name][:20])  # so that publishing fails half way
    with pytest.raises(ShardError):
        writer.publish()
    writer.abort()
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_memory_does_not_grow_with_the_array(tmp_path: Path) -> None:
    peaks = []
    for count in (6_000, 24_000):
        shard = shard_of(
            tmp_path / "in/a.npz", npz(False, x=np.zeros((count, 64, 64), np.uint8), y=np.zeros((count, 64)))
        )
        tracemalloc.start()
        again(shard, tmp_path / "out", frozenset(), size=256)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


# ---- anew


def records_of(keys: Sequence[str], carried: Mapping[str, pa.Array], shard: str = "s") -> Records:
    n = len(keys)
    return Records(
        shard=shard, index=np.arange(n), key=pa.array(keys, pa.string()), payload=np.zeros((n, 1)), carried=carried
    )


def anew(folder: Path, batches: Sequence[Results], carry: pa.Schema) -> dict[str, Array]:
    columns = RecordSchema(image="x", key=None, carry=carry, numeric=True, max_record_bytes=1 << 20)
    form = ArrayDatasetWriter(columns, False)
    unit = Unit(id="d/u", format="folder", shards=(Shard(uri="s", path="s", size=0, identity=""),))
    (output,) = written(form.begin(unit, create_in(folder)), map(form.render, batches))
    assert (output.name, output.rows) == ("d/u.npz", sum(len(results.positions) for results in batches))
    with np.load(folder / "d/u.npz") as made:
        return {name: made[name] for name in made.files}


COLUMNS = {
    "label": (pa.array([3, 1, 4, 1, 5], pa.int32()), np.array([3, 4, 5], np.int32)),
    "some": (pa.array([3, 1, None, 1, 5], pa.int64()), np.array([3, np.nan, 5])),
    "score": (pa.array([0.5, 1, None, 1, 2], pa.float32()), np.array([0.5, np.nan, 2], np.float32)),
    "good": (pa.array([True, True, False, True, False]), np.array([True, False, False])),
    "maybe": (pa.array([True, True, None, True, False]), np.array([1, np.nan, 0])),
    "text": (pa.array(["é", "b", None, "c", "日本語"]), np.array(["é", "", "日本語"])),
    "data": (pa.array([b"\0a", b"b", None, b"c", b"long"]), np.array([b"\0a", b"", b"long"])),
    "box": (
        pa.array([[1, 2], [3, 4], [5, 6], [7, 8], [9, 0]], pa.list_(pa.int16())),
        np.array([[1, 2], [5, 6], [9, 0]], np.int16),
    ),
    "day": (pa.array([1, 2, None, 4, 5], pa.date32()), np.array(["1970-01-02", "NaT", "1970-01-06"], "M8[D]")),
    "when": (pa.array([1, 2, 3, 4, 5], pa.timestamp("ms")), np.array([1, 3, 5], "M8[ms]")),
    "keys": (pa.array([1, 2, 3, 4, 5]), np.array([1, 3, 5])),
}


@pytest.mark.parametrize("together", [True, False])
def test_columns_anew_are_numpy_types(tmp_path: Path, together: bool) -> None:
    carry = pa.schema([pa.field(name, column.type) for name, (column, _) in COLUMNS.items()])
    keys, images = ["a", "b", "cé", "d", "e"], list(PIXELS[:3, ..., None])
    records = records_of(keys, {name: column for name, (column, _) in COLUMNS.items()})
    every = Results(records=records, positions=np.array([0, 2, 4]), images=images)
    parts = [Results(records=records, positions=np.array([p]), images=[images[i]]) for i, p in enumerate((0, 2, 4))]
    none = Results(records=records, positions=np.array([], np.int64), images=[])
    made = anew(tmp_path, [every] if together else [none, *parts, none], carry)
    assert list(made) == ["images", "keys", *("source_keys" if name == "keys" else name for name in COLUMNS)]
    np.testing.assert_array_equal(made["images"], np.stack(images))
    assert made["keys"].tolist() == ["a", "cé", "e"]
    for name, (_, wanted) in COLUMNS.items():
        column = made["source_keys" if name == "keys" else name]
        np.testing.assert_array_equal(column, wanted)
        assert column.dtype == wanted.dtype


def test_batches_change_no_byte_of_what_is_anew(tmp_path: Path) -> None:
    carry = pa.schema([("text", pa.string())])
    for size in (1, 7, 50):
        parts = [
            (PIXELS[i : i + size, ..., None], [f"k{j}" for j in range(i, min(50, i + size))])
            for i in range(0, 50, size)
        ]
        batches = [
            Results(
                records=records_of(keys, {"text": pa.array(keys)}), positions=np.arange(len(keys)), images=list(images)
            )
            for images, keys in parts
        ]
        anew(tmp_path / str(size), batches, carry)
    assert len({(tmp_path / str(size) / "d/u.npz").read_bytes() for size in (1, 7, 50)}) == 1


def test_a_unit_without_images_is_arrays_without_rows(tmp_path: Path) -> None:
    made = anew(tmp_path, [], pa.schema([("label", pa.int64()), ("box", pa.list_(pa.float32()))]))
    assert made["images"].shape == (0, 0, 0, 1)
    assert {name: len(column) for name, column in made.items()} == {"images": 0, "keys": 0, "label": 0, "box": 0}


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    "other", [np.zeros((6, 4, 1), np.uint8), np.zeros((6, 5, 1), np.uint16)], ids=["shape", "type"]
)
def test_images_of_several_shapes_are_refused(tmp_path: Path, together: bool, other: Array) -> None:
    records, images = records_of(["a", "b"], {}), [PIXELS[0, ..., None], other]
    parts = [(np.array([0, 1]), images)] if together else [(np.array([i]), [images[i]]) for i in range(2)]
    with pytest.raises(ShardError) as caught:
        anew(tmp_path, [Results(records=records, positions=p, images=i) for p, i in parts], pa.schema([]))
    shape, kind = other.shape, other.dtype
    assert str(caught.value) == (
        f"s: image 'b' is {shape} of {kind}, and an earlier one is (6, 5, 1) of uint8; "
        "an array holds images of one shape and type: choose another --output-format"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (pa.array([b"a\0", b"b"]), "column 'c' has values that end in zeros"),
        (pa.array(["a" * (1 << 28), "b"]), "column 'c' has values of up to 268435456 characters, 2147483648 bytes"),
        (pa.array([[1], [1, 2]]), "column 'c' has lists that are null or of several lengths"),
        (pa.array([[1], None]), "column 'c' has lists that are null or of several lengths"),
    ],
    ids=["zeros", "wide", "ragged", "null"],
)
def test_a_column_that_no_array_holds_is_refused(tmp_path: Path, column: pa.Array, says: str) -> None:
    results = Results(
        records=records_of(["a", "b"], {"c": column}), positions=np.arange(2), images=list(PIXELS[:2, ..., None])
    )
    with pytest.raises(ShardError) as caught:
        anew(tmp_path, [results], pa.schema([("c", column.type)]))
    assert says in str(caught.value)
    assert str(caught.value).endswith("leave it from --carry, or choose another --output-format")


@pytest.mark.parametrize("kind", [pa.struct([("a", pa.int8())]), pa.decimal128(9), pa.list_(pa.string())], ids=str)
def test_a_type_that_no_array_holds_is_refused_at_launch(kind: pa.DataType) -> None:
    columns = RecordSchema(image="x", key=None, carry=pa.schema([("c", kind)]), numeric=True, max_record_bytes=1)
    with pytest.raises(InputError, match=r"column 'c' is .*, which is no array; leave it from --carry"):
        ArrayDatasetWriter(columns, False)
    ArrayDatasetWriter(columns, True)
