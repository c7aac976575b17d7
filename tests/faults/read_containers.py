"""The containers of the zoo that are read and not written: Arrow, lines of numbers, and files of one array each."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from lake.core.records import Reason
from tests.faults.bad_records import KEYS, MOST, Record
from tests.faults.containers import IN_A_NAME, Cage, binaries, own, own_binaries, path_of, table
from tests.faults.number_containers import LENGTH, bad_rows, good_rows, npy, numbers


def _write_stream(place: Path, records: Sequence[Record]) -> None:
    _write_arrow(place / "a.arrow", pa.ipc.new_stream, records)


def _write_file(place: Path, records: Sequence[Record]) -> None:
    _write_arrow(place / "a.feather", pa.ipc.new_file, records)


def _write_arrow(path: Path, kind: object, records: Sequence[Record]) -> None:
    held = table(records, binaries(records))
    with kind(str(path), held.schema) as writer:  # type: ignore[operator]
        writer.write_table(held, 16)


# ---- CSV


def _write_csv(place: Path, records: Sequence[Record]) -> None:
    header = ",".join(["label", "key", *(f"x{at}" for at in range(LENGTH))])
    lines = [header.encode(), *(record.raw or line(record) for record in records)]
    (place / "v.csv").write_bytes(b"\n".join(lines) + b"\n")


def line(record: Record) -> bytes:
    """As Python's csv module writes it."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([record.label, record.key, *map(float, numbers(record))])
    return out.getvalue().encode()


def _in_a_line(key: str) -> bool:
    return bool(key) and not set(key) & set("\n\r\0")


@cache
def _bad_lines() -> tuple[Record, ...]:
    """Of the bad rows those that are no NaN, which is no value in CSV."""
    return tuple(record for record in bad_rows(LENGTH) if not record.name.startswith("NaN"))


def _own_lines() -> Iterator[Record]:
    start = b"1,name,0.5,0.5,0.5,0.5,"
    long = start + b"0.5," + b"0" * MOST
    says = rf"line \d+: {len(long) + 1} bytes; the most is {MOST}"
    yield own("large", Reason.RECORD_TOO_LARGE, says, long, None, keyed=False)
    for name, says, raw in (
        ("few", ".+ Expected 8 columns, got 7: .+", start + b"0.5"),
        ("many", ".+ Expected 8 columns, got 9: .+", start + b"0.5,0.5,0.5"),
        ("word", ".+ invalid value 'cat'", start + b"0.5,cat"),
        ("quote", ".+ Expected 8 columns, got 7: .+", start + b'"0.5,0.5'),
        ("label", ".+ invalid value 'cat'", b"cat,name,0.5,0.5,0.5,0.5,0.5,0.5"),
    ):
        yield own(name, Reason.INVALID_RECORD, rf"line \d+: {says}", raw, raw, keyed=False)
    for name, field in (("empty", b""), ("NaN", b"nan")):
        record = own(name, Reason.INVALID_RECORD, r"line \d+: a number is missing", start + b"0.5," + field, None)
        yield replace(record, key="name", data=record.raw)


# ---- files of one array


def _write_npys(place: Path, records: Sequence[Record]) -> None:
    for record in records:
        path = place / path_of(record)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(npy(numbers(record)) if record.raw is None else record.raw)


@cache
def _good_files() -> tuple[Record, ...]:
    return tuple(replace(record, suffix="npy") for record in good_rows(LENGTH))


@cache
def _bad_files() -> tuple[Record, ...]:
    return tuple(replace(record, suffix="npy") for record in bad_rows(LENGTH))


def _own_files() -> Iterator[Record]:
    flat = "a .npy file that does not hold one dimension of plain numbers"
    long, large = npy(np.ones(LENGTH + 1, np.float32)), npy(np.zeros(MOST, np.float32))
    for name, reason, says, data in (
        ("text", Reason.INVALID_RECORD, "not a .npy file", b"0.5 0.5 0.5 0.5 0.5 0.5"),
        ("empty", Reason.INVALID_RECORD, "not a .npy file", b""),
        ("square", Reason.INVALID_RECORD, flat, npy(np.ones((2, 3), np.float32))),
        ("pickle", Reason.INVALID_RECORD, flat, npy(np.array([print] * LENGTH, object))),
        ("cut", Reason.INVALID_RECORD, "151 bytes where the .npy header announces 156", long[:-5]),
        ("long", Reason.WRONG_LENGTH, "7 values, not 6", long),
    ):
        yield replace(own(name, reason, says, data, data), suffix="npy")
    says = f"{len(large)} bytes; the most is {MOST}"
    yield replace(own("large", Reason.RECORD_TOO_LARGE, says, large, None), suffix="npy")


READ_IMAGES = {
    "arrow": Cage(shard="a.arrow", write=_write_stream, own=own_binaries),
    "arrow, file": Cage(shard="a.feather", write=_write_file, own=own_binaries),
}
READ_VECTORS = {
    "csv": Cage(
        shard="v.csv",
        write=_write_csv,
        own=_own_lines,
        keys=tuple(filter(_in_a_line, KEYS)),
        good=lambda: good_rows(LENGTH),
        bad=_bad_lines,
    ),
    "npy files": Cage(
        shard="",
        write=_write_npys,
        own=_own_files,
        keys=IN_A_NAME,
        good=_good_files,
        bad=_bad_files,
        columns=(("format", "npy"),),
    ),
}
