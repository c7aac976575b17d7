"""The ArrayRecord reader: latents back, and files and records that are damaged, forged or alone."""

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter as Library

from lake.core.errors import InputError, NoColumnError, NoRecordsError, ShardError
from lake.core.records import Records, Shard, Unit
from lake.formats import FORMATS
from lake.formats.arrayrecord.latents import ArrayRecordWriter
from lake.formats.arrayrecord.records import open_records
from lake.formats.common.latent_rows import LatentRows
from lake.formats.common.vector_storage import METADATA_KEY
from lake.formats.reader import ColumnSelection
from lake.inputs.columns import settle_shard
from lake.storage import store_for
from tests.lake.formats.latent_tables import KEYS, SHAPES, create_in, fixed, latent_of, of_many_shapes, written
from tests.lake.formats.support import shard_of

LATENTS = ColumnSelection(numeric=True, latents=True, length=4)
SHAPED = ColumnSelection(numeric=True, latents=True, shaped=True, carry=("height",))
READER = FORMATS["arrayrecord"].reader


def planned(path: Path) -> Shard:
    stat = store_for("").stat(str(path))
    assert stat is not None
    return replace(shard_of(path), identity=READER.identity(stat))


def read(path: Path, selection: ColumnSelection = LATENTS, size: int = 3) -> list[Records]:
    shard = planned(path)
    columns = settle_shard("arrayrecord", shard, selection)
    return [raw.records() for raw in READER.read(Unit(id="x", format="arrayrecord", shards=(shard,)), columns, size)]


def shard_in(root: Path, said: Any, made: tuple[LatentRows, Any]) -> Path:
    table, rows = made
    metadata = {} if said is None else {METADATA_KEY: json.dumps(said)}
    written(ArrayRecordWriter("x", create_in(root), table, metadata), rows)
    return root / "x.arrayrecord"


def feature(**values: Any) -> bytes:
    """A record of an Example by TensorFlow."""
    from tensorflow.train import BytesList, Example, Feature, Features, FloatList, Int64List

    kinds = {float: ("float_list", FloatList), int: ("int64_list", Int64List), bytes: ("bytes_list", BytesList)}
    found = {}
    for name, several in values.items():
        field, kind = kinds[type(several[0])]
        found[name.replace("__", "/")] = Feature(**{field: kind(value=several)})
    return bytes(Example(features=Features(feature=found)).SerializeToString())


