"""How many records units have, where that is known before they are read: of slices, folders, footers and indexes."""

from collections.abc import Iterable

from lake.core.errors import LatentlakeError
from lake.core.records import Unit
from lake.formats import FORMATS
from lake.inputs.units import record_count

FOOTERS = 1000  # most shards whose footers are read to count their records


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
