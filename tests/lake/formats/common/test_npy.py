"""Headers of NumPy's own files, whole and damaged."""

import gzip
import io
import struct
import tracemalloc
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from lake.core.errors import ShardError
from lake.formats.common.npy import npy_header, read_npy_header
from lake.formats.reader import ColumnSelection
from tests.lake.formats.array.arrays import PIXELS, READER, batches, npy, pixels_of
from tests.lake.formats.support import shard_of


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["|u1", "<u2", ">u2", "<f2", ">f4", "<f4", "<f8", ">f8"])
@pytest.mark.parametrize("shape", [(50, 4, 3), (50, 4, 3, 2), (50, 6)])
def test_npy_of_every_order_and_type(tmp_path: Path, order: Any, kind: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).integers(0, 200, shape).astype(kind, order=order)
    shard = shard_of(tmp_path / "a.npy", npy(array))
    columns = READER.settle(shard, ColumnSelection())
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
    payload = pixels_of(batches(shard, READER.settle(shard, ColumnSelection(length=5))))
    assert payload.dtype == np.float32
    np.testing.assert_array_equal(payload, array)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_header(tmp_path: Path, version: tuple[int, int]) -> None:
    out = io.BytesIO()
    np.lib.format.write_array(out, PIXELS, version=version)
    shard = shard_of(tmp_path / "a.npy", out.getvalue())
    np.testing.assert_array_equal(pixels_of(batches(shard, READER.settle(shard, ColumnSelection()))), PIXELS[..., None])


@pytest.mark.parametrize("shape", [(), (0,), (7,), (5, 8, 8), (2, 3, 4, 1)])
@pytest.mark.parametrize(
    "kind", ["|b1", "<i8", ">f2", "<c16", "<U12", "|S3", "<M8[ns]", "|O", [("a", "<i4"), ("b", "<f4", (2,))]]
)
def test_headers_are_read_as_numpy_reads_them(kind: Any, shape: tuple[int, ...]) -> None:
    written = npy_header(np.dtype(kind), shape)
    found = read_npy_header(written[:8], io.BytesIO(written[8:]))
    stream = io.BytesIO(written)
    np.lib.format.read_magic(stream)
    assert (found.shape, found.fortran, np.dtype(kind)) == np.lib.format.read_array_header_1_0(stream)
    assert found.offset == stream.tell() == len(written)
    plain = isinstance(kind, str) and kind != "|O"
    assert found.dtype == (np.dtype(kind) if plain else None)
    assert found.descr == (kind if isinstance(kind, str) else str(kind))


@pytest.mark.parametrize(
    "words",
    [
        "{'shape': (3, 4), 'fortran_order': False, 'descr': '<f4'}",
        '{"descr":"<f4","fortran_order":False,"shape":(3,4)}\n',
        "  {'descr' : '<f4' , 'fortran_order' : False , 'shape' : ( 3 , 4 , ) , }   \n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3L, 4L), }",
    ],
    ids=["another order", "dense", "wide", "Python 2"],
)
def test_headers_of_other_tools(words: str) -> None:
    data = header(words)
    found = read_npy_header(b"", io.BytesIO(data))
    assert (found.shape, found.descr, found.fortran, found.offset) == ((3, 4), "<f4", False, len(data))


def test_headers_are_read_without_pythons_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11's parser fails now and then when two threads use it at once (python/cpython#106905)."""
    written = npy_header(np.dtype("<f4"), (10, 3))

    def parse(*given: Any, **named: Any) -> None:
        raise AssertionError("Python's parser is used")

    monkeypatch.setattr("ast.parse", parse)
    assert read_npy_header(b"", io.BytesIO(written)).shape == (10, 3)


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
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 2), 'shape': (1, 4)}") + bytes(4),
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (4)}") + bytes(4),
        header("{'descr': '|u1', 'fortran_order': False, 'shape': (%s, 2)}" % ("9" * 4_000)) + bytes(4),
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
    ids=range(19),
)
def test_a_header_that_lies_is_reported_before_anything_is_allocated(tmp_path: Path, data: bytes) -> None:
    shard = shard_of(tmp_path / "a.npy", data)
    tracemalloc.start()
    try:
        with pytest.raises(ShardError, match=r"^a\.npy: "):
            READER.settle(shard, ColumnSelection())
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_unit_of_time_that_there_is_not_is_damage(tmp_path: Path) -> None:
    shard = shard_of(
        tmp_path / "a.npy", header("{'descr': '<M8[xy]', 'fortran_order': False, 'shape': (1, 1)}") + bytes(8)
    )
    with pytest.raises(ShardError, match=r"^a\.npy: no element type of a \.npy header: '<M8\[xy\]'"):
        READER.settle(shard, ColumnSelection())


@pytest.mark.parametrize("shape", [(10**4000,), (1 << 62, 4), (10**4000, 0)], ids=["digits", "product", "no rows"])
def test_a_shape_beyond_any_file_is_damage(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """A number of so many digits cannot even be printed."""
    words = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({', '.join(map(str, shape))},)}}\n".encode()
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(words)) + words
    with pytest.raises(ShardError, match=r"a\.npy: a shape of more than 9223372036854775807 elements"):
        READER.settle(shard_of(tmp_path / "a.npy", data), ColumnSelection())


@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (4, 5, 6)])
@pytest.mark.parametrize("dtype", ["<f4", "|u1", ">i2", "<M8[ns]", "<U7"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_header_says_what_numpy_reads(shape: tuple[int, ...], dtype: str, order: Literal["C", "F"]) -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros(shape, dtype, order))
    stream.seek(0)
    layout = read_npy_header(b"", stream)
    found = np.load(io.BytesIO(stream.getvalue()))
    assert (layout.shape, layout.dtype, layout.offset) == (found.shape, found.dtype, stream.tell())
    assert layout.fortran == (order == "F" and len(shape) > 1 and not found.flags.c_contiguous)


@pytest.mark.parametrize("shape", ["[3, 4]", "3", "(3.0, 4)", "{}", "'x'", "(3, None)", "(1e3, 1)"])
def test_a_shape_is_a_tuple_of_sizes(shape: str) -> None:
    with pytest.raises(ValueError, match="npy header"):
        read_npy_header(b"", io.BytesIO(header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}")))
