"""The arrays of one shard by name: the members of ``.npz``; of ``.npy`` and IDX ``image`` (and MNIST's ``label``)."""

import gzip
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from io import SEEK_END
from shutil import copyfileobj
from tempfile import TemporaryFile
from typing import IO, BinaryIO, TypeAlias, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from lake.core.errors import ShardError
from lake.core.records import Array, Shard
from lake.core.temporary import temporary_space
from lake.formats.array import idx
from lake.formats.common import npy
from lake.formats.common.array_rows import RowLayout, blocks, exactly
from lake.formats.common.shard_errors import damage
from lake.storage import store_for

_GZIP, _ZIP = b"\x1f\x8b", b"PK"
_END, _END_MAGIC = 22, b"PK\5\6"  # size and signature of a zip archive's end record
_DIRECTORY = 8 << 20  # largest zip directory that is read, in bytes: enough for a hundred thousand arrays
_STEP = 1 << 20  # bytes of a packed stream per read
_DEFLATE = 1032  # largest compression ratio of deflate: a header that implies a larger one is wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayMember:
    """One array of a shard.

    Attributes:
      shard: the file that holds it.
      stream: positioned at the first element.
      layout: of the elements.
      lead: the header's first four bytes, which tell ``.npy`` from IDX.
      packed: the stream is compressed, so it can only be read from its start.
    """

    shard: Shard
    stream: BinaryIO
    layout: RowLayout
    lead: bytes
    packed: bool

    def blocks(self, start: int, stop: int, size: int) -> Iterator[Array]:
        """Rows ``[start, stop)`` as arrays ``[size, ...]``; the last may be smaller.

        Raises:
          ShardError: the stream ends early, goes on after its last row, or has a wrong checksum.
          UnreadableError: the store failed.
        """
        with damage(self.shard), ExitStack() as stack:
            stream, layout = self.stream, self.layout
            if layout.fortran and self.packed:
                stream, layout = _unpacked(stream, layout, stack), replace(layout, offset=0)
            yield from blocks(stream, layout, start, stop, size)


# Arrays are opened on demand, so that those that are not read cost nothing.
Members: TypeAlias = Mapping[str, Callable[[], ArrayMember]]


def members(shard: Shard, stack: ExitStack, *, proven: bool = False) -> Members:
    """The arrays of a shard by name.

    Args:
      shard: a plain or compressed file.
      stack: closes what is opened.
      proven: read a compressed array to its end, where its checksum is, before it is used.

    Raises:
      ShardError: now or when a member is opened: a header is damaged, the size that it gives differs from the size of
        the stream, or a checksum that was to be verified is wrong.
      UnreadableError: the store failed.
    """
    with damage(shard):
        stream = stack.enter_context(store_for(shard.uri).open(shard.uri))
        if _begins(stream, _ZIP):
            _check_directory(shard, stream)
            archive = stack.enter_context(ZipFile(stream))
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            return {
                name.removesuffix(".npy"): partial(_zip_member, shard, archive, name, stack, proven) for name in names
            }
        labels = _labels(shard)
    found = {"image": partial(_file_member, shard, stream, stack, proven)}
    return found if labels is None else found | {"label": partial(_label_member, labels, stack, proven)}


def has_rows(layout: RowLayout, images: RowLayout) -> bool:
    """Whether an array has one row for each image, of a known number of bytes, so that rows can be left out.

    Args:
      layout: of the array.
      images: layout of the array of images.
    """
    return bool(layout.shape) and layout.rows == images.rows and layout.row_bytes > 0


def is_packed(shard: Shard) -> bool:
    """Whether a shard is gzip or zip by its first bytes, and so can only be read from its start.

    Raises:
      UnreadableError: the store failed.
    """
    with damage(shard), store_for(shard.uri).open(shard.uri, sparse=True) as stream:
        return _begins(stream, _GZIP) or _begins(stream, _ZIP)


def is_archive(shard: Shard) -> bool:
    """Whether a shard is a zip archive, as ``.npz`` is, by its first bytes.

    Raises:
      UnreadableError: the store failed.
    """
    with damage(shard), store_for(shard.uri).open(shard.uri, sparse=True) as stream:
        return _begins(stream, _ZIP)


