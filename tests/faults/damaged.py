"""Small shards of every container, and what reading gives of them once they are damaged."""

import gzip
import io
import json
import struct
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import ShardError
from lake.core.records import Fault, Records, Shard, Unit
from lake.formats import FORMATS
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.images.types import PixelLayout
from tests.conftest import png
from tests.lake.formats.support import archive, shard_of
from tests.lake.formats.tfrecord.examples import example

COUNT = 40  # records of every container here

MODES = pytest.mark.parametrize("salvage", [False, True], ids=["fail", "reject"])
SIZES = pytest.mark.parametrize("size", [1, 7, 16, 256])


@dataclass(frozen=True, kw_only=True)
class Container:
    """A shard that is intact: its format, its bytes under a file name, and how it is read."""

    format: str
    name: str
    data: bytes
    request: ColumnSelection = field(default_factory=ColumnSelection)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What reading gave: values of good records and what is wrong with bad ones, by index, and how it ended."""

    good: dict[int, tuple[Any, ...]]
    bad: dict[int, Fault]
    error: ShardError | None

    @property
    def lost(self) -> int:
        """The first position that was not read."""
        return len(self.good) + len(self.bad)


def settle(container: Container, folder: Path, *, salvage: bool = False) -> RecordSchema:
    """RecordSchema by the intact shard."""
    shard = shard_of(folder / container.name, container.data)
    return FORMATS[container.format].reader.settle(shard, replace(container.request, salvage=salvage))


def read(
    container: Container, folder: Path, columns: RecordSchema, data: bytes | None = None, size: int = 16
) -> Outcome:
    """Read the container, with other bytes where they are given."""
    shard = shard_of(folder / container.name, container.data if data is None else data)
    return read_shard(container.format, shard, columns, size)


def read_shard(format: str, shard: Shard, columns: RecordSchema, size: int = 16) -> Outcome:
    parts: list[Records] = []
    error = None
    try:
        unit = Unit(id="u", format=format, shards=(shard,))
        parts.extend(raw.records() for raw in FORMATS[format].reader.read(unit, columns, size))
    except ShardError as raised:
        error = raised
        assert str(raised).startswith(shard.path)
    good, bad = dict[int, tuple[Any, ...]](), dict[int, Fault]()
    for part in parts:
        _sort(part, good, bad)
    assert sorted([*good, *bad]) == list(range(len(good) + len(bad)))  # in order, each once
    return Outcome(good=good, bad=bad, error=error)


def _sort(part: Records, good: dict[int, tuple[Any, ...]], bad: dict[int, Fault]) -> None:
    numbers = isinstance(part.payload, np.ndarray)
    payload = [row.tobytes() for row in part.payload] if numbers else part.payload.to_pylist()
    carried = [column.to_pylist() for column in part.carried.values()]
    for at, values in enumerate(zip(part.key.to_pylist(), payload, *carried, strict=True)):
        index = int(part.index[at])
        assert index not in good
        assert index not in bad
        if at in part.faults:
            bad[index] = part.faults[at]
        else:
            good[index] = values


def flip(data: bytes, bit: int) -> bytes:
    """The bytes with one bit the other way round."""
    at = bit // 8
    return data[:at] + bytes([data[at] ^ 1 << bit % 8]) + data[at + 1 :]


# ---- intact containers


def images(digits: Any) -> list[bytes]:
    """PNG files."""
    return [png(image) for image in digits[:COUNT]]


def examples(files: Sequence[bytes]) -> list[bytes]:
    """Always the same bytes, which protobuf does not promise by itself."""
    import tensorflow as tf

    made = (example(image=data, key=b"k%d" % at, label=at % 10) for at, data in enumerate(files))
    return [tf.train.Example.FromString(data).SerializeToString(deterministic=True) for data in made]


def tfrecord(records: Sequence[bytes]) -> bytes:
    """As TensorFlow writes them."""
    import tempfile

    import tensorflow as tf

    with tempfile.NamedTemporaryFile(suffix=".tfrecord") as file:
        with tf.io.TFRecordWriter(file.name) as writer:
            for record in records:
                writer.write(record)
        return Path(file.name).read_bytes()


def tar(files: Sequence[bytes], format: str = "ustar") -> bytes:
    """As Python's tarfile writes it: an image and a class for each sample."""
    pairs = (((f"{at:04d}.png", data), (f"{at:04d}.cls", b"%d" % (at % 10))) for at, data in enumerate(files))
    return archive([member for pair in pairs for member in pair], format)


def member(data: bytes, name: str) -> tarfile.TarInfo:
    """Where a member of an intact archive is, by tarfile."""
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        return opened.getmember(name)


