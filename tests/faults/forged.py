"""Shards and state that a forger would make: small files that promise more than there is, under right checksums.

Every function takes dice, so that a number gives the same file everywhere. Large ones of few kinds are made once.
"""

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lake.core import sealed_json
from lake.core.records import OutputFile
from pipeline.output.manifest.manifest_rows import ROW_SCHEMA, UNITS, row_of
from pipeline.output.units.receipts import Receipt
from tests.faults.damaged import masked, npy
from tests.faults.mutations import Dice
from tests.lake.formats.support import archive

Forger: TypeAlias = Callable[[Dice], tuple[str, bytes]]  # name of the file, and its bytes

_SIDES = (0, 1, 2, 8, 255, 4096, 1 << 20, 1 << 31, (1 << 63) - 1, 10**19, 10**60, -1)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_NAMES = (
    "../victim",
    "latents/../../victim",
    "/etc/victim",
    "",
    "latents/",
    "a\x1b[2J\n",
    "_SUCCESS",
    "latents//a",
    "a\0b",
)
_ODD = (None, -1, 1e18, 10**400, [], {}, "", "x" * 100_000, True, "\x1b[31m\n", [[[[]]]], 1 << 63)


# ---- Parquet


def dictionary(dice: Dice) -> tuple[str, bytes]:
    """One large value, named by many rows."""
    size, count = dice.choice((1 << 10, 1 << 20, 20 << 20)), dice.choice((1, 64, 4096, 100_000))
    return "a.parquet", _one_value(size, count)


@cache
def _one_value(size: int, count: int) -> bytes:
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([bytes(size)], pa.binary()))
    return _parquet(pa.table({"image": column, "label": np.zeros(count, np.int64)}))


def nulls(dice: Dice) -> tuple[str, bytes]:
    """Very many rows of nothing."""
    return "a.parquet", _rows_of_nothing(dice.choice((1_000, 100_000, 3_000_000)))


@cache
def _rows_of_nothing(count: int) -> bytes:
    return _parquet(pa.table({"image": pa.nulls(count, pa.binary())}))


def wide(dice: Dice) -> tuple[str, bytes]:
    """Many columns."""
    return "a.parquet", _columns(dice.choice((100, 2_000, 8_000)))


@cache
def _columns(count: int) -> bytes:
    return _parquet(pa.table({"image": pa.array([b"x"]), **{f"c{at}": pa.array([at]) for at in range(count)}}))


def deep(dice: Dice) -> tuple[str, bytes]:
    """A footer whose schema is nested, as no writer of ours would write it."""
    levels = dice.choice((1, 20, 99, 101, 1_000, 20_000, 200_000))
    groups = b"".join(_group(b"g", 1) for _ in range(levels))
    leaf = b"\x15\x0c\x25\x00\x18\x05image\x00"  # type BYTE_ARRAY, REQUIRED, name
    schema = _group(b"root", 1) + groups + leaf
    return "a.parquet", _footer(levels + 2, schema)


def footer(dice: Dice) -> tuple[str, bytes]:
    """A footer of any bytes, or the lists of a footer with extreme lengths."""
    if dice.random() < 0.5:
        return "a.parquet", _framed(dice.randbytes(dice.randrange(200)))
    return "a.parquet", _footer(
        dice.choice((0, 1, 1 << 20, (1 << 31) - 1)), _group(b"root", dice.choice((0, 1, 1 << 30)))
    )


def _group(name: bytes, children: int) -> bytes:
    """A SchemaElement in Thrift's compact protocol: repetition, name, number of children."""
    return b"\x35\x00\x18" + _varint(len(name)) + name + b"\x15" + _varint(2 * children) + b"\x00"


def _footer(elements: int, schema: bytes) -> bytes:
    """FileMetaData: version 1, the schema, no rows and no row groups."""
    count = bytes([elements << 4 | 0x0C]) if elements < 15 else b"\xfc" + _varint(elements)
    return _framed(b"\x15\x02\x19" + count + schema + b"\x16\x00\x19\x0c\x00")


def _framed(content: bytes) -> bytes:
    return b"PAR1" + content + struct.pack("<I", len(content)) + b"PAR1"


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", row_group_size=len(table) or 1)
    return out.getvalue()


# ---- arrays


def header(dice: Dice) -> tuple[str, bytes]:
    """A header of ``.npy`` with any type, order and shape."""
    kind = dice.choice(
        ("|u1", "<f4", "<U999999999", "|S1073741824", "|O", "<M8[ns]", "<c16", "|V8", "x" * 500, "[('a', '<f4')]")
    )
    shape = tuple(dice.choice(_SIDES) for _ in range(dice.randrange(5)))
    words = f"{{'descr': '{kind}', 'fortran_order': {dice.choice((True, False, 3))}, 'shape': {shape}, }}"
    return "a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(words) & 65535) + words.encode() + bytes(
        dice.randrange(999)
    )


