"""WebDataset shards as webdataset, Python's tarfile and tar write them, and every way in which one can be bad."""

import gzip
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake.core.errors import InputError
from lake.core.records import Reason
from lake.formats.reader import ColumnSelection
from tests.lake.formats.support import archive, rows, shard_of, special
from tests.lake.formats.webdataset.archives import READER, read


@pytest.mark.parametrize("size", [1, 7, 256])
@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_records_are_those_that_webdataset_wrote(
    tmp_path: Path, digit_files: list[bytes], labels: Any, name: str, size: int
) -> None:
    webdataset = pytest.importorskip("webdataset")
    count = 300
    with webdataset.TarWriter(str(tmp_path / name)) as writer:
        for i in range(count):
            sidecars = {"cls": int(labels[i]), "txt": f"ziffer nº {i}", "json": {"i": i}}
            writer.write({"__key__": f"d/{i:05d}", "png": digit_files[i], **sidecars})
    shard = shard_of(tmp_path / name)
    columns = READER.settle(shard, ColumnSelection())
    assert columns.carry == pa.schema([("cls", pa.int64()), ("txt", pa.string()), ("json", pa.string())])
    parts = read(shard, columns, size)
    assert [len(part) for part in parts] == [size] * (count // size) + [count % size] * (count % size > 0)
    assert {part.shard for part in parts} == {name}
    assert rows(parts) == [
        {"index": i, "key": f"d/{i:05d}", "payload": digit_files[i], "fault": None}
        | {"cls": int(labels[i]), "txt": f"ziffer nº {i}", "json": f'{{"i": {i}}}'}
        for i in range(count)
    ]


def test_sidecars(tmp_path: Path) -> None:
    members = [
        *[("a.png", b"1"), ("a.cls", b" 7\n"), ("a.txt", "ü".encode()), ("a.json", b'{"x": 1}'), ("a.seg", b"\xff")],
        *[("b.png", b"2"), ("b.cls", b"-9223372036854775808"), ("b.txt", b"\xff!")],
        *[("c.png", b"3"), ("c.cls", b"cat")],
        *[("d.png", b"4"), ("d.cls", b"9223372036854775808")],
        ("e.png", b"5"),
    ]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    columns = READER.settle(shard, ColumnSelection(carry=["cls", "txt", "json", ".seg"]))
    types = [pa.int64(), pa.string(), pa.string(), pa.binary()]
    assert columns.carry == pa.schema(list(zip(["cls", "txt", "json", "seg"], types, strict=True)))
    found = rows(read(shard, columns))
    assert [(row["cls"], row["txt"], row["json"], row["seg"]) for row in found] == [
        (7, "ü", '{"x": 1}', b"\xff"),
        (-(1 << 63), r"\xff!", None, None),
        *[(None, None, None, None)] * 3,
    ]
    faults = [row["fault"] for row in found]
    assert [faults[0], faults[1], faults[4]] == [None] * 3
    assert [(f.reason, f.detail, f.data) for f in faults[2:4]] == [
        (Reason.WRONG_TYPE, "member 'cls' is no 64-bit integer: b'cat'", b"3"),
        (Reason.WRONG_TYPE, "member 'cls' is no 64-bit integer: b'9223372036854775808'", b"4"),
    ]
    assert [row["payload"] for row in found] == [b"1", b"2", None, None, b"5"]


def test_classes_that_are_words_are_strings(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a.tar", archive([("a.png", b"1"), ("a.cls", b"cat")]))
    columns = READER.settle(shard, ColumnSelection())
    assert columns.carry == pa.schema([("cls", pa.string())])
    assert [row["cls"] for row in rows(read(shard, columns))] == ["cat"]


@pytest.mark.parametrize("size", [1, 3, 256])
def test_a_bad_sample_costs_itself_only(tmp_path: Path, size: int) -> None:
    kinds = {
        tarfile.LNKTYPE: "a hard link",
        tarfile.SYMTYPE: "a symbolic link",
        tarfile.CHRTYPE: "a character device",
        tarfile.BLKTYPE: "a block device",
        tarfile.FIFOTYPE: "a FIFO",
        b"Z": "of type b'Z'",
    }
    members: list[tuple[str | tarfile.TarInfo, bytes]] = [(special("d", tarfile.DIRTYPE), b"")]
    for i, kind in enumerate(kinds):
        members += [(f"good{i}.png", b"%d" % i), (special(f"bad{i}.png", kind), b""), (f"bad{i}.cls", b"1")]
    members += [
        ("no.cls", b"1"),
        ("README", b"text"),
        ("big.png", bytes(2000)),
        ("last.png", b"l"),
        ("last.bin", bytes(2000)),
    ]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    columns = READER.settle(shard, ColumnSelection(max_record_bytes=1999))
    found = rows(read(shard, columns, size))
    assert [row["index"] for row in found] == list(range(len(found)))
    for i, words in enumerate(kinds.values()):
        good, bad = found[2 * i : 2 * i + 2]
        assert (good["key"], good["payload"], good["fault"]) == (f"good{i}", b"%d" % i, None)
        assert (bad["key"], bad["payload"], bad["fault"].reason) == (f"bad{i}", None, Reason.INVALID_RECORD)
        assert bad["fault"].detail == f"member 'bad{i}.png' is {words}"
    rest = [(row["key"], row["payload"], row["fault"] and row["fault"].reason) for row in found[2 * len(kinds) :]]
    assert rest == [
        ("no", None, Reason.MISSING_IMAGE),
        ("README", None, Reason.MISSING_IMAGE),
        ("big", None, Reason.RECORD_TOO_LARGE),
        ("last", b"l", None),
    ]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"image": "tiff"}, "no sample with a member tiff among the first 16, there are 'cls', 'png'.*--image"),
        ({"carry": ["txt"]}, "no member 'txt'.*there are 'cls', 'png'.*--carry"),
        ({"key": "txt"}, "--key"),
        ({"numeric": True}, "no sample with a member npy"),
        ({"numeric": True, "image": "png"}, "the members png are no vectors: not a .npy file"),
    ],
)
def test_a_wrong_name_is_refused_with_the_right_ones(tmp_path: Path, request_: dict[str, Any], words: str) -> None:
    shard = shard_of(tmp_path / "a.tar", archive([("a.png", b"i"), ("a.cls", b"1")]))
    with pytest.raises(InputError, match=words):
        READER.settle(shard, ColumnSelection(**request_))


