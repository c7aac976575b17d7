"""A store that fails, or a shard that is not the planned one, is never taken for damage."""

import errno
import gzip
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import ShardError, UnreadableError
from lake.core.records import Unit
from lake.formats import FORMATS
from lake.formats.common.shard_errors import damage
from lake.formats.reader import ColumnSelection, RecordSchema
from tests.faults import damaged
from tests.faults.damaged import COUNT, MODES, Container, Outcome, read_shard, settle
from tests.lake.formats.support import shard_of

KINDS = (
    "tfrecord",
    "tfrecord.gz",
    "tar",
    "tar.gz",
    "parquet",
    "npz",
    "npy",
    "npy chw",
    "idx.gz",
    "arrow",
    "arrow file",
)
ANY = pytest.mark.parametrize("kind", [*KINDS, "csv", "csv.gz", "mds"])


@ANY
@MODES
def test_a_shard_that_is_gone_or_cannot_be_read_is_no_damage(
    tmp_path: Path, intact: dict[str, Container], kind: str, salvage: bool
) -> None:
    container = intact[kind]
    columns = settle(container, tmp_path, salvage=salvage)
    path = tmp_path / container.name
    shard = shard_of(path)
    path.unlink()
    assert_unreadable(read_shard(container.format, shard, columns), str(errno.ENOENT))
    path.mkdir()
    assert_unreadable(read_shard(container.format, shard, columns), str(errno.EISDIR))
    path.rmdir()
    path.symlink_to("/proc/self/mem")  # whose first byte no one can read, and which has no end
    assert_unreadable(read_shard(container.format, shard, columns), "the store failed: [Errno")


def assert_unreadable(found: Outcome, says: str) -> None:
    assert found.lost == 0
    assert isinstance(found.error, UnreadableError)
    assert says in str(found.error)


def changes() -> dict[str, Callable[[bytes], bytes]]:
    return {
        "longer": lambda data: data + data,
        "shorter": lambda data: data[: len(data) // 2],
        "empty": lambda data: b"",
        "other": lambda data: bytes(len(data)),
        "touched": bytes,
    }


@ANY
@MODES
@pytest.mark.parametrize("change", changes())
def test_a_shard_that_changed_since_it_was_planned_is_no_damage(
    tmp_path: Path, intact: dict[str, Container], kind: str, salvage: bool, change: str
) -> None:
    container = intact[kind]
    columns = settle(container, tmp_path, salvage=salvage)
    path = tmp_path / container.name
    shard = shard_of(path)
    path.write_bytes(changes()[change](container.data))
    os.utime(path, ns=(0, 0))
    error = read_shard(container.format, shard, columns).error
    assert isinstance(error, UnreadableError)
    now = len(changes()[change](container.data))
    assert error.problem == f"changed since it was planned ({shard.size} bytes then, {now} now); run again"


@pytest.mark.parametrize("kind", ["tfrecord", "tar", "parquet", "npy", "npy chw", "arrow", "arrow file", "csv"])
def test_a_shard_that_changes_while_it_is_read_is_found_out(
    tmp_path: Path, intact: dict[str, Container], kind: str
) -> None:
    container = intact[kind]
    columns: RecordSchema = settle(container, tmp_path)
    path = tmp_path / container.name
    shard = shard_of(path)
    reading = FORMATS[container.format].reader.read(Unit(id="u", format="x", shards=(shard,)), columns, 16)
    assert len(next(reading).records()) == 16
    os.utime(path, ns=(0, 0))
    with pytest.raises(UnreadableError, match="changed since it was planned"):
        list(reading)


class Failing(io.BytesIO):
    """A store's stream whose connection breaks in the middle."""

    def __init__(self, data: bytes, error: OSError) -> None:
        super().__init__(data)
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() < len(self.getbuffer()) // 2:
            raise self._error
        return super().read(size)


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "no"), ConnectionError("reset"), TimeoutError("late"), OSError(5, "x")], ids=repr
)
@pytest.mark.parametrize("through", ["parquet", "npz", "gzip"])
def test_a_stores_error_stays_one_when_it_passes_through_a_library(
    tmp_path: Path, intact: dict[str, Container], through: str, error: OSError
) -> None:
    def read_all(stream: io.BytesIO) -> None:
        if through == "parquet":
            list(pq.ParquetFile(stream, buffer_size=1 << 10, pre_buffer=False).iter_batches())
        elif through == "npz":
            zipfile.ZipFile(stream).read("x.npy")
        else:
            gzip.GzipFile(fileobj=stream).read()

    data = intact[{"gzip": "npy.gz"}.get(through, through)].data
    shard = shard_of(tmp_path / "a", data)
    with damage(shard):
        read_all(io.BytesIO(data))
    with pytest.raises(UnreadableError, match="a: the store failed"), damage(shard):
        read_all(Failing(data, error))
    with pytest.raises(ShardError) as caught, damage(shard):
        read_all(io.BytesIO(data[: len(data) // 2]))
    assert type(caught.value) is ShardError


def test_memory_that_runs_out_is_no_damage(tmp_path: Path) -> None:
    shard = shard_of(tmp_path / "a", b"")
    with pytest.raises(UnreadableError, match="a: memory ran out"), damage(shard):
        pa.allocate_buffer(1 << 62)


@MODES
@pytest.mark.parametrize(("format", "suffix"), [("folder", "png"), ("npy", "npy")])
def test_a_file_of_a_folder_that_is_gone_or_changed_fails_its_group(
    tmp_path: Path, digits: Any, format: str, suffix: str, salvage: bool
) -> None:
    reader = FORMATS[format].reader
    files = damaged.images(digits) if format == "folder" else [damaged.npy(image) for image in digits[:COUNT]]
    shards = [shard_of(tmp_path / f"{at}.{suffix}", data) for at, data in enumerate(files)]
    columns = reader.settle(shards[0], ColumnSelection(salvage=salvage))
    unit = Unit(id="u", format=format, shards=shards)
    Path(shards[7].uri).write_bytes(b"x")
    with pytest.raises(UnreadableError, match=rf"^7\.{suffix}: has no longer the \d+ bytes"):
        list(reader.read(unit, columns, 16))
    Path(shards[7].uri).unlink()
    with pytest.raises(UnreadableError, match=rf"^7\.{suffix}: cannot be read: .*No such file"):
        list(reader.read(unit, columns, 16))
