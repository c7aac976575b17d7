"""Open Parquet files, those of others and this project's own: the footer is checked, and no thread of Arrow reads.

Arrow's threads may still hold a Python object, such as a buffer, while the interpreter ends, and abort the process when
they drop it. Units run in parallel already, so nothing is lost without those threads.
"""

from collections.abc import Sequence
from io import SEEK_END, BytesIO
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from lake.formats.common.parquet_footer import scan_footer

_READ_AHEAD = 1 << 20  # bytes that are buffered of each column; without it a whole row group would be
_TAIL = 64 << 10  # bytes that are read first; nearly every footer is shorter
_END = 8  # bytes after the footer: its length and the magic number
_MAGIC = b"PAR1"
_ARROW_SCHEMA = b"\x0cARROW:schema\x18"  # a string of 12 bytes in Thrift's compact protocol, and that one follows


def open_parquet(stream: BinaryIO, **options: Any) -> pq.ParquetFile:
    """Open a file that verifies page checksums. Its rows are to be read with ``use_threads=False``.

    Args:
      stream: the file; it must stay open.
      options: of ``pq.ParquetFile``; only where damage is looked into, checksums are not verified.

    Raises:
      pa.ArrowException: the footer cannot be read, or its schema is too deep.
      OSError: the store failed.
    """
    options = options if "metadata" in options else {"metadata": parse_footer(read_footer(stream)), **options}
    options = {"page_checksum_verification": True, **options, "pre_buffer": False, "buffer_size": _READ_AHEAD}
    return pq.ParquetFile(stream, **options)


def read_table(stream: BinaryIO, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a small file as a whole.

    Args:
      stream: the file.
      columns: names of the columns to read; None for all.

    Raises:
      pa.ArrowException: the file is damaged.
      OSError: the file is damaged, or the store failed.
    """
    return open_parquet(stream).read(None if columns is None else [*columns], use_threads=False)


def read_footer(stream: BinaryIO) -> bytes:
    """The bytes of a file's footer.

    Raises:
      pa.ArrowInvalid: the file has none.
      OSError: the store failed.
    """
    size = stream.seek(0, SEEK_END)
    stream.seek(max(0, size - _TAIL))
    tail = stream.read(_TAIL)
    length = int.from_bytes(tail[-_END:-4], "little")
    if size < len(_MAGIC) + _END or not tail.endswith(_MAGIC):
        raise pa.ArrowInvalid(f"it ends in {tail[-4:]!r}, not in {_MAGIC!r}; this is no Parquet file, or it is cut")
    if length > size - len(_MAGIC) - _END:
        raise pa.ArrowInvalid(f"it has {size} bytes, and a footer of {length} bytes by its length")
    if length + _END > len(tail):
        stream.seek(size - _END - length)
        tail = stream.read(length + _END)
    return tail[-_END - length : -_END]


def parse_footer(footer: bytes) -> pq.FileMetaData:
    """Parse a footer.

    Raises:
      pa.ArrowException: it cannot be parsed, or its schema is too deep.
    """
    scan_footer(footer)
    return _parsed(footer)


def without_arrow_schema(footer: bytes) -> pq.FileMetaData:
    """A footer that was parsed before, with the columns' types as Parquet knows them: as if Arrow had not written it.

    Args:
      footer: its bytes. The key of Arrow's schema is changed to lower case, which Arrow does not recognise.
    """
    return _parsed(footer.replace(_ARROW_SCHEMA, _ARROW_SCHEMA.lower()))


def _parsed(footer: bytes) -> pq.FileMetaData:
    return pq.read_metadata(BytesIO(_MAGIC + footer + len(footer).to_bytes(4, "little") + _MAGIC))
