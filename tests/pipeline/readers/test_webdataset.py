"""WebDataset shards as webdataset, Python's tarfile and tar write them, and every way in which one can be bad."""

import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import InputError
from pipeline.readers import Columns, Request, reader_for
from pipeline.records import Reason, Records, Shard, Unit
from tests.pipeline.readers.support import archive, rows, shard_of, special

READER = reader_for("webdataset")
IMAGES = Columns(image="png", key=None, carry=pa.schema([]), numeric=False, max_record_bytes=1 << 20)


def batches(shard: Shard, columns: Columns, size: int = 256) -> Iterator[Any]:
    return READER.read(Unit(id="u", format="webdataset", shards=(shard,)), columns, size)


def read(shard: Shard, columns: Columns, size: int = 256) -> list[Records]:
    return [batch.records() for batch in batches(shard, columns, size)]


def keys_and_images(shard: Shard, columns: Columns = IMAGES, size: int = 256) -> list[tuple[str, bytes | None]]:
    return [(row["key"], row["payload"]) for row in rows(read(shard, columns, size))]


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
    columns = READER.settle(shard, Request())
    assert columns.carry == pa.schema([("cls", pa.int64()), ("txt", pa.string()), ("json", pa.string())])
    parts = read(shard, columns, size)
    assert [len(part) for part in parts] == [size] * (count // size) + [count % size] * (count % size > 0)
    assert {part.shard for part in parts} == {name}
    assert rows(parts) == [
        {"index": i, "key": f"d/{i:05d}", "payload": digit_files[i], "fault": None}
        | {"cls": int(labels[i]), "txt": f"ziffer nº {i}", "json": f'{{"i": {i}}}'}
        for i in range(count)
    ]


def test_members_are_grouped_as_webdataset_groups_them(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    names = [
        "a.png",
        "a.seg.png",
        "a.CLS",
        "d/a.png",
        "d.x/a.png",
        "d.x/a.cls",
        "e.b.png",
        "e.cls",
        "a.png",
    ]
    shard = shard_of(tmp_path / "a.tar", archive([(name, name.encode()) for name in names]))
    with Path(shard.uri).open("rb") as stream:
        files = webdataset.tariterators.tar_file_iterator(stream)
        theirs = list(webdataset.tariterators.group_by_keys({**file, "__url__": "a"} for file in files))
    columns = READER.settle(shard, Request(carry=["cls", "b.png"]))
    assert [(row["key"], row["payload"], row["b.png"]) for row in rows(read(shard, columns))] == [
        (sample["__key__"], sample.get("png"), sample.get("b.png")) for sample in theirs
    ]


def test_hidden_members_belong_to_no_sample(tmp_path: Path) -> None:
    members = [("d/a.png", b"1"), ("d/._a.png", b"x"), ("d/.DS_Store", b"x"), ("d/a.cls", b"2"), (".b.png", b"x")]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    found = rows(read(shard, READER.settle(shard, Request())))
    assert [(row["key"], row["payload"], row["cls"], row["fault"]) for row in found] == [("d/a", b"1", 2, None)]


def test_a_repeated_extension_begins_another_sample_of_the_key(tmp_path: Path) -> None:
    members = [("a.png", b"1"), ("a.cls", b"1"), ("a.png", b"2"), ("a.cls", b"2"), ("a.cls", b"3"), ("a.png", b"3")]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    found = rows(read(shard, READER.settle(shard, Request())))
    assert [(row["key"], row["payload"], row["cls"]) for row in found] == [("a", b"%d" % i, i) for i in (1, 2, 3)]


@pytest.mark.parametrize("size", [1, 2, 256])
def test_the_first_of_several_images(tmp_path: Path, size: int) -> None:
    members = [("a.jpg", b"1"), ("b.gif", b"2"), ("b.PNG", b"3"), ("c.webp", b"4"), ("d.ppm", b"5")]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    columns = READER.settle(shard, Request())
    assert keys_and_images(shard, columns, size) == [("a", b"1"), ("b", b"3"), ("c", b"4"), ("d", None)]
    columns = READER.settle(shard, Request(image=".ppm;gif"))
    assert keys_and_images(shard, columns, size) == [("a", None), ("b", b"2"), ("c", None), ("d", b"5")]


def test_sidecars(tmp_path: Path) -> None:
    members = [
        *[("a.png", b"1"), ("a.cls", b" 7\n"), ("a.txt", "ü".encode()), ("a.json", b'{"x": 1}'), ("a.seg", b"\xff")],
        *[("b.png", b"2"), ("b.cls", b"-9223372036854775808"), ("b.txt", b"\xff!")],
        *[("c.png", b"3"), ("c.cls", b"cat")],
        *[("d.png", b"4"), ("d.cls", b"9223372036854775808")],
        ("e.png", b"5"),
    ]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    columns = READER.settle(shard, Request(carry=["cls", "txt", "json", ".seg"]))
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
    columns = READER.settle(shard, Request())
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
    columns = READER.settle(shard, Request(max_record_bytes=1999))
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
        READER.settle(shard, Request(**request_))


def npy(array: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "|u1", "<i8", ">u2", "|b1"])
@pytest.mark.parametrize("size", [1, 256])
def test_vectors(tmp_path: Path, dtype: str, size: int) -> None:
    arrays = [(np.arange(4) % 2 + i % 2).astype(dtype) for i in range(5)]
    shard = shard_of(tmp_path / "a.tar", archive([(f"{i}.npy", npy(array)) for i, array in enumerate(arrays)]))
    columns = READER.settle(shard, Request(numeric=True))
    parts = read(shard, columns, size)
    assert columns.length == 4
    assert {part.payload.dtype for part in parts} == {np.dtype(np.float32)}
    assert [row["payload"] for row in rows(parts)] == [array.astype(float).tolist() for array in arrays]


def test_vectors_of_another_length_than_the_models(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a.tar", archive([("a.npy", npy(np.ones(2))), ("b.npy", npy(np.ones(3)))]))
    columns = READER.settle(shard, Request(numeric=True, length=3))
    assert [row["fault"] and row["fault"].reason for row in rows(read(shard, columns))] == [Reason.WRONG_LENGTH, None]
    with pytest.raises(InputError, match="members npy hold 2 numbers, and the model takes vectors of 4"):
        READER.settle(shard, Request(numeric=True, length=4))


def test_vectors_that_are_none(tmp_path: Path) -> None:
    good = npy(np.arange(3.0))
    bad = {
        "short": (npy(np.arange(2)), Reason.WRONG_LENGTH),
        "matrix": (npy(np.zeros((1, 3))), Reason.INVALID_RECORD),
        "complex": (npy(np.zeros(3, complex)), Reason.INVALID_RECORD),
        "text": (npy(np.array(["a", "b", "c"])), Reason.INVALID_RECORD),
        "pickle": (npy(np.array([{}, [], ()], object), allow_pickle=True), Reason.INVALID_RECORD),
        "cut": (good[:-1], Reason.INVALID_RECORD),
        "longer": (good + b"x", Reason.INVALID_RECORD),
        "huge": (good.replace(b"(3,)", b"(999999999999,)"), Reason.INVALID_RECORD),
        "head": (good[:9], Reason.INVALID_RECORD),
        "empty": (b"", Reason.INVALID_RECORD),
        "other": (b"\x89PNG and so on", Reason.INVALID_RECORD),
    }
    members = [("good.npy", good), *[(f"{name}.npy", data) for name, (data, _) in bad.items()], ("no.png", b"p")]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    found = rows(read(shard, READER.settle(shard, Request(numeric=True))))
    assert (found[0]["payload"], found[0]["fault"]) == ([0, 1, 2], None)
    assert [(row["key"], row["fault"].reason, row["fault"].data) for row in found[1:-1]] == [
        (name, reason, data) for name, (data, reason) in bad.items()
    ]
    assert found[-1]["fault"].reason == Reason.MISSING_IMAGE


def wholes(shard: Shard, size: int = 256, **request: Any) -> list[tuple[Any, Any]]:
    """Of every record what is kept to write it again, and its fault."""
    columns = READER.settle(shard, Request(whole=True, **request))
    return [(part.source[i], part.faults.get(i)) for part in read(shard, columns, size) for i in range(len(part))]


@pytest.mark.parametrize("size", [1, 256])
@pytest.mark.parametrize("format", ["ustar", "gnu", "pax"])
def test_whole_samples_have_every_member_as_it_is(tmp_path: Path, format: str, size: int) -> None:
    samples = [
        [
            ("d.x/a.SEG.png", b"mask"),
            ("d.x/a.CLS", b"1"),
            ("d.x/a.JPG", b"image"),
            ("d.x/a", b""),
            ("d.x/a.bin", b"\xff"),
        ],
        [(f"{'é' * 70}/b.json", b"{}"), (f"{'é' * 70}/b.png", b"image"), (f"{'é' * 70}/b.jpg", b"other")],
        [("c.jpg", b"image")],
    ]
    shard = shard_of(tmp_path / "a.tar", archive([member for sample in samples for member in sample], format))
    found = wholes(shard, size)
    assert [[(name.decode(), data) for name, _, data in whole.members] for whole, _ in found] == samples
    assert [whole.image for whole, _ in found] == [b"jpg", b"png", b"jpg"]
    for whole, _ in found:
        assert [extension for name, extension, _ in whole.members] == [
            name.rpartition(b"/")[2].partition(b".")[2].lower() for name, _, _ in whole.members
        ]


def test_samples_are_the_same_ones_whether_whole_or_not(tmp_path: Path) -> None:
    members = [
        ("a.png", b"1"),
        ("a.seg", b"x"),
        ("a.seg", b"y"),
        ("a.cls", b"1"),
        ("a.cls", b"2"),
        ("a.png", b"2"),
        ("b.x", b""),
    ]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    apart, whole = (read(shard, READER.settle(shard, Request(whole=whole))) for whole in (False, True))
    assert rows(apart) == rows(whole)
    assert [part.source for part in apart] == [None]
    found = [[(name.decode(), data) for name, _, data in sample.members] for sample in whole[0].source]
    assert found == [members[:4], members[4:6], members[6:]]


def test_a_whole_sample_with_a_member_that_cannot_be_kept_is_a_reject(tmp_path: Path) -> None:
    members: list[tuple[str | tarfile.TarInfo, bytes]] = [
        *[("a.png", b"1"), ("a.bin", bytes(1001)), ("a.txt", b"t")],
        *[("b.png", b"2"), ("b.bin", bytes(1000 - 1 - 512))],
        *[("c.png", b"3"), ("c.bin", bytes(1000 - 512))],
        *[("d.png", b"4"), (special("d.lnk", tarfile.SYMTYPE), b"")],
        ("e.png", bytes(1000)),
    ]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    faults = [fault for _, fault in wholes(shard, max_record_bytes=1000)]
    assert [fault and (fault.reason, fault.detail, fault.data) for fault in faults] == [
        (Reason.RECORD_TOO_LARGE, "member 'a.bin' has 1001 bytes, and at most 1000 are allowed", b"1"),
        None,
        (Reason.RECORD_TOO_LARGE, "sample 'c' has over 1000 bytes in its first 2 members, more than are allowed", b"3"),
        (Reason.INVALID_RECORD, "member 'd.lnk' is a symbolic link", b"4"),
        None,
    ]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("size", "room", "edges"),
    [
        (256, 1 << 20, [7]),
        (3, 1 << 20, [3, 3, 1]),
        (256, 300, [3, 1, 3]),  # 100 + 100 + 100; 900; 100 + 100 + 0
        (2, 300, [2, 2, 2, 1]),
        (256, 1, [1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_a_batch_ends_early_where_its_room_is_full(
    tmp_path: Path, whole: bool, size: int, room: int, edges: list[int]
) -> None:
    sizes = [100, 100, 100, 900, 100, 100, 1]
    shard = shard_of(tmp_path / "a.tar", archive([(f"{i}.png", bytes(n)) for i, n in enumerate(sizes)]))
    columns = READER.settle(shard, Request(whole=whole))
    unit = Unit(id="u", format="webdataset", shards=(shard,))
    parts = [raw.records() for raw in READER.read(unit, columns, size, room)]
    assert [len(part) for part in parts] == edges
    assert [(row["index"], len(row["payload"])) for row in rows(parts)] == list(enumerate(sizes))


def test_room_is_taken_by_what_is_kept(tmp_path: Path) -> None:
    members = [(f"{i}.{name}", bytes(100)) for i in range(4) for name in ("png", "bin")]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    unit = Unit(id="u", format="webdataset", shards=(shard,))
    for whole, edges in ((False, [4]), (True, [2, 2])):
        columns = READER.settle(shard, Request(whole=whole))
        assert [len(raw.records()) for raw in READER.read(unit, columns, 256, 400)] == edges


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
        ("part-0", gzip.compress(SMALL)[:1024], True),
        ("part-0", bytes(1024), False),
        ("part-0", b"x" * 1024, False),
        ("part-0", SMALL[:511], False),
    ],
)
def test_recognises(name: str, head: bytes, expected: bool) -> None:
    assert READER.recognises(name, head) is expected
