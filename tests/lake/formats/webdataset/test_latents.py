"""Latents in tars: what the writer leaves for others, and what the reader makes of it, also when others repacked it."""

import json
import struct
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset

from lake.core.errors import InputError, ShardError
from lake.core.records import Records, Unit
from lake.formats import FORMATS
from lake.formats.common.vector_storage import METADATA_KEY
from lake.formats.reader import ColumnSelection
from lake.formats.webdataset.latents import LatentTarWriter
from lake.inputs.columns import settle_shard
from tests.conftest import Pixels
from tests.lake.formats.latent_tables import (
    CAPTIONS,
    KEYS,
    LABELS,
    create_in,
    fixed,
    latent_of,
    of_many_shapes,
    written,
)
from tests.lake.formats.support import archive, shard_of

LATENTS = ColumnSelection(numeric=True, latents=True, length=4)
SHAPED = ColumnSelection(numeric=True, latents=True, shaped=True)
SCALED = {"type": "float32", "scaling_factor": 0.5, "shift_factor": 1.0}


def write(root: Path, made: Any, metadata: dict[str, str], *, tensors: bool = False, step: int = 4) -> Path:
    table, rows = made
    (file,) = written(LatentTarWriter("x.tar", create_in(root)("x.tar"), table, metadata, tensors=tensors), rows, step)
    assert (file.name, file.rows, file.size) == ("x.tar", 4, (root / "x.tar").stat().st_size)
    return root / "x.tar"


def read(path: Path, selection: ColumnSelection) -> Records:
    shard = shard_of(path)
    columns = settle_shard("webdataset", shard, selection)
    (raw,) = FORMATS["webdataset"].reader.read(Unit(id="x", format="webdataset", shards=(shard,)), columns, 9)
    return raw.records()


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]


def npy(values: Pixels) -> bytes:
    out = BytesIO()
    np.save(out, values)
    return out.getvalue()


def test_members(tmp_path: Path) -> None:
    found = members(write(tmp_path, fixed(), {"latentlake.unit": "x"}))
    numbers = np.arange(16, dtype=np.float32).reshape(4, 2, 2)
    assert [name for name in found if name.startswith("00000000")] == [
        *("00000000.npy", "00000000.flip.npy", "00000000.json", "00000000.txt", "00000000.cls")
    ]
    for row in range(4):
        name = f"{row:08d}"
        assert found[f"{name}.npy"] == npy(numbers[row]) and found[f"{name}.flip.npy"] == npy(numbers[3 - row])
        assert json.loads(found[f"{name}.json"]) == {
            "key": KEYS[row],
            "shard": "in/a.tar",
            "index": [0, 1, 5, 9][row],
            "latent": {"type": "float32", "shape": [2, 2]},
            "txt": CAPTIONS[row],
            "label": LABELS[row],
        }
        assert found.get(f"{name}.txt") == (None if CAPTIONS[row] is None else str(CAPTIONS[row]).encode())
        assert found.get(f"{name}.cls") == (None if LABELS[row] is None else str(LABELS[row]).encode())
    assert len(found) == 4 * 3 + 3 + 3, "names are numbers, never keys"


def test_the_archive_says_what_made_it(tmp_path: Path) -> None:
    metadata = {"latentlake.unit": "é", METADATA_KEY: json.dumps(SCALED)}
    path = write(tmp_path, fixed(), metadata)
    with tarfile.open(path) as tar:
        assert json.loads(tar.pax_headers["comment"]) == metadata
        assert len(tar.getnames()) == 18, "which is no member"
    assert path.read_bytes() == write(tmp_path / "b", fixed(), metadata, step=1).read_bytes()


def test_safetensors(tmp_path: Path) -> None:
    found = members(write(tmp_path, of_many_shapes(), {}, tensors=True))
    data = found["00000003.safetensors"]
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    assert header == {"latent": {"dtype": "F16", "shape": [300, 1, 3], "data_offsets": [0, 1800]}}
    assert length % 8 == 0 and data[8 + length :] == latent_of(3).tobytes()
    assert not any(name.endswith(".npy") for name in found)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # of webdataset
def test_webdataset_reads_samples_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path, of_many_shapes(), {"latentlake.unit": "x"})
    found = list(webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False).decode())
    assert [sample["__key__"] for sample in found] == [f"{row:08d}" for row in range(4)]
    for row, sample in enumerate(found):
        np.testing.assert_array_equal(sample["npy"], latent_of(row))
        assert sample["json"]["latent"] == {"type": "float16", "scaling_factor": 0.5, "shape": [*latent_of(row).shape]}
        assert sample.get("txt") == CAPTIONS[row] and sample["json"]["height"] == [8, 16, 8, 2400][row]


def repacked(path: Path) -> None:
    """The members in a new archive, as ``webdataset.TarWriter`` makes it: its comment is lost."""
    path.write_bytes(archive([*members(path).items()]))


