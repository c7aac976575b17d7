"""What stores and libraries raise over a shard, as errors that name it; and whether it is still the planned one."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import BadGzipFile
from zipfile import BadZipFile

import pyarrow as pa

from pipeline.errors import ShardError, UnreadableError
from pipeline.records import Shard
from pipeline.storage import store_for

# Besides its own, zipfile raises NotImplementedError for an unknown method and RuntimeError for an encrypted member;
# Arrow raises UnicodeError for the names of columns.
_PACKED = (EOFError, zlib.error, BadZipFile, NotImplementedError, RuntimeError)
_DAMAGE = (pa.ArrowException, UnicodeError, *_PACKED)


@contextmanager
def damage(shard: Shard) -> Iterator[None]:
    """Turn what a store or a library raises inside the block into an error that names ``shard``, on one line.

    Raises:
      ShardError: what a library made of the bytes.
      UnreadableError: what the store raised, also where it passed through a library; or memory ran out.
    """
    try:
        yield
    except pa.ArrowMemoryError as error:
        raise UnreadableError(shard.path, f"memory ran out while it was read: {_line(error)}") from error
    except OSError as error:
        if _of_library(error):
            raise ShardError(shard.path, _line(error)) from error
        raise _failed(shard, error) from error
    except _DAMAGE as error:
        raise ShardError(shard.path, _line(error)) from error


@contextmanager
def reading(shard: Shard) -> Iterator[None]:
    """Where every ``OSError`` is the store's: it becomes an ``UnreadableError`` that names ``shard``."""
    try:
        yield
    except OSError as error:
        raise _failed(shard, error) from error


@contextmanager
def as_planned(shard: Shard, *beside: str) -> Iterator[None]:
    """Read the planned shard in this block, or raise an error at its end.

    The store is asked once, after the last byte: so a shard that changes while it is read is found out too, and
    what looks like damage to one that changed is told from damage.

    Args:
      shard: its identity is that of every object that is read, joined by '+'.
      beside: URIs of objects that are read with it, where they are.

    Raises:
      UnreadableError: it is gone, or its identity is another.
    """
    try:
        yield
    except UnreadableError:
        raise
    except ShardError as error:
        _check(shard, beside, error)
        raise
    _check(shard, beside, None)


def _check(shard: Shard, beside: tuple[str, ...], cause: ShardError | None) -> None:
    with reading(shard):
        first, *others = (store_for(uri).stat(uri) for uri in (shard.uri, *beside))
    if first is None:
        raise UnreadableError(shard.path, "is gone since it was planned; run again") from cause
    if "+".join(stat.identity for stat in (first, *others) if stat is not None) != shard.identity:
        now = f"{shard.size} bytes then, {first.size} now"
        raise UnreadableError(shard.path, f"changed since it was planned ({now}); run again") from cause


def _of_library(error: OSError) -> bool:
    """Whether Arrow or gzip say so of the bytes; a store's errors have a number, or a type of their own."""
    return error.errno is None and type(error) in (OSError, BadGzipFile)


def _failed(shard: Shard, error: OSError) -> UnreadableError:
    return UnreadableError(shard.path, f"the store failed: {_line(error)}")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
