"""Members that follow one another under one name."""

import gzip
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake.core.records import Reason, Shard, Unit
from lake.formats.reader import ColumnSelection, RecordSchema
from tests.lake.formats.support import archive, rows, shard_of, special
from tests.lake.formats.webdataset.archives import READER, read

IMAGES = RecordSchema(image="png", key=None, carry=pa.schema([]), numeric=False, max_record_bytes=1 << 20)


def keys_and_images(shard: Shard, columns: RecordSchema = IMAGES, size: int = 256) -> list[tuple[str, bytes | None]]:
    return [(row["key"], row["payload"]) for row in rows(read(shard, columns, size))]


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
    columns = READER.settle(shard, ColumnSelection(carry=["cls", "b.png"]))
    assert [(row["key"], row["payload"], row["b.png"]) for row in rows(read(shard, columns))] == [
        (sample["__key__"], sample.get("png"), sample.get("b.png")) for sample in theirs
    ]


def test_hidden_members_belong_to_no_sample(tmp_path: Path) -> None:
    members = [("d/a.png", b"1"), ("d/._a.png", b"x"), ("d/.DS_Store", b"x"), ("d/a.cls", b"2"), (".b.png", b"x")]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    found = rows(read(shard, READER.settle(shard, ColumnSelection())))
    assert [(row["key"], row["payload"], row["cls"], row["fault"]) for row in found] == [("d/a", b"1", 2, None)]


def test_a_repeated_extension_begins_another_sample_of_the_key(tmp_path: Path) -> None:
    members = [("a.png", b"1"), ("a.cls", b"1"), ("a.png", b"2"), ("a.cls", b"2"), ("a.cls", b"3"), ("a.png", b"3")]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    found = rows(read(shard, READER.settle(shard, ColumnSelection())))
    assert [(row["key"], row["payload"], row["cls"]) for row in found] == [("a", b"%d" % i, i) for i in (1, 2, 3)]


@pytest.mark.parametrize("size", [1, 2, 256])
def test_the_first_of_several_images(tmp_path: Path, size: int) -> None:
    members = [("a.jpg", b"1"), ("b.gif", b"2"), ("b.PNG", b"3"), ("c.webp", b"4"), ("d.ppm", b"5")]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    columns = READER.settle(shard, ColumnSelection(image="png;jpg;gif;webp"))
    assert keys_and_images(shard, columns, size) == [("a", b"1"), ("b", b"3"), ("c", b"4"), ("d", None)]
    columns = READER.settle(shard, ColumnSelection(image=".ppm;gif"))
    assert keys_and_images(shard, columns, size) == [("a", None), ("b", b"2"), ("c", None), ("d", b"5")]


def wholes(shard: Shard, size: int = 256, **request: Any) -> list[tuple[Any, Any]]:
    """Of every record what is kept to write it again, and its fault."""
    columns = READER.settle(shard, ColumnSelection(whole=True, **request))
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
    found = wholes(shard, size, image="png;jpg")
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
    apart, whole = (read(shard, READER.settle(shard, ColumnSelection(whole=whole))) for whole in (False, True))
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
    columns = READER.settle(shard, ColumnSelection(whole=whole))
    unit = Unit(id="u", format="webdataset", shards=(shard,))
    parts = [raw.records() for raw in READER.read(unit, columns, size, room)]
    assert [len(part) for part in parts] == edges
    assert [(row["index"], len(row["payload"])) for row in rows(parts)] == list(enumerate(sizes))


def test_room_is_taken_by_what_is_kept(tmp_path: Path) -> None:
    members = [(f"{i}.{name}", bytes(100)) for i in range(4) for name in ("png", "bin")]
    shard = shard_of(tmp_path / "a.tar", archive(members))
    unit = Unit(id="u", format="webdataset", shards=(shard,))
    for whole, edges in ((False, [4]), (True, [2, 2])):
        columns = READER.settle(shard, ColumnSelection(whole=whole))
        assert [len(raw.records()) for raw in READER.read(unit, columns, 256, 400)] == edges


def test_a_sample_of_many_members_is_no_more_than_a_record_may_be(tmp_path: Path) -> None:
    """Each member is within the limit, and all of them together would fill the memory; also at launch."""
    members = [("1.png", b"image"), *((f"1.m{at}", bytes(900)) for at in range(24)), ("2.png", b"other"), ("2.m0", b"")]
    shard = shard_of(tmp_path / "a.tgz", gzip.compress(archive(members)))
    columns = READER.settle(shard, ColumnSelection(carry=[f"m{at}" for at in range(24)], max_record_bytes=1_000))
    (records,) = read(shard, columns)
    assert records.payload.to_pylist() == [None, b"other"]
    assert {at: (fault.reason, fault.data) for at, fault in records.faults.items()} == {
        0: (Reason.RECORD_TOO_LARGE, b"image")
    }
    assert "has over 1000 bytes in its first 2 members" in records.faults[0].detail
    assert sum(len(column[0].as_py()) for column in records.carried.values()) < 2_000
