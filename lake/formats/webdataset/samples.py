"""The samples of a WebDataset shard: consecutive members with the same name up to the extension."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeAlias

from lake.core.errors import ShardError
from lake.core.records import ByteRange, Fault, Reason, Shard, Stage
from lake.formats.common.byte_stream import Window
from lake.formats.common.runs import up_to_damage
from lake.formats.reader import BATCH_BYTES
from lake.formats.webdataset.member_names import shown, split_name
from lake.formats.webdataset.salvage import salvaged_members
from lake.formats.webdataset.tar_read import TAR_BLOCK, TarMember, tar_members

_LONG_NAMES = ~0xFFF  # a name counts towards a sample's size only if it exceeds 4 KiB, the longest path of Linux

# Name, extension (in lower case) and data of a member.
WholeMember: TypeAlias = tuple[bytes, bytes, bytes]


class WholeSample(NamedTuple):
    """A complete sample, to be rewritten.

    Attributes:
      members: all of them in order.
      image: extension of the image; the first member with it is the image.
    """

    members: Sequence[WholeMember]
    image: bytes


class Sample(NamedTuple):
    """One sample.

    Attributes:
      key: its name.
      members: data of the wanted members by extension.
      fault: what is wrong with it, if anything.
      size: bytes that are in memory of it.
      whole: all members, if samples are read whole; else empty.
    """

    key: bytes
    members: Mapping[bytes, bytes]
    fault: Fault | None
    size: int
    whole: Sequence[WholeMember]


class SampleGrouping:
    """The samples of one shard, in order.

    Args:
      shard: a tar archive, plain or gzip.
      wanted: extensions of the members to read.
      limit: a member with more bytes is a fault, and so is a sample of which more would be in memory.
      whole: read every member.
      names: list the members of other extensions too, without their data.
      salvage: samples count even if damage follows them, so nothing that a gzip checksum contradicts is given; and one
        whose header is damaged is a fault, if what stands around it tells that it is no more than one.
      byte_range: the bytes of the samples to read; None for all.
    """

    def __init__(
        self,
        shard: Shard,
        wanted: Collection[bytes],
        limit: int,
        *,
        whole: bool = False,
        names: bool = False,
        salvage: bool = False,
        byte_range: ByteRange | None = None,
    ) -> None:
        self._window = Window(shard, proven=salvage, byte_range=byte_range)
        reads: Callable[[bytes], bool] = lambda name: whole or _extension(name) in wanted  # noqa: E731
        if salvage:
            found = salvaged_members(self._window, shard, limit, reads)
        else:
            found = tar_members(self._window, limit, reads)
        self._samples = _grouped(found, wanted, limit, whole, names)

    def batches(self, size: int, room: int) -> Iterator[list[Sample]]:
        """All samples in batches.

        Args:
          size: the most samples in a batch.
          room: bytes at which a batch ends.

        Raises:
          ShardError: the shard is damaged; all samples before the damage have been yielded. A sample ends where the
            next one begins, so the sample before an unreadable member may be incomplete and is lost too.
          UnreadableError: the store failed.
        """
        return up_to_damage(partial(self.take, size, room))

    def take(self, count: int, room: int = BATCH_BYTES) -> tuple[list[Sample], ShardError | None]:
        """The next samples, and the damage that follows them, if any.

        Args:
          count: the most samples.
          room: bytes at which to stop.
        """
        taken, total = list[Sample](), 0
        try:
            for sample in islice(self._samples, count):
                taken.append(sample)
                total += sample.size
                if total >= room:
                    break
        except ShardError as damage:
            return taken, damage
        return taken, None

    def only(self, count: int) -> tuple[list[Sample], ShardError | None]:
        """The first ``count`` samples, as ``take`` gives them; the shard is closed."""
        with closing(self):
            return self.take(count)

    def close(self) -> None:
        """Close the shard."""
        self._window.close()


def _grouped(
    found: Iterator[TarMember], wanted: Collection[bytes], limit: int, whole: bool, names: bool
) -> Iterator[Sample]:
    """Group members into samples, with the members of the ``wanted`` extensions, and the ``names`` of the others."""
    current: bytes | None = None
    members: dict[bytes, bytes] = {}
    fault: Fault | None = None
    total, every = 0, list[WholeMember]()
    for name, size, data, other in found:
        parts = split_name(name)
        if parts is None:
            continue
        key, extension = parts
        if key != current or extension in members:
            if current is not None:
                yield Sample(current, members, fault, total, every)
            current, members, fault, total, every = key, {}, None, 0, []
        total += len(name) & _LONG_NAMES
        is_wanted = extension in wanted
        if data is None:
            if not name and isinstance(other, Fault):  # a sample by itself, whose name is lost
                yield Sample(key, members, other, total, every)
                current = None
            elif fault is None and (other or is_wanted or whole):
                fault = _bad_member(name, size, other, limit)
        elif is_wanted or (whole and fault is None):
            room, total = total <= limit, total + size
            if is_wanted:
                members[extension] = data if room else b""
            if whole and fault is None:
                every.append((name, extension, data))
            fault = fault or _overfull(current, total, max(len(members), len(every)), limit)
        elif names:
            members[extension] = b""
    if current is not None:
        yield Sample(current, members, fault, total, every)


def _extension(name: bytes) -> bytes:
    """The extension of a member: what follows the first dot of its base name."""
    return name.rpartition(b"/")[2].partition(b".")[2].lower()


def _overfull(key: bytes, total: int, count: int, limit: int) -> Fault | None:
    """The fault of a sample that is too large. Headers count, since there may be millions of small members."""
    if total + (count - 1) * TAR_BLOCK <= limit:
        return None
    detail = f"sample {shown(key)} has over {limit} bytes in its first {count} members, more than are allowed"
    return fault_of(Reason.RECORD_TOO_LARGE, detail)


def _bad_member(name: bytes, size: int, other: str | Fault, limit: int) -> Fault:
    if isinstance(other, Fault):
        return other
    if other:
        return fault_of(Reason.INVALID_RECORD, f"member {shown(name)} is {other}")
    return fault_of(Reason.RECORD_TOO_LARGE, f"member {shown(name)} has {size} bytes, and at most {limit} are allowed")


def fault_of(reason: Reason, detail: str) -> Fault:
    """A fault of stage ``read``."""
    return Fault(stage=Stage.READ, reason=reason, detail=detail)
