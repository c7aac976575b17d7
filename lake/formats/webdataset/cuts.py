"""Where a giant tar archive is cut: by a pass over its headers, or by the index that NVIDIA DALI makes.

A cut is between members of different keys, right after the last member of a sample, so that long names and other
headers of the next member belong to the next slice.

The index (``wds2idx``, version 1.2) is text: ``v1.2`` and the number of samples, then a line for each sample with
extension, offset of the data, size and name of each member.
"""

from collections.abc import Iterator

import numpy as np

from lake.core.errors import ShardError
from lake.core.records import Array, Shard
from lake.formats.common.cuts import Cuts, Edges, cuts_among, index_text
from lake.formats.common.hops import Hops
from lake.formats.webdataset.member_names import shown, split_name
from lake.formats.webdataset.tar_read import TAR_BLOCK, tar_members
from lake.storage import Stat

_VERSION = b"v1.2"
_FIELDS = 4  # of a member in the index
_DIGITS = 19  # of a number that does not fit in 64 bits
_IN_PLACE = 64 << 10  # bytes of a member that are passed over where they are

# Where the sample begins, which is the end of the one before, and the key, the extension and the name of a member.
_Place = tuple[int, bytes, bytes, bytes]


def sample_cuts(shard: Shard) -> Cuts:
    """Cut an archive after looking at all of its headers.

    An archive in which one key has an extension twice is not cut: how many samples that makes depends on the members
    that are read. Nor is one whose global headers name or size the members that follow.

    Args:
      shard: a plain archive.

    Raises:
      ShardError: the archive is damaged.
      UnreadableError: the store failed.
    """
    edges, row, last, seen, lasting = Edges(shard.size), -1, b"", set[bytes](), dict[bytes, bytes]()
    for begin, key, extension, _ in _places(shard, 0, lasting):
        if key != last or row < 0:
            row, last, seen = row + 1, key, {extension}
            if begin >= edges.due:
                edges.add(row, begin)
        elif extension in seen:
            return Cuts()
        else:
            seen.add(extension)
    return Cuts() if lasting else edges.cuts(row + 1)


def _places(shard: Shard, begin: int, lasting: dict[bytes, bytes]) -> Iterator[_Place]:
    """The members of samples from some offset on, each with the end of the member before it."""
    window = Hops(shard, begin)
    try:
        for name, _, _, _ in tar_members(window, _IN_PLACE, _nothing, lasting):
            if (parts := split_name(name)) is not None:
                yield begin, *parts, name
                begin = window.offset
    finally:
        window.close()


def _nothing(name: bytes) -> bool:  # noqa: ARG001
    return False


def indexed_sample_cuts(shard: Shard, index: Stat) -> Cuts:
    """Cut an archive by its index, after looking at the headers around each cut and at its end.

    Args:
      shard: a plain archive.
      index: the file beside it.

    Raises:
      ShardError: the index does not fit the archive, or is none.
      UnreadableError: the store failed.
    """
    starts, names = _read(shard, index)
    cuts = cuts_among(starts, shard.size)
    # The first samples tell whether there are global headers, the last ones whether the archive goes on.
    rows = {row for row in (1, *cuts.rows[1:-1]) if row < len(starts)} if cuts.rows else set()
    for row in rows:
        _check(shard, int(starts[row - 1]), int(starts[row]), names[row])
    if rows:
        _check(shard, int(starts[-1]), None, b"")
    return cuts


def _check(shard: Shard, begin: int, cut: int | None, name: bytes) -> None:
    """Check that there is one sample between two offsets, which a member of a name follows; None for the end."""
    keys, lasting = set[bytes](), dict[bytes, bytes]()
    for at, key, _, found in _places(shard, begin, lasting):
        if at == cut and found == name and key not in keys and not lasting:
            return
        keys.add(key)
        if len(keys) > 1:
            break
    else:
        if cut is None and not lasting:
            return
    place = "the archive does not end" if cut is None else f"no sample begins with {shown(name)}"
    raise ShardError(shard.path, f"{place} where its index says so", cut)


def _read(shard: Shard, index: Stat) -> tuple[Array, list[bytes]]:
    """Where each sample begins, and the name of its first member."""
    head, *lines = index_text(shard, index).splitlines() or [b""]
    if head.split() != [_VERSION, b"%d" % len(lines)]:
        problem = f"its index begins with {shown(head)}, and has {len(lines)} lines more"
        wanted = shown(b"%s %d" % (_VERSION, len(lines)))
        raise ShardError(shard.path, f"{problem}; of so many samples it begins with {wanted}, as wds2idx writes it")
    starts, names, begin, before = np.empty(len(lines), np.int64), list[bytes](), 0, None
    for row, line in enumerate(lines):
        fields, starts[row] = line.split(b" "), begin
        key, end = _key(fields), _end(fields, begin)
        if key in (None, before) or end is None or end > shard.size:
            raise ShardError(shard.path, f"line {row + 2} of its index cannot be right: {shown(line)}")
        names.append(fields[3])
        begin, before = end, key
    return starts, names


def _key(fields: list[bytes]) -> bytes | None:
    """The key of a line's members; None if they have several, or an extension twice."""
    parts = [split_name(name) for name in fields[3::_FIELDS]]
    keys, extensions = {part[0] for part in parts if part}, {part[1] for part in parts if part}
    whole = len(fields) == _FIELDS * len(extensions)
    return keys.pop() if whole and len(keys) == 1 else None


def _end(fields: list[bytes], end: int) -> int | None:
    """The end of a line's last member; None if one does not begin after the one before, and a header."""
    for offset, size in zip(fields[1::_FIELDS], fields[2::_FIELDS], strict=False):
        if not (offset.isdigit() and size.isdigit() and len(offset) < _DIGITS > len(size)):
            return None
        begin, length = int(offset), int(size)
        if begin % TAR_BLOCK or begin < end + TAR_BLOCK:
            return None
        end = begin + length + -length % TAR_BLOCK
    return end