def _check_directory(shard: Shard, stream: BinaryIO) -> None:
    """Limit a zip archive's directory, since each entry becomes an object ten times its size.

    The directory's size stands in the end record (APPNOTE 4.3.16), which is followed by a comment of up to 64 KiB.
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
    """URIs that the label file beside an MNIST image file may have."""
    folder, slash, name = shard.uri.rpartition("/")
    return [folder + slash + other for other in idx.labels_of(name)]


def _labels(shard: Shard) -> Shard | None:
    """The MNIST label file beside a shard, if there is one."""
    uri = next((uri for uri in beside(shard) if store_for(uri).stat(uri) is not None), None)
    if uri is None:
        return None
    folder, slash, _ = shard.path.rpartition("/")
    return replace(shard, uri=uri, path=folder + slash + uri.rpartition("/")[2])


def _label_member(labels: Shard, stack: ExitStack, proven: bool) -> ArrayMember:
    with damage(labels):
        stream = stack.enter_context(store_for(labels.uri).open(labels.uri))
    return _file_member(labels, stream, stack, proven)


def _file_member(shard: Shard, stream: BinaryIO, stack: ExitStack, proven: bool) -> ArrayMember:
    with damage(shard):
        size = stream.seek(0, SEEK_END)
        if not _begins(stream, _GZIP):
            return _checked_member(shard, stream, size, None)
        if proven:
            _verify(gzip.GzipFile(fileobj=stream))
            stream.seek(0)
        unpacked = cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=stream)))
        return _checked_member(shard, unpacked, None, size)


def _zip_member(shard: Shard, archive: ZipFile, name: str, stack: ExitStack, proven: bool) -> ArrayMember:
    with damage(shard):
        info = archive.getinfo(name)
        _check_packing(shard, info)
        if proven:
            _verify(archive.open(info))
        stream = cast(BinaryIO, stack.enter_context(archive.open(info)))
        return _checked_member(shard, stream, info.file_size, info.compress_size)


def _check_packing(shard: Shard, info: ZipInfo) -> None:
    """Refuse what cannot be unpacked in steps of a known size: of bzip2 and LZMA, 2 kB may give 3 GiB at once."""
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        problem = f"{info.filename!r} is packed by method {info.compress_type}, and only stored and deflated arrays"
        raise ShardError(shard.path, f"{problem} are read; write it with numpy.savez_compressed")
    if info.compress_size > shard.size:
        raise ShardError(shard.path, f"{info.filename!r} has {info.compress_size} bytes by the archive's directory")


def _verify(packed: IO[bytes] | gzip.GzipFile) -> None:
    """Read to the end, where the library compares the checksum."""
    with packed:
        while packed.read(_STEP):
            pass


def _checked_member(shard: Shard, stream: BinaryIO, size: int | None, packed: int | None) -> ArrayMember:
    """A member whose header agrees with the size of its stream.

    Args:
      shard: the file that holds it.
      stream: positioned at the header.
      size: bytes of the stream, header included; None if unknown.
      packed: compressed bytes; None if the stream is not compressed.
    """
    lead = exactly(stream, 4, "the header")
    layout = _layout(shard, lead, stream)
    member = ArrayMember(shard=shard, stream=stream, layout=layout, lead=lead, packed=packed is not None)
    if layout.dtype is None:
        return member
    # Both checks come before anything is allocated by what the header says.
    if size is not None and layout.end != size:
        raise ShardError(shard.path, f"its header asks for {layout.end} bytes and there are {size}; it is damaged")
    if packed is not None and layout.end > _DEFLATE * (packed + 1):
        raise ShardError(shard.path, f"its header asks for {layout.end} bytes, packed in {packed}; it is damaged")
    return member


def _layout(shard: Shard, lead: bytes, stream: BinaryIO) -> RowLayout:
    try:
        return npy.read_npy_header(lead, stream) if npy.MAGIC.startswith(lead) else idx.read_idx_header(lead, stream)
    except ValueError as error:
        raise ShardError(shard.path, str(error)) from error


def _unpacked(stream: BinaryIO, layout: RowLayout, stack: ExitStack) -> BinaryIO:
    """Unpack elements to a temporary file. Column-major rows are scattered, and a compressed stream cannot seek."""
    file = stack.enter_context(TemporaryFile())  # noqa: SIM115
    with temporary_space():
        copyfileobj(stream, file, _STEP)
    if file.tell() != layout.end - layout.offset:
        raise EOFError(f"{file.tell()} bytes of elements, and {layout.end - layout.offset} by its header")
    return cast(BinaryIO, file)
