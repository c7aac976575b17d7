"""The containers of the zoo that hold images: how they are written and read, and bad records that only one can hold."""

import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lake.core.records import Reason, Stage
from tests.faults.bad_records import (
    KEYS,
    MOST,
    Bad,
    Record,
    bad_images,
    draw,
    good_images,
    mixed,
    oversized,
    saved,
)
from tests.lake.formats.support import archive, special

GOOD = saved(draw(30), "PNG")
LARGE = rf"{len(oversized())} bytes; the most is {MOST}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cage:
    """One container.

    shard: path of its one shard; "" where each record is one.
    write: writes records into a directory.
    own: bad records that other containers cannot hold.
    keys: that it can hold; none where records have none.
    good, bad: what every container of its kind can hold.
    read: key and file of each image that a directory holds, in order; without this project's readers.
    columns: settings of a job that name what is where.
    """

    shard: str
    write: Callable[[Path, Sequence[Record]], None]
    own: Callable[[], Iterable[Record]]
    keys: Sequence[str] = KEYS
    good: Callable[[], Sequence[Record]] = good_images
    bad: Callable[[], Sequence[Record]] = bad_images
    read: Callable[[Path], list[tuple[str, bytes]]] | None = None
    columns: tuple[tuple[str, str], ...] = ()

    def records(self) -> list[Record]:
        """Good and bad ones in turn."""
        return mixed(self.good(), (*self.bad(), *self.own()), self.keys)

    def identity(self, record: Record, at: int) -> tuple[str, int, str]:
        """Shard, index and key of the record at a position of the source."""
        if not self.shard:
            return path_of(record), 0, path_of(record).rpartition("/")[2]
        return self.shard, at, str(at) if record.key is None or not self.keys else record.key

    def name(self, record: Record) -> str:
        """What ``read`` calls a record's image."""
        return str(record.key) if self.shard else path_of(record).rpartition(".")[0]

    @property
    def unit(self) -> str:
        """A pattern of the ids of its units."""
        return re.escape(self.shard.rpartition(".")[0]) if self.shard else r"(a|b|[0-9]+[ab])/part-[0-9a-f]{8}"


def own(name: str, reason: Reason, says: str, raw: Any, data: bytes | None, *, keyed: bool = True) -> Record:
    """A bad record of one container, found by its reader. Its key, where it has one, is its name."""
    return Record(name=name, key=name if keyed else None, data=data, raw=raw, bad=Bad(reason, says, Stage.READ))


# ---- TFRecord


def example(**features: Any) -> bytes:
    """A tf.train.Example by hand, as it is on the wire: features of bytes, floats or integers, one or many."""
    entries = [_field(1, _field(1, name.encode()) + _field(2, _feature(value))) for name, value in features.items()]
    return _field(1, b"".join(entries))


def _feature(value: Any) -> bytes:
    values = value if isinstance(value, list) else [value]
    if isinstance(values[0], bytes):
        return _field(1, b"".join(_field(1, item) for item in values))
    if isinstance(values[0], float):
        return _field(2, _field(1, np.array(values, "<f4").tobytes()))
    return _field(3, _field(1, b"".join(map(_varint, values))))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    return bytes([value & 127 | 128]) + _varint(value >> 7) if value > 127 else bytes([value])


def _write_tfrecord(place: Path, records: Sequence[Record]) -> None:
    from tests.faults.damaged import tfrecord

    (place / "a.tfrecord").write_bytes(tfrecord([_example(record) for record in records]))


def _example(record: Record) -> bytes:
    if record.raw is not None:
        return bytes(record.raw)
    assert record.key is not None
    return example(**{"image/encoded": record.data, "image/filename": record.key.encode(), "label": record.label})


