"""The containers of the zoo that hold numbers: arrays of pixels, and vectors in every format."""

import io
import tarfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lake.core.records import Reason, Stage
from tests.faults.bad_records import MOST, SIDE, Bad, Record
from tests.faults.containers import IN_A_TAR, Cage, example, own, sample
from tests.faults.fussy import WHITE
from tests.faults.mirror import DAZZLING
from tests.lake.formats.support import archive, special

LENGTH = 6  # numbers of a vector
NOT_FINITE = Bad(Reason.NON_FINITE_INPUT, "NaN or infinite values in the input")
_FAILS = Bad(Reason.MODEL_FAILED, WHITE, Stage.MODEL)
_DAZZLES = Bad(Reason.NON_FINITE_LATENT, "the model's output has NaN or infinite values", Stage.MODEL)


def npy(array: np.ndarray) -> bytes:
    """The file that NumPy makes of an array."""
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


@cache
def good_rows(count: int) -> tuple[Record, ...]:
    """Rows of as many numbers."""
    rows = np.random.default_rng(count).random((60, count)).astype(np.float32) * np.float32(0.9)
    return tuple(Record(name=f"plain {at}", data=row.tobytes(), pixels=row) for at, row in enumerate(rows))


@cache
def bad_rows(count: int) -> tuple[Record, ...]:
    """Rows of as many numbers; each fault several times."""
    found = list[Record]()
    for at in (0, 1, 2, count // 2, count - 2, count - 1):
        for name, value in (("NaN", np.nan), ("infinite", np.inf), ("-infinite", -np.inf)):
            row = np.full(count, 0.5, np.float32)
            row[at] = value
            found.append(Record(name=f"{name} at {at}", data=row.tobytes(), bad=NOT_FINITE))
        for name, value, bad in (("fails", 1, _FAILS), ("dazzles", DAZZLING, _DAZZLES)):
            row = np.full(count, value, np.float32)
            found.append(Record(name=f"{name}, {at}", data=row.tobytes(), bad=bad))
    return tuple(found)


def numbers(record: Record) -> np.ndarray:
    """float32 of a record's data."""
    return np.frombuffer(record.data or b"", np.float32)


# ---- arrays


def _pixels(records: Sequence[Record]) -> np.ndarray:
    return np.stack([numbers(record).reshape(SIDE, SIDE) for record in records])


def _write_npz(place: Path, records: Sequence[Record]) -> None:
    labels, keys = [record.label for record in records], [record.key for record in records]
    np.savez(place / "a.npz", x=_pixels(records), y=labels, keys=np.array(keys))


def _write_channels_first(place: Path, records: Sequence[Record]) -> None:
    labels, keys = [record.label for record in records], [record.key for record in records]
    np.savez(place / "a.npz", x=_pixels(records)[:, None], y=labels, keys=np.array(keys))


def _write_npy(place: Path, records: Sequence[Record]) -> None:
    np.save(place / "v.npy", np.stack([numbers(record) for record in records]))


def _read_npz(place: Path) -> list[tuple[str, bytes]]:
    with np.load(place / "a.npz") as arrays:
        return [(str(key), row.tobytes()) for key, row in zip(arrays["keys"], arrays["x"], strict=True)]


# ---- vectors


def _write_tfrecord(place: Path, records: Sequence[Record]) -> None:
    from tests.faults.damaged import tfrecord

    (place / "v.tfrecord").write_bytes(tfrecord([_example(record) for record in records]))


def _example(record: Record) -> bytes:
    if record.raw is not None:
        return bytes(record.raw)
    assert record.key is not None
    return example(features=numbers(record).tolist(), key=record.key.encode(), label=record.label)


def _own_examples() -> Iterator[Record]:
    for name, reason, says, features in (
        ("none", Reason.MISSING_IMAGE, "no value in feature 'features'", {"label": 1}),
        ("short", Reason.WRONG_LENGTH, "5 values in feature 'features', not 6", {"features": [0.5] * 5}),
    ):
        raw = example(**features, key=name.encode())
        yield own(name, reason, says, raw, raw)
    raw = example(features=[1] * LENGTH)
    yield own("integers", Reason.WRONG_TYPE, "feature 'features' holds int64, not float", raw, raw, keyed=False)
    raw = example(features=[0.5] * LENGTH, note=bytes(MOST))
    yield own("large", Reason.RECORD_TOO_LARGE, f"{len(raw)} bytes; the most is {MOST}", raw, None, keyed=False)


def _write_tar(place: Path, records: Sequence[Record]) -> None:
    members = [part for record in records for part in record.raw or sample(record, "npy", npy(numbers(record)))]
    (place / "v.tar").write_bytes(archive(members, "pax"))


def _own_samples() -> Iterator[Record]:
    yield own("none", Reason.MISSING_IMAGE, "no member with the extension npy", [("none.cls", b"1")], None)
    link = [(special("link.npy", tarfile.SYMTYPE), b""), ("link.cls", b"1")]
    yield own("link", Reason.INVALID_RECORD, "member 'link.npy' is a symbolic link", link, None)
    large = npy(np.zeros(MOST // 4, np.float32))
    says = f"member 'large.npy' has {len(large)} bytes, and at most {MOST} are allowed"
    yield own("large", Reason.RECORD_TOO_LARGE, says, [("large.npy", large), ("large.cls", b"1")], None)
    flat = "a .npy file that does not hold one dimension of plain numbers"
    short = npy(np.ones(7, np.float32))
    for name, reason, says, data in (
        ("text", Reason.INVALID_RECORD, "not a .npy file", b"0.5 0.5 0.5 0.5 0.5 0.5"),
        ("square", Reason.INVALID_RECORD, flat, npy(np.ones((2, 3), np.float32))),
        ("pickle", Reason.INVALID_RECORD, flat, npy(np.array([print] * LENGTH, object))),
        ("cut", Reason.INVALID_RECORD, "151 bytes where the .npy header announces 156", short[:-5]),
        ("long", Reason.WRONG_LENGTH, "7 values, not 6", short),
        ("empty", Reason.INVALID_RECORD, "not a .npy file", b""),
    ):
        yield own(name, reason, says, [(f"{name}.npy", data), (f"{name}.cls", b"1")], data)


def _write_lists(place: Path, records: Sequence[Record]) -> None:
    _write_parquet(place, records, pa.list_(pa.float64()))


def _write_fixed_lists(place: Path, records: Sequence[Record]) -> None:
    _write_parquet(place, records, pa.list_(pa.float64(), LENGTH))


def _write_large_lists(place: Path, records: Sequence[Record]) -> None:
    _write_parquet(place, records, pa.large_list(pa.float64()))


def _write_parquet(place: Path, records: Sequence[Record], kind: pa.DataType) -> None:
    vectors = [numbers(record).tolist() if record.raw is None else record.raw["vector"] for record in records]
    columns = {
        "vector": pa.array(vectors, kind),
        "key": [record.key for record in records],
        "label": [record.label for record in records],
    }
    pq.write_table(pa.table(columns), place / "v.parquet", row_group_size=7)


def _own_rows() -> Iterator[Record]:
    half = [0.5] * LENGTH
    yield from _own_fixed_rows()
    yield own("short", Reason.WRONG_LENGTH, "5 numbers, not 6", {"vector": half[:5]}, np.array(half[:5]).tobytes())
    yield own("none", Reason.WRONG_LENGTH, "0 numbers, not 6", {"vector": []}, b"")


def _own_fixed_rows() -> Iterator[Record]:
    half = [0.5] * LENGTH
    yield own("null", Reason.MISSING_IMAGE, "the vector is null", {"vector": None}, None)
    for name, value, seen in (("null inside", None, np.nan), ("beyond float32", 1e300, np.inf)):
        data = np.array([*half[:5], seen], np.float32).tobytes()
        yield Record(name=name, key=name, data=data, raw={"vector": [*half[:5], value]}, bad=NOT_FINITE)


_IMAGES: Any = {"good": lambda: good_rows(SIDE * SIDE), "bad": lambda: bad_rows(SIDE * SIDE)}
_VECTORS: Any = {"good": lambda: good_rows(LENGTH), "bad": lambda: bad_rows(LENGTH)}
ARRAYS = {
    "npz": Cage(shard="a.npz", write=_write_npz, own=tuple, read=_read_npz, columns=(("key", "keys"),), **_IMAGES),
    "npz, channels first": Cage(
        shard="a.npz",
        write=_write_channels_first,
        own=tuple,
        read=_read_npz,
        columns=(("key", "keys"), ("layout", "chw")),
        **_IMAGES,
    ),
}
VECTORS = {
    "tfrecord": Cage(shard="v.tfrecord", write=_write_tfrecord, own=_own_examples, **_VECTORS),
    "webdataset": Cage(shard="v.tar", write=_write_tar, own=_own_samples, keys=IN_A_TAR, **_VECTORS),
    "parquet": Cage(shard="v.parquet", write=_write_lists, own=_own_rows, **_VECTORS),
    "parquet, large": Cage(shard="v.parquet", write=_write_large_lists, own=_own_rows, **_VECTORS),
    "parquet, fixed": Cage(shard="v.parquet", write=_write_fixed_lists, own=_own_fixed_rows, **_VECTORS),
    "npy": Cage(shard="v.npy", write=_write_npy, own=tuple, keys=(), **_VECTORS),
}