SMALL = archive([("a.png", b"image")])


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.tar", b"", True),
        ("a.TAR", b"", True),
        ("a.tar.gz", b"", True),
        ("a.tgz", b"", True),
        ("a.gz", b"", False),
        ("tar", b"", False),
        ("part-0", SMALL[:1024], True),
        ("part-0", gzip.compress(SMALL, mtime=0)[:1024], True),
        ("part-0", bytes(1024), False),
        ("part-0", b"x" * 1024, False),
        ("part-0", SMALL[:511], False),
    ],
)
def test_recognises(name: str, head: bytes, expected: bool) -> None:
    assert READER.recognises(name, head) is expected


def test_a_photograph_and_its_mask_are_refused_until_one_is_chosen(tmp_path: Path) -> None:
    members = [(f"d/{at}.{name}", f"{name} {at}".encode()) for at in range(2) for name in ("jpg", "png", "json")]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    with pytest.raises(
        InputError, match=r"a\.tar: a sample has several images, 'd/0\.jpg' and 'd/0\.png'; choose with"
    ):
        READER.settle(shard, ColumnSelection())
    for image, found in (("jpg", "jpg"), ("png", "png"), ("jpg;png", "jpg"), (".PNG;jpg", "png")):
        (records,) = read(shard, READER.settle(shard, ColumnSelection(image=image)))
        assert records.payload.to_pylist() == [f"{found} {at}".encode() for at in range(2)]
        assert not records.faults


def test_a_later_sample_with_several_images_is_a_reject_by_itself(tmp_path: Path) -> None:
    members = [(f"{at}.jpg", b"photo") for at in range(20)]
    members += [
        ("20.jpg", b"photo"),
        ("20.png", b"mask"),
        ("21.jpg", b"photo"),
        ("22.webp", b"x"),
        ("22.seg.png", b"y"),
    ]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    (records,) = read(shard, READER.settle(shard, ColumnSelection()))
    assert records.payload.to_pylist() == [b"photo"] * 20 + [None, b"photo", b"x"]
    assert {at: (fault.reason, fault.detail) for at, fault in records.faults.items()} == {
        20: (Reason.INVALID_RECORD, "a sample has several images, '20.jpg' and '20.png'")
    }


@pytest.mark.parametrize(
    ("extensions", "settled"),
    [
        (["jpg", "png"], "png;jpg;jpeg;webp;tif;tiff;bmp;gif"),
        (["jpg", "jfif"], "png;jpg;jpeg;webp;tif;tiff;bmp;gif;jpe;jfif;avif;jp2;j2k;heic;heif;jxl"),
    ],
)
def test_what_is_settled_of_extensions_stays_as_outputs_know_it(
    tmp_path: Path, extensions: list[str], settled: str
) -> None:
    members = [(f"{at}.{extension}", b"1") for at, extension in enumerate(extensions)]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    assert READER.settle(shard, ColumnSelection()).image == settled


def test_a_rarer_extension_is_looked_for_only_where_a_sample_needs_it(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a.tar", archive([("a.png", b"1"), ("b.mpo", b"2"), ("c.jfif", b"3")]))
    columns = READER.settle(shard, ColumnSelection())
    assert [row["payload"] for row in rows(read(shard, columns))] == [b"1", b"2", b"3"]
    beside = shard_of(tmp_path / "b.tar", archive([("a.png", b"1"), ("a.mpo", b"2")]))
    assert "mpo" not in READER.settle(beside, ColumnSelection()).image