@pytest.mark.parametrize("tensors", [False, True])
@pytest.mark.parametrize("change", [lambda path: None, repacked])
def test_latents_come_back(tmp_path: Path, tensors: bool, change: Callable[[Path], None]) -> None:
    table, rows = fixed()
    object.__setattr__(table, "said", SCALED)
    path = write(tmp_path, (table, rows), {METADATA_KEY: json.dumps(SCALED)}, tensors=tensors)
    change(path)
    found = read(path, LATENTS)
    wanted = np.arange(16, dtype=np.float32).reshape(4, 4) / np.float32(0.5) + 1
    np.testing.assert_array_equal(found.payload, wanted)
    assert found.carried["cls"].to_pylist() == LABELS and found.carried["txt"].to_pylist() == CAPTIONS


@pytest.mark.parametrize("tensors", [False, True])
def test_latents_of_many_shapes_come_back(tmp_path: Path, tensors: bool) -> None:
    path = write(tmp_path, of_many_shapes(), {METADATA_KEY: json.dumps({"type": "float16"})}, tensors=tensors)
    found = read(path, ColumnSelection(numeric=True, latents=True, shaped=True, carry=("height",)))
    for row, file in enumerate(found.payload.to_pylist()):
        np.testing.assert_array_equal(np.load(BytesIO(file)), latent_of(row).astype(np.float32))
    assert found.carried["height"].to_pylist() == [8, 16, 8, 2400]


def test_a_scale_that_was_lost_is_no_scale_of_one(tmp_path: Path) -> None:
    table, rows = fixed(np.arange(16, dtype=np.int8).reshape(4, 4))
    object.__setattr__(table, "said", {"type": "int8"})
    said = {"type": "int8", "scale": [0.5], "offset": [1.0]}
    path = write(tmp_path, (table, rows), {METADATA_KEY: json.dumps(said)})
    np.testing.assert_array_equal(read(path, LATENTS).payload.reshape(-1), np.arange(16) * 0.5 + 1)
    repacked(path)
    with pytest.raises(InputError, match="int8 with 0 numbers of scale"):
        read(path, LATENTS)
    path.write_bytes(archive([("a.npy", npy(np.zeros(4, np.int8)))]))
    with pytest.raises(InputError, match="nothing says with what scale"):
        read(path, LATENTS)


def test_bad_members_are_faults(tmp_path: Path) -> None:
    good, tensor = npy(np.zeros((1, 1, 3), np.float32)), members(write(tmp_path, of_many_shapes(), {}, tensors=True))
    files = [
        ("0.npy", good),
        ("1.npy", good[:-1]),
        ("2.npy", npy(np.zeros((2, 3), np.float32))),
        ("3.npy", npy(np.zeros((1, 1, 3), np.int8))),
        ("4.npy", npy(np.zeros((0, 1, 3), np.float32))),
        ("5.npy", npy(np.zeros((1, 1, 3), "U1"))),
        ("6.npy", b""),
        ("7.npy", npy(np.zeros((1, 1, 3), np.float16))),
        ("7.json", b'{"latent": {"type": "float32"}}'),
        ("8.npy", good),
        ("8.json", b'{"latent": {"type": "float32", "normalize": "l2"}}'),
        ("9.npy", tensor["00000000.safetensors"]),
    ]
    path = tmp_path / "bad.tar"
    path.write_bytes(archive(files))
    shard = shard_of(path)
    columns = settle_shard("webdataset", shard, SHAPED)
    unit = Unit(id="x", format="webdataset", shards=(shard,))
    (raw,) = FORMATS["webdataset"].reader.read(unit, columns, 99)
    found = raw.records()
    reasons = {position: str(fault.reason) for position, fault in found.faults.items()}
    invalid = dict.fromkeys((1, 2, 4, 5, 6, 8), "invalid_record")
    assert reasons == {**invalid, 3: "wrong_type", 7: "wrong_type"}
    assert found.faults[1].data == good[:-1]


@pytest.mark.parametrize(
    ("comment", "problem"),
    [
        (json.dumps({METADATA_KEY: json.dumps({"type": "float32", "pool": "mean"})}), "pooled"),
        (json.dumps({METADATA_KEY: "{"}), "Expecting"),
        (json.dumps({METADATA_KEY: 3}), "its metadata are no JSON"),
    ],
)
def test_what_the_archive_says_is_checked(tmp_path: Path, comment: str, problem: str) -> None:
    files: list[tuple[str | tarfile.TarInfo, bytes]] = [("0.npy", npy(np.zeros(4, np.float32)))]
    path = tmp_path / "a.tar"
    path.write_bytes(archive(files, "pax", pax_headers={"comment": comment}))
    with pytest.raises(InputError, match=problem):
        read(path, LATENTS)
    good = tmp_path / "b.tar"
    good.write_bytes(archive(files, "pax", pax_headers={"comment": "5d41402abc4b2a76b9719d911017c592"}))
    columns = settle_shard("webdataset", shard_of(good), LATENTS)
    with pytest.raises(ShardError, match=problem):
        list(FORMATS["webdataset"].reader.read(Unit(id="x", format="webdataset", shards=(shard_of(path),)), columns, 9))
