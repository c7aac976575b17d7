"""The arrays of one shard by name: of ``.npz`` its members, of ``.npy`` and IDX ``image`` (and MNIST's ``label``)."""

import gzip
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from io import SEEK_END
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import IO, BinaryIO, TypeAlias, cast
from zipfile import ZipFile

from pipeline.errors import ShardError
from pipeline.readers import idx, npy
from pipeline.readers.damage import damage
from pipeline.readers.layout import Layout, blocks, exactly
from pipeline.records import Array, Shard
from pipeline.storage import store_for

_GZIP, _ZIP = b"\x1f\x8b", b"PK"
_END, _END_MAGIC = 22, b"PK\5\6"  # of a zip archive
_DIRECTORY = 8 << 20  # bytes of its directory: a hundred thousand arrays
_STEP = 1 << 20  # bytes of a packed stream that are read at once where they are not kept
_DEFLATE = 1032  # bytes that deflate can pack into one: a header that asks for more lies


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One array: a stream that stands at its first element, and how the elements lie."""

    shard: Shard
    stream: BinaryIO
    layout: Layout
    lead: bytes  # the header's first bytes, which tell NumPy's from IDX's
    packed: bool  # the stream is read from its start only

    def blocks(self, start: int, stop: int, size: int) -> Iterator[Array]:
        """Rows ``[start, stop)`` as arrays ``[size, ...]``; the last may be smaller.

        Raises:
          ShardError: the stream ends early or goes on after its last row, or a checksum is wrong.
          UnreadableError: the store failed.
        """
        with damage(self.shard), ExitStack() as stack:
            stream, layout = self.stream, self.layout
            if layout.fortran and self.packed:
                stream, layout = _spooled(stream, layout, stack), replace(layout, offset=0)
            yield from blocks(stream, layout, start, stop, size)


# Opened on demand, so that what is not read costs nothing.
Members: TypeAlias = Mapping[str, Callable[[], Member]]


def members(shard: Shard, stack: ExitStack, *, proven: bool = False) -> Members:
    """The arrays of a shard; ``stack`` closes what is opened.

    Args:
      shard: a plain or packed file.
      stack: of what is opened.
      proven: read a packed array to its end, where its checksum is, before it is given.

    Raises:
      ShardError: on this call or on opening a member: a header is damaged, the size that it gives is not the size
        that is there, or what was to be proven is wrong.
      UnreadableError: the store failed.
    """
    with damage(shard):
        stream = stack.enter_context(store_for(shard.uri).open(shard.uri))
        if _begins(stream, _ZIP):
            _check_directory(shard, stream)
            archive = stack.enter_context(ZipFile(stream))
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            return {name.removesuffix(".npy"): partial(_zipped, shard, archive, name, stack, proven) for name in names}
        labels = _labels(shard)
    found = {"image": partial(_single, shard, stream, stack, proven)}
    return found if labels is None else found | {"label": partial(_beside, labels, stack, proven)}


def has_rows(layout: Layout, images: Layout) -> bool:
    """Whether an array has one row for each image, and a row is a number of bytes: what can be cut."""
    return bool(layout.shape) and layout.rows == images.rows and layout.row_bytes > 0


def is_packed(shard: Shard) -> bool:
    """Whether a shard can only be read from its start: gzip or zip, by its first bytes."""
    with damage(shard), store_for(shard.uri).open(shard.uri, sparse=True) as stream:
        return _begins(stream, _GZIP) or _begins(stream, _ZIP)


def is_archive(shard: Shard) -> bool:
    """Whether a shard is zip, as ``.npz`` is, by its first bytes."""
    with damage(shard), store_for(shard.uri).open(shard.uri, sparse=True) as stream:
        return _begins(stream, _ZIP)


def _check_directory(shard: Shard, stream: BinaryIO) -> None:
    """A zip archive's directory becomes an object for each of its members, ten times the size of what it is read from.

    Its size stands in the record at the archive's end (APPNOTE 4.3.16), before a comment of up to 64 KiB.
    """
    size = stream.seek(0, SEEK_END)
    stream.seek(max(0, size - _END - 0xFFFF))
    tail = stream.read()
    stream.seek(0)
    last = tail.startswith(_END_MAGIC, len(tail) - _END) and tail.endswith(b"\0\0")
    at = len(tail) - _END if last else tail.rfind(_END_MAGIC)
    found = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
    if found > _DIRECTORY:
        raise ShardError(shard.path, f"an archive whose directory has {found} bytes; the most is {_DIRECTORY}")


def _begins(stream: BinaryIO, magic: bytes) -> bool:
    stream.seek(0)
    head = stream.read(len(magic))
    stream.seek(0)
    return head == magic


def beside(shard: Shard) -> list[str]:
    """URIs that MNIST's file of labels may have beside a file of images."""
    folder, slash, name = shard.uri.rpartition("/")
    return [folder + slash + other for other in idx.labels_of(name)]


