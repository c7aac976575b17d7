"""A shard of arrays rewritten with other images: the same kind of file, with everything else that it holds."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO, cast
from zipfile import ZipFile, ZipInfo

import numpy as np

from lake.core.errors import ShardError
from lake.core.records import OutputFile, Shard, Unit
from lake.formats.array import idx
from lake.formats.array.members import ArrayMember, Members, has_rows, is_archive, members
from lake.formats.array.pixel_files import LEVEL, REMEDY, PixelFiles, Rendered
from lake.formats.array.spool import RowSpool
from lake.formats.common import npy
from lake.formats.common.array_rows import RowLayout
from lake.formats.common.shard_errors import damage
from lake.formats.writer import Create
from lake.storage import store_for

_CHUNK = 1 << 20


class RewrittenFiles(PixelFiles):
    """A shard rewritten with other images."""

    def __init__(self, unit: Unit, create: Create, image: str, *, channels_first: bool) -> None:
        super().__init__(unit, create)
        self._image, self._first = image, channels_first
        self._beside: dict[str, RowSpool] = {}

    def write(self, rendered: Rendered | None) -> None:
        if rendered is None:
            return
        self._add(rendered)
        for name, rows in rendered.rows.items():
            if name not in self._beside:
                self._beside[name] = self._spool(rows)
            self._beside[name].append(rows)

    def publish(self) -> tuple[OutputFile, ...]:
        (shard,) = self._unit.shards
        with ExitStack() as stack:
            found = members(shard, stack)
            if is_archive(shard):
                self._archive(shard, found, stack)
            else:
                self._files(found)
        return self._publish(shard.path)

    def _files(self, found: Members) -> None:
        """Write the file of images, and MNIST's labels beside it."""
        for name, opened in found.items():
            member = opened()
            sink = self._open(member.shard.path, member.packed)
            for chunk in self._array(name, member, found):
                sink.write(chunk)

    def _archive(self, shard: Shard, found: Members, stack: ExitStack) -> None:
        with damage(shard):
            source = stack.enter_context(ZipFile(stack.enter_context(store_for(shard.uri).open(shard.uri))))
        with ZipFile(self._open(shard.path), "w", compresslevel=LEVEL) as archive:
            # Of members with one name the last counts, as for readers.
            for info in map(source.getinfo, dict.fromkeys(source.namelist())):
                archive.compression = info.compress_type  # as in the input
                with archive.open(info.filename, "w", force_zip64=True) as out:
                    for chunk in self._member(shard, source, info, found):
                        out.write(chunk)

    def _member(self, shard: Shard, source: ZipFile, info: ZipInfo, found: Members) -> Iterator[bytes]:
        name = info.filename.removesuffix(".npy")
        if info.filename.endswith(".npy"):
            return self._array(name, found[name](), found)
        return _copied(shard, cast(BinaryIO, source.open(info)))

    def _array(self, name: str, member: ArrayMember, found: Members) -> Iterator[bytes]:
        """The bytes of one array of the rewritten shard."""
        images = found[self._image]().layout
        if name == self._image:
            yield from self._encoded(member, *_images_of(self._images, images, self._first), self._images)
        elif has_rows(member.layout, images):
            layout, spool = member.layout, self._beside.get(name)
            assert layout.dtype is not None
            yield from self._encoded(member, layout.dtype, (spool.rows if spool else 0, *layout.shape[1:]), spool)
        else:
            self._refuse_rows(name, member, images)
            yield from _copied(member.shard, member.stream)

    def _encoded(
        self, member: ArrayMember, dtype: np.dtype, shape: tuple[int, ...], spool: RowSpool | None
    ) -> Iterator[bytes]:
        chunks = spool.chunks() if spool else iter(())
        if npy.MAGIC.startswith(member.lead):
            yield npy.npy_header(dtype, shape)
            yield from chunks
            return
        big = dtype.newbyteorder(">")
        try:
            yield idx.idx_header(big, shape)
        except ValueError as error:
            raise ShardError(member.shard.path, f"{error}; {REMEDY}") from error
        for chunk in chunks:
            yield np.frombuffer(chunk, dtype).astype(big).tobytes()

    def _refuse_rows(self, name: str, member: ArrayMember, images: RowLayout) -> None:
        """Refuse an array whose rows cannot be filtered with the rejects; they would end up beside other images."""
        layout, written = member.layout, self._images.rows if self._images else 0
        if layout.shape and layout.rows == images.rows != written:
            rejected = f"and {images.rows - written} of its records are rejected"
            problem = f"array {name!r} holds {layout.descr}, whose rows cannot be told apart, {rejected}; {REMEDY}"
            raise ShardError(member.shard.path, problem)


def _images_of(spool: RowSpool | None, source: RowLayout, channels_first: bool) -> tuple[np.dtype, tuple[int, ...]]:
    """Element type and shape of the images that replace those of a source."""
    if spool is None:
        numbers = cast(np.dtype, source.dtype)
        vectors, floating = len(source.shape) == 2, numbers.kind == "f"
        dtype = np.dtype(np.uint8) if vectors else np.dtype("<f4") if floating else numbers.newbyteorder("<")
        return dtype, (0, 0, 0, 1) if vectors else (0, *source.shape[1:])
    channel = 0 if channels_first else len(spool.shape) - 1
    sides = [side for at, side in enumerate(spool.shape) if at != channel]
    grey = len(source.shape) == 3 and spool.shape[channel] == 1
    return spool.dtype, (spool.rows, *(sides if grey else spool.shape))


def _copied(shard: Shard, stream: BinaryIO) -> Iterator[bytes]:
    """All bytes of a stream, unchanged."""
    with damage(shard):
        stream.seek(0)
        while chunk := stream.read(_CHUNK):
            yield chunk
