"""About how many samples an archive has, told from its first bytes."""

import re
from collections.abc import Iterator

from lake.formats.webdataset.tar_read import TAR_BLOCK, is_header

_NUMBER = re.compile(rb" *([0-7]+)[ \0]*")
_FILES = (b"0", b"\0", b"7")  # type flags of members with data


def about_samples(head: bytes, size: int) -> float | None:
    """About how many samples an archive has, if they go on as they begin; None if the bytes do not tell it.

    Args:
      head: its first bytes.
      size: bytes of all of it.

    >>> about_samples(b"no archive", 10_000) is None
    True
    """
    starts, before, end = list[int](), b"", 0
    for at, name, after in _members(head):
        directory, slash, base = name.rpartition(b"/")
        key = directory + slash + base.partition(b".")[0]
        if base.startswith(b".") or not base:
            continue
        if key != before:
            starts.append(at)
        before, end = key, after
    if not starts:
        return None
    # The last one may have members that are no longer in the head.
    whole, length = (len(starts) - 1, starts[-1] - starts[0]) if len(starts) > 1 else (1, end - starts[0])
    return max(1.0, (size - starts[0]) * whole / length)


def _members(head: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Where each member with data begins, its name, and where the next one begins."""
    at = 0
    while is_header(block := head[at : at + TAR_BLOCK]):
        number = _NUMBER.fullmatch(block[124:136])
        if number is None:  # larger than 8 GiB
            return
        after = at + TAR_BLOCK + -(-int(number[1], 8) // TAR_BLOCK) * TAR_BLOCK
        if block[156:157] in _FILES:
            yield at, block[:100].rstrip(b"\0"), after
        at = after
