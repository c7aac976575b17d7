"""Image folders of any depth: one file, one record.

A record's shard is the file's path relative to the input root, its index 0, its key the file's base name. Nothing is
carried unless asked for: ``--carry folder`` gives the path of the file's directory ('' at the root), which is the
image's class where each class has a folder of its own.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from pipeline.errors import InputError, UnreadableError
from pipeline.readers.base import BATCH_BYTES, Columns, Request
from pipeline.records import Fault, Reason, Records, Shard, Stage, Unit
from pipeline.storage import Store, store_for

_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
_FOLDER = pa.field("folder", pa.string())

# Reading ahead: a run is what one thread reads at a go, so that handing it over costs little for each file.
_THREADS = 8
_RUN_FILES = 16
_RUN_BYTES = 2 << 20
_AHEAD_BYTES = 64 << 20

File: TypeAlias = tuple[Shard, bytes | None]  # None: of more bytes than are allowed


class FolderReader:
    """A unit is a group of files, read ahead by a few threads, in order."""

    suffixes = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif")
    grouped = True

    def recognises(self, name: str, head: bytes) -> bool:
        """By suffix, or by the magic bytes of an image format."""
        webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
        bitmap = head.startswith(b"BM") and head[6:10] == bytes(4)  # reserved zeros, for 'BM' alone is weak
        return name.lower().endswith(self.suffixes) or head.startswith(_MAGIC) or webp or bitmap

    def settle(self, shard: Shard, request: Request) -> Columns:
        """Nothing is looked at: files have no columns to choose from."""
        if request.numeric:
            raise InputError(f"{shard.path}: folders hold image files and the model takes vectors; use other input")
        for option, name in (("--image", request.image), ("--key", request.key)):
            if name is not None:
                raise InputError(f"{shard.path}: folders of images have no feature {name!r}; leave out {option}")
        carry = [_column(shard, name) for name in request.carry or ()]
        return Columns(
            image="file",
            key=None,
            carry=pa.schema(carry),
            numeric=False,
            max_record_bytes=request.max_record_bytes,
            whole=request.whole,
            salvage=request.salvage,
        )

    def rows(self, shard: Shard) -> Sequence[int] | None:  # noqa: ARG002
        """None: a file is one record."""
        return None

    def read(self, unit: Unit, columns: Columns, size: int, room: int = BATCH_BYTES) -> Iterator[Records]:
        """Records of the unit's files in order. They have no ``source``: their paths say where they are written again.

        Raises:
          UnreadableError: a file is gone, unreadable or of another size than when it was listed.
        """
        files = _read_ahead(unit.shards, columns.max_record_bytes)
        while batch := _take(files, size, room):
            yield _records(batch, columns)


def _take(files: Iterator[File], size: int, room: int) -> list[File]:
    """The next files: ``size``, or fewer that reach ``room`` bytes."""
    taken, held = list[File](), 0
    for shard, data in islice(files, size):
        taken.append((shard, data))
        held += len(data or b"")
        if held >= room:
            break
    return taken


def _column(shard: Shard, name: str) -> pa.Field:
    if name != _FOLDER.name:
        raise InputError(f"{shard.path}: folders of images have no column {name!r}; --carry can be 'folder'")
    return _FOLDER


def _read_ahead(shards: Iterable[Shard], limit: int) -> Iterator[File]:
    """Each file in order; at most ``_THREADS`` runs are in memory, and of more than ``_AHEAD_BYTES`` only one."""
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="folder")
    try:
        ahead, held = deque[tuple[Future[list[File]], int]](), 0
        for run, size in _runs(shards, limit):
            while ahead and (len(ahead) == _THREADS or held + size > _AHEAD_BYTES):
                held -= ahead[0][1]
                yield from ahead.popleft()[0].result()
            ahead.append((pool.submit(_read_run, run, limit), size))
            held += size
        while ahead:
            yield from ahead.popleft()[0].result()
    finally:
        pool.shutdown(cancel_futures=True)


def _runs(shards: Iterable[Shard], limit: int) -> Iterator[tuple[list[Shard], int]]:
    """Runs, and the bytes that are read of each."""
    run, held = list[Shard](), 0
    for shard in shards:
        size = shard.size if shard.size <= limit else 0
        if run and (len(run) == _RUN_FILES or held + size > _RUN_BYTES):
            yield run, held
            run, held = [], 0
        run.append(shard)
        held += size
    if run:
        yield run, held


def _read_run(run: list[Shard], limit: int) -> list[File]:
    store = store_for(run[0].uri)
    return [(shard, _read(store, shard) if shard.size <= limit else None) for shard in run]


def _read(store: Store, shard: Shard) -> bytes:
    try:
        with store.open(shard.uri) as stream:
            data = stream.read(shard.size + 1)
    except OSError as error:
        raise UnreadableError(shard.path, f"cannot be read: {error}") from error
    if len(data) != shard.size:
        raise UnreadableError(shard.path, f"has no longer the {shard.size} bytes it was listed with; run again")
    return data


def _records(files: list[File], columns: Columns) -> Records:
    paths = [shard.path for shard, _ in files]
    split = [path.rpartition("/") for path in paths]
    carried = {name: _strings([folder for folder, _, _ in split]) for name in columns.carry.names}
    return Records(
        shard=paths,
        index=np.zeros(len(files), np.int64),
        key=_strings([name for _, _, name in split]),
        payload=pa.array([data for _, data in files], pa.binary()),
        carried=carried,
        faults={at: _too_large(shard, columns) for at, (shard, data) in enumerate(files) if data is None},
    )


def _too_large(shard: Shard, columns: Columns) -> Fault:
    detail = f"{shard.size} bytes; the most is {columns.max_record_bytes}"
    return Fault(stage=Stage.READ, reason=Reason.RECORD_TOO_LARGE, detail=detail)


def _strings(names: list[str]) -> pa.Array:
    """Names of files as data; bytes of a name that are not UTF-8 appear as backslash escapes."""
    return pa.array([name.encode("utf-8", "backslashreplace") for name in names], pa.binary()).cast(pa.string())
