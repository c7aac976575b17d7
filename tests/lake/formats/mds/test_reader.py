"""The MDS reader: latents back, image files, and shards that are damaged or forged."""

import json
import pickle
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lake.core.errors import InputError, ShardError
from lake.core.records import Reason, Records, Unit
from lake.formats import FORMATS
from lake.formats.common.vector_storage import METADATA_KEY
from lake.formats.mds.latents import MdsWriter
from lake.formats.reader import ColumnSelection
from lake.inputs.columns import settle_shard
from tests.conftest import Pixels, png
from tests.lake.formats.latent_tables import KEYS, create_in, fixed, latent_of, of_many_shapes, written
from tests.lake.formats.support import shard_of

LATENTS = ColumnSelection(numeric=True, latents=True, length=4)


def read(path: Path, selection: ColumnSelection, size: int = 3) -> list[Records]:
    shard = shard_of(path)
    columns = settle_shard("mds", shard, selection)
    unit = Unit(id="x", format="mds", shards=(shard,))
    return [raw.records() for raw in FORMATS["mds"].reader.read(unit, columns, size)]


def forged(encodings: dict[str, str], *samples: list[bytes], fixed_sizes: tuple[int | None, ...] = ()) -> bytes:
    """A shard written by hand."""
    sizes = fixed_sizes or (None,) * len(encodings)
    names = {"column_names": [*encodings], "column_encodings": [*encodings.values()], "column_sizes": sizes}
    text = json.dumps({**names, "format": "mds", "version": 2}).encode()
    bodies = []
    for values in samples:
        told = [len(value) for value, size in zip(values, sizes, strict=True) if size is None]
        bodies.append(struct.pack(f"<{len(told)}I", *told) + b"".join(values))
    begin = 4 + 4 * (len(bodies) + 1) + len(text)
    edges = np.cumsum([begin, *map(len, bodies)]).tolist()
    return struct.pack(f"<{len(edges) + 1}I", len(bodies), *edges) + text + b"".join(bodies)


def test_latents_come_back(tmp_path: Path) -> None:
    table, rows = fixed()
    said = {METADATA_KEY: json.dumps({"type": "float32", "scaling_factor": 0.5, "shift_factor": 1.0})}
    written(MdsWriter("x", create_in(tmp_path), table, said), rows)
    selection = ColumnSelection(numeric=True, latents=True, length=4, carry=("label", "txt"))
    one, two = read(tmp_path / "x/shard.00000.mds", selection)
    found = np.concatenate([np.asarray(one.payload), np.asarray(two.payload)])
    np.testing.assert_array_equal(found, np.arange(16, dtype=np.float32).reshape(4, 4) / np.float32(0.5) + 1)
    assert [*one.key.to_pylist(), *two.key.to_pylist()] == KEYS
    assert one.carried["label"].to_pylist() == [3, None, 0] and two.index.tolist() == [3]
    assert one.carried["txt"].to_pylist() == ["a cat", None, ""]


def test_latents_of_many_shapes_come_back(tmp_path: Path) -> None:
    table, rows = of_many_shapes()
    written(MdsWriter("x", create_in(tmp_path), table, {METADATA_KEY: json.dumps({"type": "float16"})}), rows)
    selection = ColumnSelection(numeric=True, latents=True, shaped=True, carry=("height",))
    (records,) = read(tmp_path / "x/shard.00000.mds", selection, 9)
    for number, file in enumerate(records.payload.to_pylist()):
        np.testing.assert_array_equal(np.load(BytesIO(file)), latent_of(number).astype(np.float32))
    assert records.carried["height"].to_pylist() == [8, 16, 8, 2400]


def test_a_bad_value_among_the_first_is_one_reject(tmp_path: Path) -> None:
    encodings = {"latent": "ndarray:float32:4", "label": "json"}
    samples = [[bytes(16), label] for label in (b"{", b"7", b"null", b"nu\xec", b"8.5", b"[" * 9999)]
    (tmp_path / "a.mds").write_bytes(forged(encodings, samples[0], samples[1], samples[2], fixed_sizes=(16, None)))
    (records,) = read(tmp_path / "a.mds", LATENTS)
    assert records.carried["label"].to_pylist() == [None, 7, None]
    assert {at: str(fault.reason) for at, fault in records.faults.items()} == {0: "wrong_type"}
    (tmp_path / "a.mds").write_bytes(forged(encodings, *samples, fixed_sizes=(16, None)))
    (records,) = read(tmp_path / "a.mds", LATENTS, 9)
    assert records.carried["label"].to_pylist() == [None, "7", None, None, "8.5", None]
    assert sorted(records.faults) == [0, 3, 5]


