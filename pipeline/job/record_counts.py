"""How many records units have, where that is known before they are read: of slices, folders, footers and indexes."""

from collections.abc import Iterable
from contextlib import suppress

from lake.core.errors import LatentlakeError
from lake.core.records import Unit
from lake.formats import FORMATS
from lake.inputs.units import input_bytes, record_count

FOOTERS = 1000  # most shards whose footers are read to count their records
_HEADS, _REMOTE_HEADS = 512, 32  # most shards whose first bytes are read to tell about how many they have


def count_records(unit: Unit, *, footers: bool = True, stores: bool = False) -> int | None:
    """Number of records of one unit; None if it is not known.

    Args:
      unit: the unit.
      footers: read the shard's footer, header or index.
      stores: also where that takes requests.
    """
    if (count := record_count(unit)) is not None or not footers or not unit.shards:
        return count
    shard, reader = unit.shards[0], FORMATS[unit.format].reader
    try:
        if "://" not in shard.uri:
            return reader.count(shard)
        return sum(rows) if stores and (rows := reader.rows(shard)) is not None else None
    except (LatentlakeError, OSError):  # the unit will say so
        return None


def about_records(units: Iterable[Unit]) -> float | None:
    """About how many records some units have, told from footers or first bytes of some shards; None if none tells it.

    Args:
      units: the units, of which each is read as a whole.
    """
    whole = [*units]
    if any(unit.retry_rejects for unit in whole):
        return None
    remote = any("://" in shard.uri for unit in whole[:1] for shard in unit.shards)
    step = -(-len(whole) // (_REMOTE_HEADS if remote else _HEADS)) or 1
    told = [(found, unit) for unit in whole[::step] if (found := _about(unit))]
    size = sum(input_bytes(unit) for _, unit in told)
    if not size:
        return None
    records = sum(found for found, _ in told)
    return records + records / size * (sum(map(input_bytes, whole)) - size)


def _about(unit: Unit) -> float | None:
    if (count := count_records(unit)) is not None:
        return count
    with suppress(LatentlakeError, OSError):  # the unit will say so
        return FORMATS[unit.format].reader.about(unit.shards[0]) if len(unit.shards) == 1 else None
    return None


def total_records(units: Iterable[Unit]) -> int | None:
    """Number of records of some units; None if that of one is not known, or only a part of each is read.

    Args:
      units: the units.
    """
    total, left = 0, FOOTERS
    for unit in units:
        count = None if unit.retry_rejects else count_records(unit, footers=left > 0)
        left -= unit.stop is None
        if count is None:
            return None
        total += count
    return total
