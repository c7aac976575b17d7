"""The library of ArrayRecord, and its errors as those of files."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from lake.core.errors import UsageError


def array_record_module() -> Any:
    """Import ``array_record.python.array_record_module``.

    Raises:
      UsageError: it is not installed.
    """
    try:
        from array_record.python import array_record_module as found
    except ImportError as error:
        raise UsageError(
            "latents in arrayrecord need array-record, which is not installed; pip install 'latentlake[arrayrecord]', "
            "also on workers"
        ) from error
    return found


def descriptor_path(file: BinaryIO) -> str:
    """A path by which the library opens a file that is open here, also one without a name.

    Args:
      file: with a descriptor.
    """
    return f"/proc/self/fd/{file.fileno()}"


@contextmanager
def damage_as_value_errors() -> Iterator[None]:
    """Convert the library's errors about the bytes of a file.

    Raises:
      ValueError: the file is damaged; the text says where.
    """
    try:
        yield
    except RuntimeError as error:
        raise ValueError(" ".join(str(error).split())) from error


@contextmanager
def temporary_file_written() -> Iterator[None]:
    """Convert the library's errors while it writes to a temporary file.

    Raises:
      OSError: the disk failed, or is full; the text has the remedy.
    """
    try:
        yield
    except RuntimeError as error:
        text = " ".join(str(error).split())
        raise OSError(f"{tempfile.gettempdir()}: {text}; name a directory with more space as TMPDIR") from error
