"""Read on after a damaged header of a tar archive, where what stands around it tells which member it was of."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from lake.core.errors import ShardError, UnreadableError
from lake.core.records import Fault, Reason, Shard, Stage
from lake.formats.common.byte_stream import Window, is_compressed
from lake.formats.common.hops import Hops
from lake.formats.webdataset.lost_header import (
    WITNESSES,
    Around,
    DamagedHeader,
    agrees,
    grouped_names,
    missing_member,
    places,
)
from lake.formats.webdataset.member_names import shown, split_name
from lake.formats.webdataset.tar_read import (
    MALFORMED_PAX,
    TAR_BLOCK,
    TIMES,
    WRONG_CHECKSUM,
    TarMember,
    tar_members,
)

_NEAR = 64  # members before and after the damage that are looked at
_GROUPS = 4  # samples that have begun after the damage: the damaged one, two whole ones, and the one behind them
_MOST = 256  # damaged headers of an archive that are read over, so that a forged one does not take hours
_IN_PLACE = 64 << 10  # bytes of a member that are passed over where they are


@dataclass(frozen=True, slots=True, kw_only=True)
class _Next:
    """Where reading goes on.

    Attributes:
      place: of the next header.
      lost: name of the member that the damage has cost, empty where nothing tells it; None if it is the next one, whose
        pax header is damaged.
      seen_as: a name for it among its neighbours, which no other one has.
      fault: what is wrong with its sample.
    """

    place: int
    lost: bytes | None
    seen_as: bytes
    fault: Fault


def salvaged_members(window: Window, shard: Shard, limit: int, reads: Callable[[bytes], bool]) -> Iterator[TarMember]:
    """All members, as ``tar_members`` gives them; one whose header is damaged has a fault.

    A member that is a sample by itself, whose name nothing tells, has the name ``b""``.

    Args:
      window: over the archive, at its start.
      shard: the archive.
      limit: as of ``tar_members``, and so is ``reads``.
      reads: whether the data of a member is of use.

    Raises:
      ShardError: the archive is damaged, and what is lost is more than one sample, or cannot be told.
      UnreadableError: the store failed.
    """
    names, lasting, fault = deque[bytes](maxlen=_NEAR), dict[bytes, bytes](), None
    for left in range(_MOST, -1, -1):
        try:
            for name, size, data, other in tar_members(window, limit, reads, lasting):
                names.append(name)
                yield (name, size, None, fault) if fault else (name, size, data, other)
                fault = None
            return
        except UnreadableError:
            raise
        except ShardError as damage:
            found = _next(window, shard, names, damage) if left and not (lasting or fault) else None
            if found is None or not window.skip(found.place - window.offset):
                raise
        if found.lost is None:
            fault = found.fault
        else:
            names.append(found.seen_as)
            yield found.lost, 0, None, found.fault


def _next(window: Window, shard: Shard, names: Sequence[bytes], damage: ShardError) -> _Next | None:
    """Where reading goes on after damage; None where nothing tells it."""
    if damage.problem not in (WRONG_CHECKSUM, MALFORMED_PAX) or is_compressed(shard):
        return None
    begin = window.offset
    if damage.problem == MALFORMED_PAX:
        return _after_pax(shard, names, begin, begin, damage.problem)
    window.need(2 * TAR_BLOCK)
    block, data = (window.data[at : at + TAR_BLOCK] for at in (window.pos, window.pos + TAR_BLOCK))
    if (times := TIMES.match(data)) and not data[times.end() :].strip(b"\0"):
        return _after_pax(shard, names, begin, begin + 2 * TAR_BLOCK, "its checksum does not match")
    header = DamagedHeader(block=block)
    tried = (_lost_member(shard, names, header, begin, *place) for place in places(header, begin, shard.size))
    # A place further on may be a later header, where the size is damaged; the nearest one leaves no member out.
    return next((found for found in tried if found is not None), None)


def _lost_member(
    shard: Shard, names: Sequence[bytes], header: DamagedHeader, begin: int, place: int, mended: bool
) -> _Next | None:
    """The member whose header is damaged, if the next one stands at a place; None if it does not."""
    following = _following(shard, place)
    lost = None if following is None else _missing(names, *following)
    if lost is None or not agrees(header, *lost, exactly=mended):
        return None
    key, extension = lost
    ending = b"." + extension if extension else b""
    # Two rejects of unknown keys are two samples, to those that are looked for around further damage.
    seen_as = (b"\0%d" % begin if key is None else key) + ending
    whose = f"of a member, called about {shown(header.name)}," if key is None else f"of member {shown(seen_as)}"
    fault = _fault(f"the checksum of the header {whose} does not match at byte {begin}")
    return _Next(place=place, lost=b"" if key is None else seen_as, seen_as=seen_as, fault=fault)


def _after_pax(shard: Shard, names: Sequence[bytes], begin: int, place: int, problem: str) -> _Next | None:
    """Go on with the member of a damaged pax header, if by its own header it is the one that has to follow."""
    following = _following(shard, place)
    if following is None or not (found := following[0]):
        return None
    lost, parts = _missing(names, found[1:], following[1]), split_name(found[0])
    if lost is None or parts is None or parts != (lost[0] or parts[0], lost[1]):
        return None
    fault = _fault(f"the pax header of member {shown(found[0])} is damaged: {problem} at byte {begin}")
    return _Next(place=place, lost=None, seen_as=b"", fault=fault)


def _missing(names: Sequence[bytes], after: Sequence[bytes], ended: bool) -> tuple[bytes | None, bytes] | None:
    """Key and extension of the one member that is missing between some others; None if they do not tell it."""
    before, behind = grouped_names(names), grouped_names(after)
    if before is None or behind is None:
        return None
    # The first of a full list may have begun before it.
    whole = before[len(names) == _NEAR : -1][-WITNESSES:]
    return missing_member(Around(whole=whole, begun=before[-1] if before else None, after=behind, ended=ended))


def _following(shard: Shard, place: int) -> tuple[list[bytes], bool] | None:
    """Names of the members from a place on, and whether the archive ends with them; None if it is damaged there."""
    names = list[bytes]()
    try:
        with closing(Hops(shard, place)) as window:
            for name, *_ in tar_members(window, _IN_PLACE, _nothing):
                names.append(name)
                if len(names) == _NEAR or len(grouped_names(names) or ()) == _GROUPS:
                    return names, False
    except UnreadableError:
        raise
    except ShardError:
        return None
    return names, True


def _nothing(name: bytes) -> bool:  # noqa: ARG001
    return False


def _fault(detail: str) -> Fault:
    return Fault(stage=Stage.READ, reason=Reason.CORRUPT_RECORD, detail=detail)