def parquet(files: Sequence[bytes], **options: Any) -> bytes:
    """With checksums of pages; four rows in each page, sixteen in each row group."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = pa.array([{"bytes": data, "path": f"{at}.png"} for at, data in enumerate(files)], kind)
    table = pa.table({"image": column, "label": pa.array([at % 10 for at in range(len(files))])})
    chosen = {
        "row_group_size": 16,
        "write_batch_size": 4,
        "data_page_size": 1,
        "use_dictionary": False,
        "write_page_checksum": True,
        "compression": "zstd",
    }
    out = io.BytesIO()
    pq.write_table(table, out, **(chosen | options))
    return out.getvalue()


def arrow(files: Sequence[bytes], open: Any = pa.ipc.new_stream, packing: str | None = None) -> bytes:
    """Record batches of sixteen rows."""
    table = pa.table({"image": files, "label": pa.array([f"{at % 3}" for at in range(len(files))]).dictionary_encode()})
    out = io.BytesIO()
    with open(out, table.schema, options=pa.ipc.IpcWriteOptions(compression=packing)) as writer:
        writer.write_table(table, 16)
    return out.getvalue()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npz(save: Any = np.savez_compressed, **arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    save(out, **arrays)
    return out.getvalue()


def idx(array: np.ndarray) -> bytes:
    sides = b"".join(side.to_bytes(4, "big") for side in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sides + array.tobytes()


def csv(array: np.ndarray) -> bytes:
    """As Kaggle's MNIST."""
    rows = [[at % 10, *row] for at, row in enumerate(array.reshape(len(array), -1).tolist())]
    names = ["label", *(f"pixel{at}" for at in range(len(rows[0]) - 1))]
    return "".join(",".join(map(str, row)) + "\n" for row in [names, *rows]).encode()


def mds(files: Sequence[bytes]) -> bytes:
    """As MosaicML's MDSWriter."""
    columns = {"column_names": ["image", "label"], "column_encodings": ["png", "int"], "column_sizes": [None, 8]}
    text = json.dumps({**columns, "format": "mds", "version": 2}).encode()
    samples = [struct.pack("<I", len(file)) + file + struct.pack("<q", at % 10) for at, file in enumerate(files)]
    edges = np.cumsum([4 + 4 * (len(files) + 1) + len(text), *map(len, samples)]).tolist()
    return struct.pack(f"<{len(edges) + 1}I", len(files), *edges) + text + b"".join(samples)


def containers(digits: Any) -> dict[str, Container]:
    """One of each kind, by name."""
    files, pixels = images(digits), digits[:COUNT]
    records, tarred = tfrecord(examples(files)), tar(files)
    made = {
        "tfrecord": ("tfrecord", "a.tfrecord", records),
        "tfrecord.gz": ("tfrecord", "a.tfrecord.gz", gzip.compress(records, mtime=0)),
        "tar": ("webdataset", "a.tar", tarred),
        "tar.gz": ("webdataset", "a.tar.gz", gzip.compress(tarred, mtime=0)),
        "parquet": ("parquet", "a.parquet", parquet(files)),
        "parquet plain": (
            "parquet",
            "a.parquet",
            parquet(files, compression="none", store_schema=False, write_statistics=False),
        ),
        "arrow": ("arrow", "a.arrow", arrow(files)),
        "arrow file": ("arrow", "a.feather", arrow(files, pa.ipc.new_file, "lz4")),
        "npz": ("array", "a.npz", npz(x=pixels, y=np.arange(COUNT))),
        "npz stored": ("array", "a.npz", npz(np.savez, x=pixels, y=np.arange(COUNT))),
        "npy": ("array", "a.npy", npy(pixels)),
        "npy.gz": ("array", "a.npy.gz", gzip.compress(npy(pixels), mtime=0)),
        "idx.gz": ("array", "a.idx3-ubyte.gz", gzip.compress(idx(pixels), mtime=0)),
        "npy chw": ("array", "a.npy", npy(pixels[:, None])),
        "mds": ("mds", "a.mds", mds(files)),
        "csv": ("csv", "a.csv", csv(pixels)),
        "csv.gz": ("csv", "a.csv.gz", gzip.compress(csv(pixels), mtime=0)),
    }
    requests = {"npy chw": ColumnSelection(layout=PixelLayout.CHW)}
    requests |= dict.fromkeys(["csv", "csv.gz"], ColumnSelection(shape=(8, 8, 1)))
    return {
        kind: Container(format=format, name=name, data=data, request=requests.get(kind, ColumnSelection()))
        for kind, (format, name, data) in made.items()
    }


# ---- what is checked


def begin(outcome: Outcome, count: int) -> dict[int, tuple[Any, ...]]:
    """The first records of a clean run."""
    return {at: values for at, values in outcome.good.items() if at < count}


def check(found: Outcome, clean: Outcome, count: int, says: str) -> None:
    """The first ``count`` records as in a clean run, nothing after them, and an error that ends in these words."""
    assert (found.good, found.bad) == (begin(clean, count), {})
    assert type(found.error) is ShardError
    assert str(found.error).endswith(says)


def starts(data: bytes) -> list[int]:
    """Where the records of an intact shard begin, and where the last one ends."""
    found = [0]
    while found[-1] < len(data):
        found.append(found[-1] + 16 + struct.unpack_from("<Q", data, found[-1])[0])
    return found


def masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