def test_images_of_others(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    data = forged(
        {"image": "png", "label": "int", "more": "pkl"},
        [png(image), struct.pack("<q", 7), pickle.dumps(0)],
        [b"", struct.pack("<q", -1), b"never opened"],
    )
    (tmp_path / "a.mds").write_bytes(data)
    (records,) = read(tmp_path / "a.mds", ColumnSelection())
    assert records.payload.to_pylist() == [png(image), b""]
    assert records.carried["label"].to_pylist() == [7, -1] and records.key.to_pylist() == ["0", "1"]


def array(values: Pixels) -> bytes:
    return bytes([values.ndim << 2]) + bytes(values.shape) + values.tobytes()


def test_bad_samples_are_faults(tmp_path: Path) -> None:
    good = array(np.zeros((2, 2), np.float32))
    data = forged({"latent": "ndarray:float32"}, [good], [good[:-1]], [b""], [array(np.zeros(3, np.float32))], [good])
    (tmp_path / "a.mds").write_bytes(data)
    records = read(tmp_path / "a.mds", LATENTS, 9)[0]
    faults = {position: str(fault.reason) for position, fault in records.faults.items()}
    assert faults == {1: "invalid_record", 2: "invalid_record", 3: "wrong_length"}
    assert records.faults[1].data == good[:-1]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda data: b"", "ends"),
        (lambda data: data[:20], "damaged one"),
        (lambda data: data[:-1], "follow each other"),
        (lambda data: data + b"x", "follow each other"),
        (lambda data: b"\xff\xff\xff\xff" + data[4:], "4294967295 samples"),
        (lambda data: data.replace(b"column_names", b"column_nomes"), "KeyError"),
        (lambda data: data.replace(b"ndarray:float32", b"ndarray:float99"), "float99"),
    ],
)
def test_damaged_shards(tmp_path: Path, change: Any, problem: str) -> None:
    data = forged({"latent": "ndarray:float32"}, [array(np.zeros((2, 2), np.float32))])
    (tmp_path / "a.mds").write_bytes(change(data))
    with pytest.raises(ShardError, match=problem):
        read(tmp_path / "a.mds", LATENTS)


def test_integers_without_a_scale_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mds").write_bytes(forged({"latent": "ndarray:int8:4"}, [b"1234"], fixed_sizes=(4,)))
    (records,) = read(tmp_path / "a.mds", LATENTS)
    assert records.faults[0].reason == "wrong_type" and "scale" in records.faults[0].detail


@pytest.mark.parametrize("said", [{"type": "int8"}, {"type": "float32", "pool": "mean"}, {"type": "x"}, 5])
def test_metadata_that_cannot_be_undone(tmp_path: Path, said: Any) -> None:
    table, rows = fixed()
    written(MdsWriter("x", create_in(tmp_path), table, {METADATA_KEY: json.dumps(said)}), rows)
    with pytest.raises(InputError, match=r"shard.00000.mds: "):
        read(tmp_path / "x/shard.00000.mds", LATENTS)


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.mds").write_bytes(forged({"z": "ndarray:float32:4"}, [bytes(16)], fixed_sizes=(16,)))
    for selection, problem in (
        (ColumnSelection(), "0 columns are jpeg"),
        (ColumnSelection(numeric=True, length=4, image="y"), "no column 'y'"),
        (ColumnSelection(numeric=True, length=4, carry=("w",)), r"no column 'w'; set --carry to one of: z \(ndarray"),
    ):
        with pytest.raises(InputError, match=problem):
            read(tmp_path / "a.mds", selection)


@pytest.mark.parametrize(
    ("encoding", "good", "bad"),
    [
        ("str_int", b"-9223372036854775808", b"9223372036854775808"),
        ("uint64", b"\xff" * 7 + b"\x7f", b"\xff" * 8),
        ("json", b'"text"', b"{"),
        ("json", b'"text"', b"[" * 200_000),
        ("json", b'"text"', b"9" * 5000),
    ],
)
def test_a_value_that_is_none_is_one_reject(encoding: str, good: bytes, bad: bytes, tmp_path: Path) -> None:
    path, image = tmp_path / "x.mds", png(np.zeros((2, 2), np.uint8))
    path.write_bytes(forged({"image": "png", "label": encoding}, [image, bad], [image, good]))
    (found,) = read(path, ColumnSelection())
    assert [(at, fault.reason) for at, fault in found.faults.items()] == [(0, Reason.WRONG_TYPE)]
    assert found.carried["label"].null_count == 1


def test_a_first_vector_that_is_damaged_is_one_reject(tmp_path: Path) -> None:
    path = tmp_path / "x.mds"
    path.write_bytes(forged({"x": "ndarray"}, [b"zz"], [bytes([34, 4, 2]) + np.array([1, 2], "<f4").tobytes()]))
    (found,) = read(path, ColumnSelection(numeric=True))
    assert [*found.faults] == [0] and np.asarray(found.payload).tolist() == [[0, 0], [1, 2]]
