"""The first record of a file that ``ArrayRecordWriter`` wrote, without the library, which needs all of the file.

The format is Riegeli's (https://github.com/google/riegeli/blob/master/doc/riegeli_records_file_format.md): blocks of
64 KiB, each with a header of its own, and in what remains of them chunks, the first of which is the file's signature.
"""

import struct
from typing import BinaryIO

from lake.formats.common.array_rows import exactly
from lake.storage import store_for

_BLOCK, _BLOCK_HEADER = 1 << 16, 24
_CHUNK_HEADER = struct.Struct("<8xQ8xQQ")  # after a hash bytes of the data, their hash, kind and records, decoded bytes
_SIGNATURE = bytes.fromhex(
    "83af70d10d884a3f 0000000000000000 4000000000000000"  # a block's header
    "91bac23c9287e1a9 0000000000000000 e19f13c0e9b1c372 7300000000000000 0000000000000000"  # a chunk's
)
_ONE_RECORD = ord("r") | 1 << 8  # a chunk of records, of which there is one, as group_size:1 has it


def first_record(uri: str, size: int) -> bytes:
    """The first record. Its checksum is not compared.

    Args:
      uri: of the file.
      size: its bytes.

    Raises:
      ValueError: the file does not begin as one of ``ArrayRecordWriter``.
      EOFError: it ends within the record.
      OSError: the store failed.
    """
    with store_for(uri).open(uri, sparse=True) as stream:
        if exactly(stream, len(_SIGNATURE), "the signature") != _SIGNATURE:
            raise ValueError("it does not begin as a file of ArrayRecord")
        length, kind, decoded = _CHUNK_HEADER.unpack(exactly(stream, _CHUNK_HEADER.size, "a header"))
        if kind != _ONE_RECORD or not decoded < length < size:
            raise ValueError("it does not begin with a chunk of one record")
        data = _unblocked(stream, length)
    if data[0]:
        raise ValueError("its first record is compressed")
    return data[length - decoded :]


def _unblocked(stream: BinaryIO, length: int) -> bytes:
    """The next bytes, without the headers of blocks between them."""
    parts, at = list[bytes](), len(_SIGNATURE) + _CHUNK_HEADER.size
    while length:
        if at % _BLOCK == 0:
            exactly(stream, _BLOCK_HEADER, "a header")
            at += _BLOCK_HEADER
        parts.append(exactly(stream, min(length, _BLOCK - at % _BLOCK), "a record"))
        at, length = at + len(parts[-1]), length - len(parts[-1])
    return b"".join(parts)
