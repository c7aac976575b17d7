"""Errors of stores and libraries as errors that name the shard, and the check that it is still the planned one."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import BadGzipFile
from zipfile import BadZipFile

import pyarrow as pa

from lake.core.errors import LatentlakeError, ShardError, UnreadableError
from lake.core.records import Shard
from lake.storage import store_for
from lake.storage.store import MISSING

# zipfile raises NotImplementedError for an unknown compression method and RuntimeError for an encrypted member. Arrow
# raises UnicodeError for a bad column name.
_PACKED = (EOFError, zlib.error, BadZipFile, NotImplementedError, RuntimeError)
_DAMAGE = (pa.ArrowException, UnicodeError, *_PACKED)


def missing_link(shard: Shard) -> str | None:
    """What is wrong with a shard that is a link to a file that does not exist; None for every other one."""
    if not shard.identity.startswith(MISSING):
        return None
    target = shard.identity.removeprefix(MISSING)
    return f"a link to {target}, which does not exist; fetch it (git annex get, dvc pull), or remove the link"


@contextmanager
def damage(shard: Shard) -> Iterator[None]:
    """Convert the errors of a store or library inside the block into errors that name the shard, on one line.

    Args:
      shard: what is read.

    Raises:
      ShardError: a library could not read the bytes.
      UnreadableError: the store failed, even if its error passed through a library, or memory ran out.
    """
    try:
        yield
    except pa.ArrowMemoryError as error:  # an ArrowException too, but says nothing about the bytes
        raise UnreadableError(shard.path, f"memory ran out while it was read: {_line(error)}") from error
    except OSError as error:
        if _of_library(error):
            raise ShardError(shard.path, _line(error)) from error
        raise _failed(shard, error) from error
    except _DAMAGE as error:
        raise ShardError(shard.path, _line(error)) from error


@contextmanager
def reading(shard: Shard) -> Iterator[None]:
    """Convert every ``OSError`` inside the block into an ``UnreadableError`` that names the shard.

    Args:
      shard: what is read; every error of the operating system must be the store's.

    Raises:
      UnreadableError: the store failed.
    """
    try:
        yield
    except OSError as error:
        raise _failed(shard, error) from error


@contextmanager
def as_shard_error(shard: Shard) -> Iterator[None]:
    """Convert what a reader did not foresee into an error that names the shard.

    Args:
      shard: what is read.

    Raises:
      ShardError: any exception that is none of this project's own.
    """
    try:
        yield
    except LatentlakeError:
        raise
    except Exception as error:
        raise ShardError(shard.path, f"cannot be read: {type(error).__name__}: {_line(error)}") from error


@contextmanager
def as_planned(shard: Shard, *beside: str) -> Iterator[None]:
    """Check at the end of the block that the shard is still the one that was planned.

    The store is asked once, after the last byte. A shard that changed while it was read is noticed this way, and what
    looks like damage is told apart from a change.

    Args:
      shard: the planned shard; its identity is that of all objects that are read, joined by '+'.
      beside: URIs of objects that are read with it, if they exist.

    Raises:
      UnreadableError: the shard is gone, or its identity differs.
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
    """Whether an ``OSError`` comes from Arrow or gzip. A store's errors have an errno, or a type of their own."""
    return error.errno is None and type(error) in (OSError, BadGzipFile)


def _failed(shard: Shard, error: OSError) -> UnreadableError:
    return UnreadableError(shard.path, f"the store failed: {_line(error)}")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