def _own_examples() -> Iterator[Record]:
    image, encoded, label = {"image/encoded": GOOD}, "feature 'image/encoded'", "feature 'label'"
    for name, reason, says, features in (
        ("no feature", Reason.MISSING_IMAGE, f"no value in {encoded}", {"label": 1}),
        ("two images", Reason.INVALID_RECORD, f"several values in {encoded}", {"image/encoded": [GOOD, GOOD]}),
        (
            "two labels",
            Reason.WRONG_TYPE,
            f"several values in {label}, whose column takes one",
            image | {"label": [1, 2]},
        ),
    ):
        raw = example(**features, **{"image/filename": name.encode()})
        yield own(name, reason, says, raw, raw)
    for name, reason, says, raw in (
        ("numbers", Reason.WRONG_TYPE, f"{encoded} holds int64, not bytes", example(**{"image/encoded": [1, 2]})),
        ("floating label", Reason.WRONG_TYPE, f"{label} holds float, not int64", example(**image, label=1.0)),
        ("no Example", Reason.INVALID_RECORD, "the record is not a tf.train.Example", b"\x0a\xff\xff<html>"),
        ("only an image", Reason.INVALID_RECORD, "the record is not a tf.train.Example", saved(draw(31), "JPEG")),
        ("only a PNG", Reason.INVALID_RECORD, "the record is not a tf.train.Example", GOOD),
        ("nothing", Reason.MISSING_IMAGE, f"no value in {encoded}", b""),
    ):
        yield own(name, reason, says, raw, raw, keyed=False)
    large = example(**{"image/encoded": oversized()})
    yield own("large", Reason.RECORD_TOO_LARGE, f"{len(large)} bytes; the most is {MOST}", large, None, keyed=False)


def _read_tfrecord(place: Path) -> list[tuple[str, bytes]]:
    import tensorflow as tf

    found = []
    for data in tf.data.TFRecordDataset(str(place / "a.tfrecord")).as_numpy_iterator():
        features = tf.train.Example.FromString(data).features.feature
        key, image = (features[name].bytes_list.value[0] for name in ("image/filename", "image/encoded"))
        found.append((key.decode(), image))
    return found


# ---- WebDataset


def _write_tar(place: Path, records: Sequence[Record]) -> None:
    members = [part for record in records for part in record.raw or sample(record, record.suffix, record.data or b"")]
    (place / "a.tar").write_bytes(archive(members, "pax"))


def sample(record: Record, extension: str, data: bytes) -> list[tuple[Any, bytes]]:
    """Its members. The class comes first: an extension that both have tells two samples of one key from each other."""
    return [(_member(f"{record.key}.cls"), b"%d" % record.label), (_member(f"{record.key}.{extension}"), data)]


def _member(name: str) -> tarfile.TarInfo:
    """A member whose name is in a pax header, which can hold any."""
    info = tarfile.TarInfo("x")
    info.pax_headers = {"path": name}
    return info


def _own_samples() -> Iterator[Record]:
    says = "no member with the extension png or jpg or jpeg or webp or tif or tiff or bmp or gif"
    yield own("none", Reason.MISSING_IMAGE, says, [("none.cls", b"1")], None)
    for name, kind, words in (("soft", tarfile.SYMTYPE, "a symbolic link"), ("hard", tarfile.LNKTYPE, "a hard link")):
        raw = [(special(f"{name}.png", kind), b""), (f"{name}.cls", b"1")]
        yield own(name, Reason.INVALID_RECORD, f"member '{name}.png' is {words}", raw, None)
    says = "member 'cls' is no 64-bit integer: b'cat'"
    yield own("cat", Reason.WRONG_TYPE, says, [("cat.png", GOOD), ("cat.cls", b"cat")], GOOD)
    says = f"member 'large.png' has {len(oversized())} bytes, and at most {MOST} are allowed"
    yield own("large", Reason.RECORD_TOO_LARGE, says, [("large.png", oversized()), ("large.cls", b"1")], None)


def _in_a_tar(key: str) -> bool:
    """Whether a sample can have this key: it ends at its base name's first dot, and something is before that."""
    base = key.rpartition("/")[2]
    return bool(base) and "." not in base


