"""Read MDS shards of latents, vectors or image files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from lake.core.errors import InputError, NoColumnError, NoRecordsError, ShardError
from lake.core.records import RawBatch, Shard, Unit
from lake.formats.common.array_rows import exactly
from lake.formats.common.latent_arrays import storage_said
from lake.formats.common.shard_errors import as_planned, reading
from lake.formats.common.vector_storage import VectorStorage
from lake.formats.mds.batch import IMAGE_ENCODINGS, MdsBatch, MdsSamples, column_type
from lake.formats.mds.encodings import NDARRAY
from lake.formats.mds.latents import INDEX
from lake.formats.mds.shard import MdsHead, read_head
from lake.formats.reader import BATCH_BYTES, ColumnSelection, Reader, RecordSchema
from lake.storage import store_for

_SAMPLE = 16  # samples that tell types
_IMAGE_NAMES = ("image", "img", "jpg", "png", "bytes", "content")
_VECTOR_NAMES = ("latent", "vector", "embedding", "features", "x")
_KEYS = ("key", "filename", "path", "id", "__key__")
_LABELS = ("label", "labels", "class", "cls", "target")


class MdsReader(Reader):
    """A record is a sample. Its image is ``jpeg``, ``png`` or ``bytes``, its vector or latent an ``ndarray``.

    Carried columns are text, integers and floating numbers; JSON is integers if the first samples are, else text.
    Whatever was pickled is never read.
    """

    suffixes = (".mds",)
    companions = (INDEX,)

    def recognises(self, name: str, head: bytes) -> bool:  # noqa: ARG002
        """By name: a shard begins with a number."""
        return name.lower().endswith(self.suffixes)

    def settle(self, shard: Shard, selection: ColumnSelection) -> RecordSchema:
        with _opened(shard) as (head, stream):
            found = [*_samples(stream, head, selection.max_record_bytes, _SAMPLE)]
        if not found:
            raise NoRecordsError(f"{shard.path}: it has no samples")
        image = _image(shard, head, selection)
        _storage(shard, head, selection)
        samples = [values for data in found if (values := _values(head, data))]
        return selection.resolved(
            image=image,
            key=_asked(shard, head, selection.key, "key") or next((key for key in _KEYS if _is_text(head, key)), None),
            carry=pa.schema(
                [
                    (name, column_type(head.encodings[name], [sample[name] for sample in samples]))
                    for name in _carried(shard, head, selection)
                ]
            ),
            length=selection.length,
        )

    def read(self, unit: Unit, columns: RecordSchema, size: int, room: int = BATCH_BYTES) -> Iterator[RawBatch]:
        (shard,) = unit.shards
        with as_planned(shard), _opened(shard) as (head, stream):
            for name in filter(None, (columns.image, columns.key, *columns.carry.names)):
                if name not in head.encodings:
                    raise ShardError(shard.path, f"no column {name!r} as in the first shard")
            storage, start, waiting, total = _storage(shard, head, columns), 0, list[bytes | None](), 0
            for data in _samples(stream, head, columns.max_record_bytes, len(head.offsets) - 1):
                waiting.append(data)
                total += len(data or b"")
                if len(waiting) == size or total >= room:
                    yield MdsBatch(MdsSamples(shard.path, start, waiting), head, columns, storage)
                    start, waiting, total = start + len(waiting), [], 0
            if waiting:
                yield MdsBatch(MdsSamples(shard.path, start, waiting), head, columns, storage)


@contextmanager
def _opened(shard: Shard) -> Iterator[tuple[MdsHead, BinaryIO]]:
    """The head of a shard, and a stream at its first sample."""
    with reading(shard), store_for(shard.uri).open(shard.uri) as stream:
        try:
            head = read_head(stream, shard.size)
            yield head, stream
        except (ValueError, EOFError) as error:
            raise ShardError(shard.path, f"no MDS shard, or a damaged one: {error}") from error


def _samples(stream: BinaryIO, head: MdsHead, limit: int, most: int) -> Iterator[bytes | None]:
    """The first samples; None for one with more bytes than the limit.

    Raises:
      EOFError: the shard ends within one.
    """
    for size in np.diff(head.offsets)[:most].tolist():
        if size > limit:
            stream.seek(size, 1)
            yield None
            continue
        yield exactly(stream, size, "a sample")


def _values(head: MdsHead, data: bytes | None) -> dict[str, bytes]:
    """The values of a sample; none of one that is damaged, which will be its own reject."""
    try:
        return {} if data is None else head.values(data)
    except ValueError:
        return {}


def _image(shard: Shard, head: MdsHead, selection: ColumnSelection) -> str:
    """The column of images, or of vectors if the selection is numeric.

    Raises:
      InputError: there is none.
    """
    kinds = (NDARRAY,) if selection.numeric else IMAGE_ENCODINGS
    usable = [name for name, encoding in head.encodings.items() if encoding.partition(":")[0] in kinds]
    if (asked := _asked(shard, head, selection.image, "image")) is not None:
        if asked not in usable:
            raise InputError(f"{shard.path}: column {asked!r} is {head.encodings[asked]}, not {' or '.join(kinds)}")
        return asked
    usual = [name for name in (_VECTOR_NAMES if selection.numeric else _IMAGE_NAMES) if name in usable]
    if not usual and len(usable) != 1:
        raise InputError(
            f"{shard.path}: {len(usable)} columns are {' or '.join(kinds)} and none has a usual name; name one with "
            f"--image. There are: {_there(head)}"
        )
    return (usual or usable)[0]


def _carried(shard: Shard, head: MdsHead, selection: ColumnSelection) -> Sequence[str]:
    if selection.carry is None:
        return [name for name in head.encodings if name in _LABELS or name.endswith("_label")]
    for name in selection.carry:
        _asked(shard, head, name, "carry")
    return selection.carry


def _asked(shard: Shard, head: MdsHead, name: str | None, option: str) -> str | None:
    if name is not None and name not in head.encodings:
        raise NoColumnError(f"{shard.path}: no column {name!r}; set --{option} to one of: {_there(head)}", option, name)
    return name


def _there(head: MdsHead) -> str:
    return ", ".join(f"{name} ({encoding})" for name, encoding in [*head.encodings.items()][:20])


def _is_text(head: MdsHead, name: str) -> bool:
    return head.encodings.get(name) == "str"


def _storage(shard: Shard, head: MdsHead, columns: RecordSchema | ColumnSelection) -> VectorStorage | None:
    if not columns.latents:
        return None
    try:
        return storage_said(head.metadata, None if columns.shaped else columns.length)
    except ValueError as error:
        if isinstance(columns, RecordSchema):
            raise ShardError(shard.path, str(error)) from error
        raise InputError(f"{shard.path}: {error}") from error
