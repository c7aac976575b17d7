"""Members and their headers."""

import io
import tarfile
from pathlib import Path

import pytest

from lake.formats.common.byte_stream import Window
from lake.formats.webdataset.tar_read import tar_members
from lake.formats.webdataset.tar_write import END, member, tar_header
from tests.lake.formats.support import shard_of

NAMES = [
    b"a.png",
    b"n" * 96 + b".png",
    b"d/" + b"n" * 96 + b".png",
    b"d" * 155 + b"/" + b"n" * 96 + b".png",
    b"d" * 156 + b"/" + b"n" * 96 + b".png",
    b"/" + b"n" * 96 + b".png",
    b"n" * 200 + b".png",
    b"d/" * 200 + b"a.png",
    b"a//" * 40 + b"a.png",
    "ü".encode() * 70 + b".png",
    b"\xff" * 96 + b".png",
    b"\xff" * 120 + b".png",
    b"\xff" * 155 + b"/" + b"\xff" * 96 + b".png",
    b"a\0b.png",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513])
def test_members_of_any_name_are_read_by_tarfile_and_by_us(tmp_path: Path, name: bytes, size: int) -> None:
    data = b"".join([*member(name, b"x" * size), *member(b"last", b"l"), END])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = [(info.name.encode("utf-8", "surrogateescape"), tar.extractfile(info).read()) for info in tar]
    assert found == [(name, b"x" * size), (b"last", b"l")]
    ours = list(tar_members(Window(shard_of(tmp_path / "a.tar", data)), 1 << 20))
    assert [(name, data) for name, _, data, _ in ours] == found


def test_a_member_of_more_than_8_gib_says_so() -> None:
    data = tar_header(b"a.png", 8 << 30)
    assert tarfile.TarInfo.frombuf(data[:512], "utf-8", "strict").type == tarfile.XHDTYPE
    with tarfile.open(fileobj=io.BytesIO(data + END)) as tar:
        assert (tar.next().name, tar.members[0].size) == ("a.png", 8 << 30)
    assert len(tar_header(b"a.png", (8 << 30) - 1)) == 512
