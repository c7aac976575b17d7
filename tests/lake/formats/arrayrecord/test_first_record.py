"""The first record of a file, compared with what the library reads."""

from pathlib import Path

import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from lake.formats.arrayrecord.first_record import first_record
from lake.formats.arrayrecord.latents import _OPTIONS
from tests.lake.formats.arrayrecord.samples import records

_IN_FIRST_BLOCK = (1 << 16) - 24 - 40 - 40  # bytes of the first chunk's data


def written(file: Path, first: bytes, options: str = _OPTIONS) -> Path:
    writer = ArrayRecordWriter(str(file), options)
    for record in (first, b"second"):
        writer.write(record)
    writer.close()
    return file


# The data of a chunk has three to five bytes more than its record.
@pytest.mark.parametrize("size", [1, 300, *range(_IN_FIRST_BLOCK - 8, _IN_FIRST_BLOCK + 2), 131_000, 131_072, 300_000])
def test_it_is_the_librarys(tmp_path: Path, size: int) -> None:
    file = written(tmp_path / "a.arrayrecord", bytes(range(1, 255)) * (size // 254) + bytes(size % 254))
    assert first_record(str(file), file.stat().st_size) == records(file)[0]


@pytest.mark.parametrize("options", ["group_size:1", "group_size:2,uncompressed"])
def test_files_that_others_wrote_otherwise_are_refused(tmp_path: Path, options: str) -> None:
    file = written(tmp_path / "a.arrayrecord", b"first" * 100, f"{options},max_parallelism:1")
    with pytest.raises(ValueError, match=r"its first record is compressed|a chunk of one record"):
        first_record(str(file), file.stat().st_size)


@pytest.mark.parametrize(
    ("at", "says"),
    [
        (0, "does not begin as a file of ArrayRecord"),
        (76, "a chunk of one record"),  # bytes of its data
        (88, "a chunk of one record"),  # its kind
        (100, "a chunk of one record"),  # bytes of the record
        (104, "compressed"),
    ],
)
def test_damage_is_named(tmp_path: Path, at: int, says: str) -> None:
    data = bytearray(written(tmp_path / "a.arrayrecord", b"first" * 10).read_bytes())
    data[at] ^= 1
    (tmp_path / "b.arrayrecord").write_bytes(data)
    with pytest.raises(ValueError, match=says):
        first_record(str(tmp_path / "b.arrayrecord"), len(data))


def test_one_that_ends_within_its_record_is_named(tmp_path: Path) -> None:
    data = written(tmp_path / "a.arrayrecord", b"first" * 20_000).read_bytes()
    (tmp_path / "b.arrayrecord").write_bytes(data[: 1 << 16])
    with pytest.raises(EOFError, match="within a header"):
        first_record(str(tmp_path / "b.arrayrecord"), len(data))