def file_of(path: Path, *records: bytes) -> Path:
    writer = Library(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()
    return path


def test_latents_come_back(tmp_path: Path) -> None:
    said = {"type": "float32", "scaling_factor": 0.5, "shift_factor": 1.0}
    selection = ColumnSelection(numeric=True, latents=True, length=4, carry=("label", "txt"))
    one, two = read(shard_in(tmp_path, said, fixed()), selection)
    found = np.concatenate([np.asarray(one.payload), np.asarray(two.payload)])
    np.testing.assert_array_equal(found, np.arange(16, dtype=np.float32).reshape(4, 4) / np.float32(0.5) + 1)
    assert [*one.key.to_pylist(), *two.key.to_pylist()] == KEYS
    assert one.carried["label"].to_pylist() == [3, None, 0] and two.index.tolist() == [3]
    assert one.carried["txt"].to_pylist() == ["a cat", None, ""]


def test_latents_of_many_shapes_come_back(tmp_path: Path) -> None:
    path = shard_in(tmp_path, {"type": "float16", "scaling_factor": 0.5}, of_many_shapes())
    for description in (True, False):
        if not description:  # floating latents say themselves how they are stored
            (tmp_path / "x.json").unlink()
        (records,) = read(path, SHAPED, 9)
        for number, file in enumerate(records.payload.to_pylist()):
            np.testing.assert_array_equal(
                np.load(BytesIO(file)), latent_of(number).astype(np.float32) / np.float32(0.5)
            )
        assert records.carried["height"].to_pylist() == [8, 16, 8, 2400]


def test_integers_need_the_description_beside_them(tmp_path: Path) -> None:
    numbers = np.arange(-8, 8, dtype=np.int8).reshape(4, 4)
    scale, offset = [1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 0.0, 1.0]
    table, rows = fixed(numbers)
    table = LatentRows(schema=table.schema, names=table.names, shape=table.shape, said={"type": "int8"})
    path = shard_in(tmp_path, {"type": "int8", "scale": scale, "offset": offset}, (table, rows))
    (records,) = read(path, size=9)
    np.testing.assert_array_equal(np.asarray(records.payload), numbers * np.float32(scale) + np.float32(offset))
    (tmp_path / "x.json").unlink()
    (records,) = read(path, size=9)
    assert {fault.detail for fault in records.faults.values()} == {
        "int8 with 0 numbers of scale and 0 of offset, by its own features; keep the .json beside its file"
    }
    assert sorted(records.faults) == [0, 1, 2, 3]


def test_bad_records_are_faults(tmp_path: Path) -> None:
    numbers = [0.5, 1.0, 2.0, 4.0]
    path = file_of(
        tmp_path / "x.array_record",
        feature(latent=numbers, latent__type=[b"float32"], latent__shape=[2, 2]),
        b"\xff\xff",
        feature(latent=numbers[:3], latent__type=[b"float32"]),
        feature(label=[1]),
        feature(latent=[7]),
        feature(latent=numbers, latent__type=[b"float32"], latent__pool=[b"mean"]),
        feature(latent=numbers),
    )
    (records,) = read(path, size=9)
    assert {at: str(fault.reason) for at, fault in records.faults.items()} == {
        1: "invalid_record",
        2: "wrong_length",
        3: "missing_image",
        4: "wrong_type",
        5: "invalid_record",
    }
    assert "pooled (--pool)" in records.faults[5].detail
    assert np.asarray(records.payload)[[0, 6]].tolist() == [numbers, numbers] and records.key.to_pylist()[6] == "6"


@pytest.mark.parametrize(
    "values",
    [
        {"latent__type": [b"no type"]},
        {"latent__type": [b"float16"], "latent": [b"odd"]},
        {"latent__type": [b"float16"], "latent__shape": [1, 1, 5]},
        {"latent__type": [b"float16"], "latent__shape": [-1, -1, 4]},
        {"latent__type": [b"float16"], "latent__shape": [1 << 40, 1 << 40, 4]},
        {"latent__type": [b"float16"], "latent__shape": [4]},
        {"latent__type": [b"float16"], "latent": [bytes(4), bytes(4)]},
        {"latent__type": [b"int8"]},
        {},
    ],
)
def test_forged_shapes_and_types_are_faults(tmp_path: Path, values: dict[str, list[Any]]) -> None:
    record = feature(**{"latent": [bytes(8)], "latent__shape": [1, 1, 4], **values})
    good = feature(latent=[bytes(8)], latent__shape=[1, 1, 4], latent__type=[b"float16"])
    selection = ColumnSelection(numeric=True, latents=True, shaped=True, carry=())
    (records,) = read(file_of(tmp_path / "x.arrayrecord", record, good), selection)
    assert list(records.faults) == [0] and records.payload[1].is_valid


def test_large_records_are_faults(tmp_path: Path) -> None:
    large = feature(latent=[0.0] * 400, latent__type=[b"float32"])
    small = feature(latent=[0.0] * 4, latent__type=[b"float32"])
    selection = ColumnSelection(numeric=True, latents=True, length=4, max_record_bytes=1000)
    (records,) = read(file_of(tmp_path / "x.arrayrecord", small, large, small), selection)
    assert [str(fault.reason) for fault in records.faults.values()] == ["record_too_large"]


@pytest.mark.parametrize("salvage", [False, True])
def test_a_flipped_bit_is_found(tmp_path: Path, salvage: bool) -> None:
    path = shard_in(tmp_path, {"type": "float16"}, of_many_shapes())
    data = bytearray(path.read_bytes())
    at = data.find(latent_of(1).tobytes())
    data[at] ^= 1
    path.write_bytes(data)
    selection = ColumnSelection(numeric=True, latents=True, shaped=True, carry=(), salvage=salvage)
    if salvage:
        (records,) = read(path, selection, 9)
        assert [(at, str(fault.reason)) for at, fault in records.faults.items()] == [(1, "corrupt_record")]
        found = records.payload.to_pylist()
        assert found[1] is None
        np.testing.assert_array_equal(np.load(BytesIO(found[3])).shape, SHAPES[3])
        return
    shard = planned(path)
    columns = settle_shard("arrayrecord", shard, selection)
    batches = READER.read(Unit(id="x", format="arrayrecord", shards=(shard,)), columns, 9)
    assert len(next(batches)) == 1, "what is before the damage is read"
    with pytest.raises(ShardError, match=r"x.arrayrecord: no ArrayRecord file, or a damaged one: .*hash mismatch"):
        next(batches)


def test_every_cut_is_found(tmp_path: Path) -> None:
    path = shard_in(tmp_path, None, fixed())
    data = path.read_bytes()
    for size in (0, 100, 1 << 16, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(ShardError, match="no ArrayRecord file, or a damaged one"):
            read(path)


def test_a_damaged_description_is_found(tmp_path: Path) -> None:
    path = shard_in(tmp_path, {"type": "float32", "scaling_factor": 0.5}, fixed())
    text = (tmp_path / "x.json").read_bytes()
    (tmp_path / "x.json").write_bytes(text.replace(b"0.5", b"0.6"))
    with pytest.raises(InputError, match=r"x.arrayrecord: .*x.json: damaged"):
        read(path)
    (tmp_path / "x.json").write_text('{"of": "somebody else"}')
    assert len(read(path)) == 2


def test_what_is_refused(tmp_path: Path) -> None:
    path = shard_in(tmp_path, None, fixed())
    with pytest.raises(InputError, match="only latents are read, by decode"):
        read(path, ColumnSelection())
    with pytest.raises(NoColumnError, match=r"no latents in a feature 'z', there are .*latent \(float\)"):
        read(path, ColumnSelection(numeric=True, latents=True, length=4, image="z"))
    with pytest.raises(NoRecordsError):
        read(file_of(tmp_path / "y.arrayrecord"))
    with pytest.raises(InputError, match="pooled"):
        read(shard_in(tmp_path / "pooled", {"type": "float32", "pool": "mean"}, fixed()))


def test_flipped_bits_change_no_record(tmp_path: Path) -> None:
    """Anywhere in a file: an error that names it, or the same records, since some bytes are padding."""
    path = shard_in(tmp_path, None, fixed())
    data, found = path.read_bytes(), 0
    with open_records(str(path)) as intact:
        wanted = [intact.next() for _ in range(intact.count)]
    end = data.rindex(wanted[-1]) + len(wanted[-1])
    rng = np.random.default_rng(0)
    for at in [*rng.integers(0, end, 60).tolist(), *rng.integers(end, len(data), 60).tolist()]:
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :])
        try:
            with open_records(str(path)) as records:
                assert [records.next() for _ in range(records.count)] == wanted
        except ValueError:
            found += 1
    assert found >= 40