def members(dice: Dice) -> tuple[str, bytes]:
    """An archive of any method, with sizes that lie."""
    method, size = dice.choice(_METHODS), dice.choice((100, 1 << 20, 64 << 20))
    name, count = dice.choice(("y.npy", "../y.npy", "x.npy2", "é\n.npy")), dice.choice((1, 7))
    make = _two_arrays.__wrapped__ if method == zipfile.ZIP_STORED else _two_arrays  # as large as it is to be
    data = bytearray(make(method, size, name, count))
    if dice.random() < 0.7:  # the central directory: compressed and real size of the first member
        entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"PK\x01\x02"))
        struct.pack_into(
            "<I", data, entry + dice.choice((16, 20, 24)), dice.choice((0, 1, 255, 1 << 20, 1 << 31, 0xFFFFFFFF))
        )
    return "a.npz", bytes(data)


@cache
def _two_arrays(method: int, size: int, name: str, count: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archived:
        for member, values in (("x.npy", np.zeros((1, size, 1), np.uint8)), (name, np.zeros(count))):
            archived.writestr(zipfile.ZipInfo(member), npy(values), method)
    return out.getvalue()


# ---- records in a row


def samples(dice: Dice) -> tuple[str, bytes]:
    """Samples of many or large members, which compress to almost nothing; long and strange names."""
    size, count = dice.choice(((1, 3_000), (4 << 20, 24), (96 << 20, 2)))
    stem = dice.choice(("k", "k" * 90, "../k", "\x1b[2Jk"))
    if size == 1:
        ends = [dice.choice(("png", "bin")) for _ in range(count)]
        return "a.tar.gz", _packed_samples.__wrapped__(size, count, stem, tuple(ends))
    return "a.tar.gz", _packed_samples(size, count, stem, dice.choice((("png",), ("bin",), ("png", "bin"))))


@cache
def _packed_samples(size: int, count: int, stem: str, ends: tuple[str, ...]) -> bytes:
    members = [(f"{stem}.{ends[at % len(ends)]}{at}", bytes(size)) for at in range(count)]
    return gzip.compress(archive(members, "gnu"), 1, mtime=0)


def sizes(dice: Dice) -> tuple[str, bytes]:
    """A tar header with an extreme size, under a right checksum."""
    data = bytearray(archive([("k.png", bytes(600)), ("k.cls", b"1")]))
    size = dice.choice((b"77777777777\0", b"-0000000001\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b" " * 12))
    data[124:136] = size
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return "a.tar", bytes(data)


def integers(dice: Dice) -> tuple[str, bytes]:
    """An Example whose feature holds very many integers, and frames that promise more than there is."""
    count = dice.choice((1, 1_000, 1 << 20, 48 << 20))
    length, times = dice.choice((None,) * 6 + ((1 << 63) - 1, 1 << 40, 0)), dice.choice((1, 3))
    return "a.tfrecord.gz", _one_feature(count, length, times)


@cache
def _one_feature(count: int, length: int | None, times: int) -> bytes:
    feature = _field(1, b"label") + _field(2, _field(3, _field(1, bytes(count))))
    message = _field(1, _field(1, feature))
    head = struct.pack("<Q", len(message) if length is None else length)
    record = head + masked(head) + message + masked(message)
    return gzip.compress(record * times, 1, mtime=0)


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes in protobuf's wire format."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


# ---- state


def receipt(dice: Dice) -> tuple[str, bytes]:
    """A receipt with one value that none has."""
    return "_receipts/a.json", _sealed(_odd(dice, _honest(dice).to_dict()))


def manifest(dice: Dice) -> tuple[str, bytes]:
    """A manifest of forged names, whose rows have right checksums."""
    row = row_of(_honest(dice))
    table = pa.Table.from_pylist([row], ROW_SCHEMA.with_metadata({UNITS: b"1"}))
    return "_manifest.parquet", _parquet(table)


def job_file(dice: Dice) -> tuple[str, bytes]:
    """A job file with one value that none has."""
    value = {"version": 1, "request": {}, "settings": {"verb": "encode", "model": "m"}, "columns": {}, "model": "00"}
    return "_job.json", _sealed(_odd(dice, value))


def lease(dice: Dice) -> tuple[str, bytes]:
    """A lease with one value that none has."""
    value = {"run": "r", "host": "h", "place": "", "pid": 1, "born": "1", "beat": 1.0}
    return "_hold", json.dumps(_odd(dice, value)).encode() + b"\n"


def _honest(dice: Dice) -> Receipt:
    """A receipt that is right but for its names."""
    name = dice.choice((*_NAMES, "latents/a.parquet"))
    output = OutputFile(name=name, size=dice.choice((0, 1, 1 << 60)), rows=1, crc32c="00000000")
    return Receipt(unit=dice.choice(("a", *_NAMES)), fingerprint="00", read=1, results=1, outputs=(output,))


def _odd(dice: Dice, value: dict[str, Any]) -> dict[str, Any]:
    changed = dict(value)
    if dice.random() < 0.8:
        changed[dice.choice(list(value))] = dice.choice(_ODD)
    else:
        changed.pop(dice.choice(list(value)))
    return changed


def _sealed(value: dict[str, Any]) -> bytes:
    return sealed_json.dumps(value)


SHARDS: tuple[Forger, ...] = (dictionary, nulls, wide, deep, footer, header, members, samples, sizes, integers)
STATE: tuple[Forger, ...] = (receipt, manifest, job_file, lease)
