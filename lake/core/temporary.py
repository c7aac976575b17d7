"""Temporary files: an error of the disk that they are on names it, and says what to do."""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def temporary_space() -> Iterator[None]:
    """Name the directory of temporary files in an error of the block: that it is full, or that there is none.

    Raises:
      OSError: as the block raised it, with the directory and the remedy.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _FULL and tempfile.tempdir is not None:
            text = f"{error.strerror} for temporary files; name a directory with more space as TMPDIR"
            raise OSError(error.errno, text, tempfile.tempdir) from error
        if error.filename is None and tempfile.tempdir is None:  # it looked for one
            raise OSError(error.errno, f"{error.strerror}; name a writable one as TMPDIR") from error
        raise