def _labels(shard: Shard) -> Shard | None:
    """MNIST's file of labels beside its file of images."""
    uri = next((uri for uri in beside(shard) if store_for(uri).stat(uri) is not None), None)
    if uri is None:
        return None
    folder, slash, _ = shard.path.rpartition("/")
    return replace(shard, uri=uri, path=folder + slash + uri.rpartition("/")[2])


def _beside(labels: Shard, stack: ExitStack, proven: bool) -> Member:
    with damage(labels):
        stream = stack.enter_context(store_for(labels.uri).open(labels.uri))
    return _single(labels, stream, stack, proven)


def _single(shard: Shard, stream: BinaryIO, stack: ExitStack, proven: bool) -> Member:
    with damage(shard):
        size = stream.seek(0, SEEK_END)
        if not _begins(stream, _GZIP):
            return _checked(shard, stream, size, None)
        if proven:
            _prove(gzip.GzipFile(fileobj=stream))
            stream.seek(0)
        unpacked = cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=stream)))
        return _checked(shard, unpacked, None, size)


def _zipped(shard: Shard, archive: ZipFile, name: str, stack: ExitStack, proven: bool) -> Member:
    with damage(shard):
        info = archive.getinfo(name)
        if proven:
            _prove(archive.open(info))
        stream = cast(BinaryIO, stack.enter_context(archive.open(info)))
        return _checked(shard, stream, info.file_size, info.compress_size)


def _prove(packed: IO[bytes] | gzip.GzipFile) -> None:
    """Read to the end: the library compares the checksum there."""
    with packed:
        while packed.read(_STEP):
            pass


def _checked(shard: Shard, stream: BinaryIO, size: int | None, packed: int | None) -> Member:
    """A member whose header asks for ``size`` bytes, as far as that is known, and for what ``packed`` ones can hold."""
    lead = exactly(stream, 4, "the header")
    layout = _layout(shard, lead, stream)
    member = Member(shard=shard, stream=stream, layout=layout, lead=lead, packed=packed is not None)
    if layout.dtype is None:
        return member
    if size is not None and layout.end != size:
        raise ShardError(shard.path, f"its header asks for {layout.end} bytes and there are {size}; it is damaged")
    if packed is not None and layout.end > _DEFLATE * (packed + 1):
        raise ShardError(shard.path, f"its header asks for {layout.end} bytes, packed in {packed}; it is damaged")
    return member


def _layout(shard: Shard, lead: bytes, stream: BinaryIO) -> Layout:
    try:
        return npy.read_header(lead, stream) if npy.MAGIC.startswith(lead) else idx.read_header(lead, stream)
    except ValueError as error:
        raise ShardError(shard.path, str(error)) from error


def _spooled(stream: BinaryIO, layout: Layout, stack: ExitStack) -> BinaryIO:
    """Elements on the disk: column-major rows are gathered from all over, which a packed stream cannot do."""
    file = stack.enter_context(TemporaryFile())  # noqa: SIM115
    copyfileobj(stream, file, _STEP)
    if file.tell() != layout.end - layout.offset:
        raise EOFError(f"{file.tell()} bytes of elements, and {layout.end - layout.offset} by its header")
    return cast(BinaryIO, file)
