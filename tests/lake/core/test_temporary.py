"""A full or missing directory of temporary files is named, by everything that writes there."""

import errno
import io
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lake.core.native_stderr import without_native_logs
from lake.core.temporary import temporary_space
from lake.formats.array.members import _unpacked
from lake.formats.array.spool import RowSpool, TableSpool
from lake.formats.common.array_rows import RowLayout
from lake.storage.remote import RemoteSink
from tests.lake.storage.memory_store import MemoryStore

LIMIT = 1 << 20  # bytes that a file may have


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A directory of temporary files in which no file can be larger than ``LIMIT``."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def closed(close: Callable[[], None]) -> Iterator[None]:
    """A file whose last bytes do not fit says so once more as it is closed."""
    try:
        yield
    finally:
        with suppress(OSError):
            close()


def upload() -> None:
    sink = RemoteSink(MemoryStore(), "mem://out/a")
    with closed(sink.abort):
        for _ in range(16):
            sink.write(bytes(LIMIT))


def rows() -> None:
    spool = RowSpool(np.dtype(np.uint8), (LIMIT,))
    with closed(spool.close):
        spool.append(np.zeros((4, LIMIT), np.uint8))


def columns() -> None:
    schema = pa.schema([("text", pa.binary())])
    spool = TableSpool(schema)
    with closed(spool.close):
        spool.append(pa.record_batch([pa.array([bytes(4 * LIMIT)])], schema=schema))


def unpacking() -> None:
    layout = RowLayout(dtype=np.dtype(np.uint8), descr="|u1", shape=(4 * LIMIT,), offset=0, fortran=False)
    stack = ExitStack()
    with closed(stack.close):
        _unpacked(io.BytesIO(bytes(4 * LIMIT)), layout, stack)


@pytest.mark.parametrize("write", [upload, rows, columns, unpacking])
def test_a_full_disk_is_named(small_disk: Path, write: Callable[[], None]) -> None:
    with pytest.raises(OSError, match="for temporary files; name a directory with more space as TMPDIR") as caught:
        write()
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(small_disk))


def test_a_missing_directory_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    said = r"No usable temporary directory found in \['/nowhere'\]; name a writable one as TMPDIR"
    with pytest.raises(OSError, match=said), without_native_logs():
        pass


@pytest.mark.parametrize("error", [OSError(errno.EIO, "of the input"), OSError(errno.ENOSPC, "of the output", "out/a")])
def test_other_errors_are_left_as_they_are(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(OSError) as caught, temporary_space():
        tempfile.gettempdir()
        raise error
    assert caught.value is error