def _read_tar(place: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(place / "a.tar") as opened:
        found = [(member.name, opened.extractfile(member)) for member in opened]
        return [(name.rpartition(".")[0], file.read()) for name, file in found if file and not name.endswith(".cls")]


# ---- Parquet


def _write_structs(place: Path, records: Sequence[Record]) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = [{"bytes": record.data, "path": record.key} for record in records]
    _write_parquet(place, records, {"image": pa.array(_raw(records, "image", images), kind)})


def _write_binaries(place: Path, records: Sequence[Record]) -> None:
    _write_parquet(place, records, binaries(records))


def binaries(records: Sequence[Record]) -> dict[str, Any]:
    """Columns of images that are binary values, and of keys."""
    images = _raw(records, "image", [record.data for record in records])
    return {"image": pa.array(images, pa.binary()), "key": [record.key for record in records]}


def _write_parquet(place: Path, records: Sequence[Record], columns: dict[str, Any]) -> None:
    pq.write_table(table(records, columns), place / "a.parquet", row_group_size=50, write_page_checksum=True)


def table(records: Sequence[Record], columns: dict[str, Any]) -> pa.Table:
    """These columns and those of labels."""
    text = pa.array(_raw(records, "text", [b"fine"] * len(records)))
    labels = pa.array([record.label for record in records])
    held = pa.StringArray.from_buffers(len(text), *text.buffers()[1:])  # whatever it holds
    return pa.table({**columns, "label": labels, "text_label": held})


def _raw(records: Sequence[Record], name: str, usual: Sequence[Any]) -> list[Any]:
    return [(record.raw or {}).get(name, value) for record, value in zip(records, usual, strict=True)]


def _own_rows() -> Iterator[Record]:
    yield own("latin", Reason.WRONG_TYPE, "'text_label' is not UTF-8", {"text": b"caf\xe9"}, GOOD)
    yield own("large", Reason.RECORD_TOO_LARGE, LARGE, {}, oversized())


def _own_structs() -> Iterator[Record]:
    yield own(
        "null file",
        Reason.MISSING_IMAGE,
        r"the image has no bytes, and its path .+ names no file beside the shard",
        {},
        None,
    )
    yield own("null", Reason.MISSING_IMAGE, "the image is null", {"image": None}, None, keyed=False)
    yield from _own_rows()


def own_binaries() -> Iterator[Record]:
    """Bad rows whose image is a binary value."""
    yield own("null", Reason.MISSING_IMAGE, "the image is null", {}, None)
    yield from _own_rows()


def _read_structs(place: Path) -> list[tuple[str, bytes]]:
    return [(image["path"], image["bytes"]) for image in pq.read_table(place / "a.parquet")["image"].to_pylist()]


def _read_binaries(place: Path) -> list[tuple[str, bytes]]:
    table = pq.read_table(place / "a.parquet")
    return list(zip(table["key"].to_pylist(), table["image"].to_pylist(), strict=True))


# ---- folders


def path_of(record: Record) -> str:
    """Of the file that a record is."""
    return f"{record.folder}/{record.key}.{record.suffix}"


def _write_folder(place: Path, records: Sequence[Record]) -> None:
    for record in records:
        path = place / path_of(record)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(record.raw or record.data or b"")


def _own_files() -> Iterator[Record]:
    yield own("large", Reason.RECORD_TOO_LARGE, LARGE, oversized(), None)


def _in_a_name(key: str) -> bool:
    return bool(key) and not set(key) & set("/\0") and not key.startswith((".", "_")) and len(key.encode()) < 250


def _read_folder(place: Path) -> list[tuple[str, bytes]]:
    files = sorted((path for path in place.rglob("*") if path.is_file()), key=str)
    return [(str(path.relative_to(place)).rpartition(".")[0], path.read_bytes()) for path in files]


IN_A_TAR = tuple(filter(_in_a_tar, KEYS))
IN_A_NAME = (*filter(_in_a_name, KEYS), "n" * 250)
CAGES = {
    "tfrecord": Cage(shard="a.tfrecord", write=_write_tfrecord, own=_own_examples, read=_read_tfrecord),
    "webdataset": Cage(shard="a.tar", write=_write_tar, own=_own_samples, read=_read_tar, keys=IN_A_TAR),
    "parquet": Cage(shard="a.parquet", write=_write_structs, own=_own_structs, read=_read_structs),
    "parquet, binary": Cage(shard="a.parquet", write=_write_binaries, own=own_binaries, read=_read_binaries),
    "folder": Cage(shard="", write=_write_folder, own=_own_files, read=_read_folder, keys=IN_A_NAME),
}
