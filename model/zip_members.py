"""Members of zip archives that are not trusted, read no further than they say."""

import zipfile
from collections.abc import Iterator

# Deflate expands at most 1,000 times and in steps; bzip2 and LZMA expand a million times, or at once.
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_CHUNK = 1 << 20


def read_member(archive: zipfile.ZipFile, name: str, largest: int) -> bytes:
    """The bytes of a member, which may have up to ``largest``.

    Raises:
      KeyError: there is no such member.
      BadZipFile: it claims more, is damaged, or is compressed with another method than deflate.
    """
    info = archive.getinfo(name)
    if info.file_size > largest:
        raise zipfile.BadZipFile(f"{name} claims {info.file_size} bytes, where it may have {largest}")
    return b"".join(member_chunks(archive, info))


def member_chunks(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield the bytes of a member in chunks, as many bytes as it claims and no more.

    Raises:
      BadZipFile: it does not have as many, is damaged, or is compressed with another method than deflate.
    """
    if info.compress_type not in METHODS:
        raise zipfile.BadZipFile(f"{info.filename} is compressed with method {info.compress_type}, not with deflate")
    left = info.file_size
    with archive.open(info) as stream:
        while chunk := stream.read(_CHUNK):
            left -= len(chunk)
            yield chunk
    if left:
        raise zipfile.BadZipFile(f"{info.filename} claims {info.file_size} bytes, and has {info.file_size - left}")
