"""What libraries raise over a damaged container, as the one error that names the shard."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from zipfile import BadZipFile

import pyarrow as pa

from pipeline.errors import ShardError
from pipeline.records import Shard

# Besides its own, zipfile raises NotImplementedError for an unknown method and RuntimeError for an encrypted member;
# Arrow raises UnicodeError for the names of columns.
_PACKED = (EOFError, zlib.error, BadZipFile, NotImplementedError, RuntimeError)
_DAMAGE = (OSError, pa.ArrowException, UnicodeError, *_PACKED)


@contextmanager
def damage(shard: Shard) -> Iterator[None]:
    """Turn what a store or a library raises inside the block into a ``ShardError`` that names ``shard``.

    Raises:
      ShardError: from the cause, with its text on one line.
    """
    try:
        yield
    except _DAMAGE as error:
        text = " ".join(str(error).split())
        raise ShardError(shard.path, text or type(error).__name__) from error
