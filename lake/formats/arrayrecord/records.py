"""The records of an ArrayRecord file, one after another, and the description beside it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from lake.core import sealed_json
from lake.core.counters import TALLY
from lake.core.temporary import temporary_space
from lake.formats.arrayrecord.library import array_record_module, damage_as_value_errors, descriptor_path
from lake.formats.arrayrecord.names import description_of
from lake.storage import store_for
from lake.storage.location import is_local

_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"  # no threads: a job has its own
_CHUNK = 1 << 20  # bytes that are copied at a time
_OURS = b'"latentlake.'  # how the names in a description begin
_LONGEST = 64 << 20  # most bytes of a description, which may have a scale for each number of a latent


class RecordFile:
    """The records of a file. The library compares each with its checksum.

    Args:
      file: open, with a descriptor.
      counted: add what is read to the process counters, for the progress bar.

    Raises:
      ValueError: this is no ArrayRecord file, or a damaged one.
    """

    def __init__(self, file: BinaryIO, *, counted: bool) -> None:
        self._file, self._counted, self._next = file, counted, 0
        self._reader = self._open()
        self.count: int = self._reader.num_records()

    def next(self) -> bytes:
        """The next record. After an error the one that follows it is next.

        Raises:
          ValueError: it is damaged; the text says where.
        """
        at, self._next = self._next, self._next + 1
        try:
            with damage_as_value_errors():
                data: bytes = self._reader.read()
        except ValueError:
            self._reader = self._open()
            self._reader.seek(at + 1)
            raise
        if self._counted:
            TALLY.add(bytes_read=len(data))
        return data

    @property
    def left(self) -> int:
        """Number of records that follow."""
        return self.count - self._next

    def rewind(self) -> None:
        """Go back to the first record."""
        self._reader.seek(0)
        self._next = 0

    def _open(self) -> Any:
        with damage_as_value_errors():
            reader = array_record_module().ArrayRecordReader(descriptor_path(self._file), _OPTIONS)
            if not reader.ok():
                reader.close()  # raises what is wrong
        return reader


@contextmanager
def open_records(uri: str) -> Iterator[RecordFile]:
    """Open a file. One in a store is copied to a temporary file first, since the library reads from disks alone.

    Args:
      uri: of the file.

    Raises:
      ValueError: it is no ArrayRecord file, or a damaged one.
      OSError: the store failed, or the disk of temporary files is full.
    """
    with store_for(uri).open(uri) as stream:
        if is_local(uri):
            yield RecordFile(stream, counted=True)
            return
        with _copied(stream) as copy:
            yield RecordFile(copy, counted=False)


def description_beside(uri: str) -> dict[str, Any]:
    """What a file says about itself; nothing where this project has put no description beside it.

    Args:
      uri: of the records.

    Raises:
      VerifyError: the description is damaged.
      ValueError: it is too large.
      OSError: the store failed.
    """
    beside = description_of(uri)
    stat = store_for(beside).stat(beside)
    if stat is None:
        return {}
    if stat.size > _LONGEST:
        raise ValueError(f"{beside}: a description of {stat.size} bytes; the most is {_LONGEST}")
    with store_for(beside).open(beside) as stream:
        data = stream.read()
    return sealed_json.loads(data, beside) if _OURS in data else {}


def _copied(stream: BinaryIO) -> BinaryIO:
    with temporary_space():
        copy = TemporaryFile()  # noqa: SIM115 (the caller closes it)
        shutil.copyfileobj(stream, copy, _CHUNK)
        copy.flush()
    return copy
