"""Which member a damaged header was of, told by the samples around it.

A header has no other copy, and a tar archive no index. But the samples of a shard mostly have the same extensions one
after another, so that the members around the damage say which one is missing; and what is left of the header has to
agree: its name is that of the missing member, and its size leads to the header of the next one. One byte of these two
may be wrong, by as much as the checksum says.

Both are needed. By the extensions alone, several lost members could pass for one; by the header alone, a damaged name
could be that of a neighbour, and the samples behind it would be counted wrong.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lake.formats.webdataset.member_names import split_name
from lake.formats.webdataset.tar_read import TAR_BLOCK, stated_number

WITNESSES = 2  # whole samples beside the damaged one that show which extensions samples have
_NAME, _SIZE, _SUM, _PREFIX = slice(0, 100), slice(124, 136), slice(148, 156), slice(345, 500)


class MemberGroup(NamedTuple):
    """Consecutive members of one key.

    Attributes:
      key: of the members.
      extensions: theirs, in order.
    """

    key: bytes
    extensions: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What stands around a damaged header.

    Attributes:
      whole: complete samples before the one that was begun last, the nearest ones.
      begun: the sample that was begun last, whether or not it is complete; None where there is none.
      after: the samples behind the member whose header is damaged; it may be one of the first.
      ended: whether the archive ends with the last of them; else that one may be incomplete.
    """

    whole: Sequence[MemberGroup]
    begun: MemberGroup | None
    after: Sequence[MemberGroup]
    ended: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedHeader:
    """A header whose checksum is wrong.

    Attributes:
      block: its 512 bytes.
    """

    block: bytes

    @property
    def missing(self) -> int | None:
        """What its bytes lack to the sum that it states; None if it states none."""
        stated, rest = stated_number(self.block[_SUM]), self.block[: _SUM.start] + b" " * 8 + self.block[_SUM.stop :]
        return None if stated is None else stated - sum(rest)

    def sizes(self) -> Iterator[tuple[int, bool]]:
        """Sizes that the member may have, each with whether a byte of the header has to be another one for it."""
        field = self.block[_SIZE]
        for other in (field, *_mended(field, self.missing)):
            if (size := stated_number(other)) is not None:
                yield size, other != field

    @property
    def name(self) -> bytes:
        """The member's name as it stands."""
        return self.block[_NAME].rstrip(b"\0")

    def names(self) -> set[bytes]:
        """The name as it stands, with or without what may be a directory, and what may be behind its end."""
        name, prefix = self.name, self.block[_PREFIX].rstrip(b"\0")
        plain = {name, name.partition(b"\0")[0]}
        return plain | {prefix + b"/" + one for one in plain}


def grouped_names(names: Sequence[bytes]) -> list[MemberGroup] | None:
    """Names of consecutive members as groups of one key; None if one of them is hidden.

    >>> grouped_names([b"1.png", b"1.cls", b"2.png"])
    [MemberGroup(key=b'1', extensions=(b'png', b'cls')), MemberGroup(key=b'2', extensions=(b'png',))]
    """
    found = list[MemberGroup]()
    for parts in map(split_name, names):
        if parts is None:
            return None
        key, extension = parts
        if found and found[-1].key == key:
            found[-1] = MemberGroup(key, (*found[-1].extensions, extension))
        else:
            found.append(MemberGroup(key, (extension,)))
    return found


def missing_member(around: Around) -> tuple[bytes | None, bytes] | None:
    """The key and the extension of the one member that is missing between some others; None if they do not tell it.

    The key is None for a sample of one member, of which nothing else is left.

    >>> a, b, d = (MemberGroup(key, (b"png", b"cls")) for key in (b"a", b"b", b"d"))
    >>> missing_member(Around(whole=[a, b], begun=None, after=[MemberGroup(b"c", (b"cls",)), d], ended=True))
    (b'c', b'png')
    """
    whole, begun, after = around.whole, around.begun, around.after
    seen = [*whole[-1:], *after[1:], *([] if begun is None else [begun])]
    if not seen or len(set(pattern := seen[0].extensions)) < len(pattern):
        return None
    place = 0 if begun is None or begun.extensions == pattern else len(begun.extensions)
    if begun is not None and place and begun.extensions != pattern[:place]:
        return None
    key, rest = begun.key if begun is not None and place else None, pattern[place + 1 :]
    if rest:
        if not after or after[0].extensions != rest or key not in (None, after[0].key):
            return None
        key, after = after[0].key, after[1:]
    # One key twice is one sample or two, by the members that are read.
    if begun is not None and begun.key in (*(() if place else (key,)), *(group.key for group in after[:1])):
        return None
    complete = [] if begun is None or place else [begun]
    witnesses = [*whole, *complete, *(after if around.ended else after[:-1])]
    if len(witnesses) < WITNESSES or any(group.extensions != pattern for group in witnesses):
        return None
    return key, pattern[place]


def agrees(header: DamagedHeader, key: bytes | None, extension: bytes, *, exactly: bool) -> bool:
    """Whether a damaged header may be that of a member.

    Args:
      header: the damaged one.
      key: of the member; None for any.
      extension: of the member.
      exactly: its name must be right as it stands; else one byte of it may be wrong, by as much as the sum is.
    """
    for name in header.names():
        for other in (name, *(_mended(name + b"\0", None if exactly else header.missing))):
            parts = split_name(other.rstrip(b"\0"))
            if parts is not None and parts[1] == extension and key in (None, parts[0]):
                return True
    return False


def _mended(field: bytes, missing: int | None) -> Iterator[bytes]:
    """The bytes with one of them another one, so that their sum is larger by what is missing."""
    for at, byte in enumerate(field if missing else b""):
        if 0 <= byte + (missing or 0) < 256:
            yield field[:at] + bytes([byte + (missing or 0)]) + field[at + 1 :]


def places(header: DamagedHeader, begin: int, end: int) -> list[tuple[int, bool]]:
    """Where the next header may be, nearest first, each with whether the size must be mended for it.

    Args:
      header: the damaged one.
      begin: its place.
      end: bytes of the archive.
    """
    found = dict[int, bool]()
    for size, mended in header.sizes():
        place = begin + TAR_BLOCK + size + -size % TAR_BLOCK
        if place <= end - TAR_BLOCK:
            found.setdefault(place, mended)
    return sorted(found.items())
