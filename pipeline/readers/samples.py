"""The samples of a WebDataset shard: members that follow one another under one name."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import NamedTuple, TypeAlias

from pipeline.errors import ShardError
from pipeline.readers.base import BATCH_BYTES
from pipeline.readers.stream import Window
from pipeline.readers.tar import BLOCK, Member, members
from pipeline.records import Fault, Reason, Shard, Stage

_LONG_NAMES = ~0xFFF  # names count for what is held only where they are longer than any file system's paths
_SHOWN = 500  # bytes of a name that an error shows

# Name, extension in lower case, and data of a member.
WholeMember: TypeAlias = tuple[bytes, bytes, bytes]


class WholeSample(NamedTuple):
    """Every member of a sample, in order; the first with the extension ``image`` is the image."""

    members: Sequence[WholeMember]
    image: bytes


class Sample(NamedTuple):
    """The wanted members of one sample, by extension, and what is wrong with it; all members where it is kept whole."""

    key: bytes
    members: Mapping[bytes, bytes]
    fault: Fault | None
    size: int  # bytes of what is kept
    whole: Sequence[WholeMember]


class Samples:
    """The samples of one shard, in order.

    Args:
      shard: a tar archive, plain or gzip.
      wanted: extensions of the members that are kept; None for all.
      limit: bytes that a member may have.
      whole: keep every member.
      salvage: what is given stays, even if damage follows: so nothing that the checksum of gzip contradicts is given.
    """

    def __init__(
        self,
        shard: Shard,
        wanted: Collection[bytes] | None,
        limit: int,
        *,
        whole: bool = False,
        salvage: bool = False,
    ) -> None:
        self._window = Window(shard, proven=salvage)
        self._samples = _grouped(members(self._window, limit), wanted, limit, whole)

    def batches(self, size: int, room: int) -> Iterator[list[Sample]]:
        """All samples, ``size`` at once or fewer that reach ``room`` bytes.

        Raises:
          ShardError: the shard is damaged, after all samples before the damage were given. A sample ends where the
            next one begins: the one before a member that cannot be read is not known to be complete, and lost too.
          UnreadableError: the store failed.
        """
        damage = None
        while damage is None:
            samples, damage = self.take(size, room)
            if samples:
                yield samples
            elif damage is None:
                return
        raise damage

    def take(self, count: int, room: int = BATCH_BYTES) -> tuple[list[Sample], ShardError | None]:
        """The next samples; fewer that reach ``room`` bytes, or at the end, or before damage, which is given too."""
        taken, held = list[Sample](), 0
        try:
            for sample in islice(self._samples, count):
                taken.append(sample)
                held += sample.size
                if held >= room:
                    break
        except ShardError as damage:
            return taken, damage
        return taken, None

    def only(self, count: int) -> tuple[list[Sample], ShardError | None]:
        """The first samples, and no more."""
        with closing(self):
            return self.take(count)

    def close(self) -> None:
        """Let go of the shard."""
        self._window.close()


def _grouped(found: Iterator[Member], wanted: Collection[bytes] | None, limit: int, whole: bool) -> Iterator[Sample]:
    """Samples with the members of the extensions ``wanted`` (None: all)."""
    current: bytes | None = None
    kept: dict[bytes, bytes] = {}
    fault: Fault | None = None
    held, every = 0, list[WholeMember]()
    for name, size, data, other in found:
        base = name.rfind(b"/") + 1
        dot = name.find(b".", base)
        if dot == base:
            continue
        key, extension = (name, b"") if dot < 0 else (name[:dot], name[dot + 1 :].lower())
        if key != current or extension in kept:
            if current is not None:
                yield Sample(current, kept, fault, held, every)
            current, kept, fault, held, every = key, {}, None, 0, []
        held += len(name) & _LONG_NAMES
        is_wanted = wanted is None or extension in wanted
        if data is None:
            if fault is None and (other or is_wanted or whole):
                fault = _bad_member(name, size, other, limit)
        elif is_wanted or (whole and fault is None):
            held += size
            if is_wanted:
                kept[extension] = data
            if whole:
                every.append((name, extension, data))
                fault = fault or _overfull(current, held, len(every), limit)
    if current is not None:
        yield Sample(current, kept, fault, held, every)


def _overfull(key: bytes, held: int, count: int, limit: int) -> Fault | None:
    """What is wrong with a whole sample of too many bytes, which headers count to: there may be millions of them."""
    if held + (count - 1) * BLOCK <= limit:
        return None
    detail = f"sample {shown(key)} has over {limit} bytes in its first {count} members, more than are allowed"
    return fault_of(Reason.RECORD_TOO_LARGE, detail)


def _bad_member(name: bytes, size: int, other: str, limit: int) -> Fault:
    if other:
        return fault_of(Reason.INVALID_RECORD, f"member {shown(name)} is {other}")
    return fault_of(Reason.RECORD_TOO_LARGE, f"member {shown(name)} has {size} bytes, and at most {limit} are allowed")


def fault_of(reason: Reason, detail: str) -> Fault:
    """What reading finds wrong with a sample."""
    return Fault(stage=Stage.READ, reason=reason, detail=detail)


def shown(name: bytes) -> str:
    """A name for people, quoted; of a very long one the beginning."""
    return repr(name[:_SHOWN].decode(errors="backslashreplace")) + "..." * (len(name) > _SHOWN)
