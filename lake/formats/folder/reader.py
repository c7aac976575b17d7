"""Folders of image files of any depth: one file is one record.

A record's shard is the file's path relative to the input root, its index is 0 and its key is the file's base name.
Nothing is carried by default. ``--carry folder`` gives the path of the file's directory ('' at the root), which is the
image's class if each class has its own folder.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from lake.core.errors import InputError, NoColumnError, UnreadableError
from lake.core.ordered_map import start_task
from lake.core.records import (
    Fault,
    Reason,
    Records,
    Shard,
    Stage,
    Unit,
)
from lake.formats.common.shard_errors import missing_link
from lake.formats.folder import metadata
from lake.formats.reader import BATCH_BYTES, ColumnSelection, Reader, RecordSchema
from lake.images.codecs import CODECS
from lake.storage import Store, store_for

_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")
_FOLDER = pa.field("folder", pa.string())

# A run is a number of files that one thread reads in one task, so that the cost of handing over is shared.
_THREADS = 8
_RUN_FILES = 16
_RUN_BYTES = 2 << 20
_AHEAD_BYTES = 64 << 20

File: TypeAlias = tuple[Shard, bytes | None]  # a file and its bytes; None if it is too large, or a link to nothing


class FolderReader(Reader):
    """Reads groups of image files in order, prefetched by a few threads."""

    suffixes = tuple(suffix for codec in CODECS.values() for suffix in codec.suffixes)
    grouped = True
    companions: tuple[str, ...] = metadata.NAMES
    sidecars: tuple[str, ...] = (".txt", ".json", ".caption")

    def recognises(self, name: str, head: bytes) -> bool:
        """By suffix, or by the first bytes of an image format."""
        webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
        # The reserved zeros are required too, since 'BM' alone is weak evidence.
        bitmap = head.startswith(b"BM") and head[6:10] == bytes(4)
        return name.lower().endswith(self.suffixes) or head.startswith(_MAGIC) or webp or bitmap

    def settle(self, shard: Shard, selection: ColumnSelection) -> RecordSchema:
        """Check the selection. No file is looked at, since files have no columns."""
        if selection.numeric:
            raise InputError(f"{shard.path}: folders hold image files and the model takes vectors; use other input")
        for field, name in (("image", selection.image), ("key", selection.key)):
            if name is not None:
                text = f"{shard.path}: folders of images have no feature {name!r}; leave out --{field}"
                raise NoColumnError(text, field, name)
        carry = pa.schema([_column(shard, name) for name in selection.carry or ()])
        # Image files say the order of their sides themselves.
        return replace(selection.resolved(image="file", key=None, carry=carry), layout=None)

    def read(self, unit: Unit, columns: RecordSchema, size: int, room: int = BATCH_BYTES) -> Iterator[Records]:
        """Records of the unit's files in order. ``Records.source`` is None: the paths suffice to rewrite the files.

        Raises:
          UnreadableError: a file is gone, unreadable, or of another size than when it was listed.
        """
        files = _read_ahead(unit.shards, columns.max_record_bytes)
        while batch := _take(files, size, room):
            yield _records(batch, columns)


def _take(files: Iterator[File], size: int, room: int) -> list[File]:
    """The next files: ``size``, or fewer if they reach ``room`` bytes."""
    taken, total = list[File](), 0
    for shard, data in islice(files, size):
        taken.append((shard, data))
        total += len(data or b"")
        if total >= room:
            break
    return taken


def _column(shard: Shard, name: str) -> pa.Field:
    if name != _FOLDER.name:
        text = f"{shard.path}: folders of images have no column {name!r}; --carry can be 'folder'"
        raise NoColumnError(text, "carry", name)
    return _FOLDER


def _read_ahead(shards: Iterable[Shard], limit: int) -> Iterator[File]:
    """Each file in order. At most ``_THREADS`` runs are in memory, and only one if it exceeds ``_AHEAD_BYTES``."""
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="folder")
    try:
        ahead, total = deque[tuple[Future[list[File]], int]](), 0
        for run, size in _runs(shards, limit):
            while ahead and (len(ahead) == _THREADS or total + size > _AHEAD_BYTES):
                total -= ahead[0][1]
                yield from ahead.popleft()[0].result()
            ahead.append((start_task(pool, _read_run, run, limit), size))
            total += size
        while ahead:
            yield from ahead.popleft()[0].result()
    finally:  # also when the consumer stops early
        pool.shutdown(cancel_futures=True)


def _runs(shards: Iterable[Shard], limit: int) -> Iterator[tuple[list[Shard], int]]:
    """Runs, with the number of bytes that are read for each."""
    run, total = list[Shard](), 0
    for shard in shards:
        size = shard.size if shard.size <= limit else 0
        if run and (len(run) == _RUN_FILES or total + size > _RUN_BYTES):
            yield run, total
            run, total = [], 0
        run.append(shard)
        total += size
    if run:
        yield run, total


def _read_run(run: list[Shard], limit: int) -> list[File]:
    store = store_for(run[0].uri)
    return [(shard, None if shard.size > limit or missing_link(shard) else _read(store, shard)) for shard in run]


def _read(store: Store, shard: Shard) -> bytes:
    try:
        with store.open(shard.uri) as stream:
            data = stream.read(shard.size + 1)  # one byte more, to notice a file that grew
    except OSError as error:
        raise UnreadableError(shard.path, f"cannot be read: {error}") from error
    if len(data) != shard.size:
        raise UnreadableError(shard.path, f"has no longer the {shard.size} bytes it was listed with; run again")
    return data


def _records(files: list[File], columns: RecordSchema) -> Records:
    paths = [shard.path for shard, _ in files]
    split = [path.rpartition("/") for path in paths]
    carried = {name: _strings([folder for folder, _, _ in split]) for name in columns.carry.names}
    return Records(
        shard=paths,
        index=np.zeros(len(files), np.int64),
        key=_strings([name for _, _, name in split]),
        payload=pa.array([data for _, data in files], pa.binary()),
        carried=carried,
        faults={at: _fault(shard, columns) for at, (shard, data) in enumerate(files) if data is None},
    )


def _fault(shard: Shard, columns: RecordSchema) -> Fault:
    if missing := missing_link(shard):
        return Fault(stage=Stage.READ, reason=Reason.MISSING_IMAGE, detail=missing)
    detail = f"{shard.size} bytes; the most is {columns.max_record_bytes}"
    return Fault(stage=Stage.READ, reason=Reason.RECORD_TOO_LARGE, detail=detail)


def _strings(names: list[str]) -> pa.Array:
    """File names as text; bytes that are not UTF-8 become backslash escapes."""
    return pa.array([name.encode("utf-8", "backslashreplace") for name in names], pa.binary()).cast(pa.string())
