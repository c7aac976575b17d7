"""Image files that a row names by its path and that lie beside the shard, as Hugging Face ``datasets`` writes them.

``Dataset.to_parquet`` and ``push_to_hub`` with ``embed_external_files=False`` leave ``bytes`` null.
"""

import errno
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.core.records import Array, Fault, Reason, Shard, Stage
from lake.formats.common import text
from lake.formats.common.shard_errors import reading
from lake.storage import join, store_for
from lake.storage.location import path_below

_AT_ONCE = 8  # files that are in memory before the batch they belong to is made, and threads that read them
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.EACCES)

_Read: TypeAlias = "bytes | Fault"


def pieces(batch: pa.RecordBatch, image: str) -> Iterator[pa.RecordBatch]:
    """A batch in parts, small ones where files have to be read.

    Args:
      batch: of a shard.
      image: name of its column of images.
    """
    column = batch.column(image)
    if not _has_paths(column.type) or not len(_lacking(column)):
        yield batch
        return
    for start in range(0, batch.num_rows, _AT_ONCE):
        yield batch.slice(start, _AT_ONCE)


def read_beside(shard: Shard, column: pa.Array, limit: int) -> Mapping[int, _Read]:
    """The files of the rows that have a path and no bytes.

    Only files in the directory of the shard or below it are read, whatever the path says.

    Args:
      shard: that the rows are of.
      column: of images, ``[n]``.
      limit: the most bytes of a file.

    Returns:
      By row, the bytes or what is wrong.

    Raises:
      UnreadableError: the store failed.
    """
    if not _has_paths(column.type):
        return {}
    rows = _lacking(column)
    paths = text.text(pc.struct_field(column, "path")).take(pa.array(rows)).to_pylist()
    if len(rows) < 2:
        return {int(row): _read(shard, path, limit) for row, path in zip(rows, paths, strict=True)}
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="beside") as pool:
        return dict(zip(rows.tolist(), pool.map(lambda path: _read(shard, path, limit), paths), strict=True))


def with_files(files: pa.Array, found: Mapping[int, _Read]) -> pa.Array:
    """Files with those that were read in the place of nulls.

    Args:
      files: binary ``[n]``.
      found: by row.
    """
    if not found:
        return files
    values = files.to_pylist()
    for row, data in found.items():
        values[row] = data if isinstance(data, bytes) else None
    return pa.array(values, files.type)


def _has_paths(kind: pa.DataType) -> bool:
    at = kind.get_field_index("path") if pa.types.is_struct(kind) else -1
    return at >= 0 and not pa.types.is_nested(kind.field(at).type)


def _lacking(column: pa.Array) -> Array:
    """Rows with a path and no bytes, int64 ``[m]``."""
    files, paths = pc.struct_field(column, "bytes"), pc.struct_field(column, "path")
    if not files.null_count:
        return np.empty(0, np.int64)
    found: Array = np.flatnonzero(pc.and_(files.is_null(), paths.is_valid()).to_numpy(zero_copy_only=False))
    return found


def _read(shard: Shard, path: str, limit: int) -> _Read:
    directory = shard.uri.rpartition("/")[0] or ("/" if shard.uri.startswith("/") else ".")
    wanted = path if path.startswith("/") or "://" in path else join(directory, path)
    below = None if "\0" in path else path_below(wanted, directory)
    if below is None or ".." in below.split("/"):
        return _missing(path, "leads out of the shard's directory, where nothing is read")
    uri = join(directory, below)
    with reading(shard):
        try:
            stat = store_for(uri).stat(uri) if below else None
            if stat is None:
                return _missing(path, "names no file beside the shard")
            if stat.size > limit:
                detail = f"{stat.size} bytes; the most is {limit}"
                return Fault(stage=Stage.READ, reason=Reason.RECORD_TOO_LARGE, detail=detail)
            with store_for(uri).open(uri) as file:
                return bytes(file.read(limit))
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            return _missing(path, f"cannot be read: {error.strerror}")


def _missing(path: str, problem: str) -> Fault:
    detail = f"the image has no bytes, and its path {path!r} {problem}"
    return Fault(stage=Stage.READ, reason=Reason.MISSING_IMAGE, detail=detail)
