"""Which shards are giants that are cut into slices, and where: by an index beside them, or by a pass over them."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from lake.core.errors import ShardError, UnreadableError
from lake.core.records import Shard, Unit
from lake.formats import FORMATS
from lake.formats.common.cuts import Cuts, Giant, giant
from lake.formats.common.shard_errors import as_shard_error, reading
from lake.inputs.discover import Found
from lake.inputs.shard_list import Shards
from lake.inputs.units import strip_suffix, whole_unit
from lake.storage import Stat, store_for

GIANT_BYTES = 1 << 30  # a larger shard is worth a pass over it
PASSES = 32  # most shards that are passed over; more of them keep the workers busy by themselves
_LOG = logging.getLogger(__name__)


def find_cuts(
    found: Found, read_known: Callable[[], Mapping[Giant, Cuts]], stays_whole: Callable[[Unit], bool]
) -> dict[Giant, Cuts]:
    """Cut the giants of an input.

    Where a shard is cut depends on the shard alone. Whether it is depends on what is known: one that is done as a whole
    stays whole, and of more than ``PASSES`` new ones only those with an index are cut.

    Args:
      found: the shards of the input.
      read_known: gives the cuts of earlier runs; not called where there is no giant.
      stays_whole: whether a unit that is a whole shard is done.

    Returns:
      The cuts of each giant that was cut or could not be.

    Raises:
      UnreadableError: the store failed.
    """
    cuts, new = dict[Giant, Cuts](), list[tuple[str, Shard]]()
    some = [*_giants(found)]
    known = read_known() if some else {}
    for format, shard in some:
        name = giant(format, shard)
        if (earlier := known.get(name)) is not None and _stands(shard, earlier):
            cuts[name] = earlier
        elif not stays_whole(whole_unit(shard, format)):
            new.append((format, shard))
    for format, shard in new:
        made = next(_by_indexes(shard, format), None)
        if made is None and len(new) <= PASSES:
            made = _by_pass(shard, format)
        if made is not None:
            cuts[giant(format, shard)] = made
    return cuts


def _giants(found: Found) -> Iterator[tuple[str, Shard]]:
    for format, shards in found.by_format.items():
        if FORMATS[format].reader.indexes:
            sizes = shards.sizes if isinstance(shards, Shards) else np.array([shard.size for shard in shards])
            yield from ((format, shards[at]) for at in np.flatnonzero(sizes > GIANT_BYTES).tolist())


def _stands(shard: Shard, cuts: Cuts) -> bool:
    """Whether the index that a shard was cut by is still the same one."""
    if not cuts.index:
        return True
    stat = _beside(shard, cuts.index)
    return stat is not None and stat.identity == cuts.index_identity


def _beside(shard: Shard, name: str) -> Stat | None:
    uri = f"{shard.uri.rpartition('/')[0]}/{name}" if "/" in shard.uri else name
    with reading(shard):
        return store_for(uri).stat(uri)


def _by_indexes(shard: Shard, format: str) -> Iterator[Cuts]:
    """The cuts of a shard by each index beside it that fits."""
    reader = FORMATS[format].reader
    for name in _names(shard.uri.rpartition("/")[2], reader.suffixes, reader.indexes):
        if (stat := _beside(shard, name)) is None:
            continue
        try:
            with as_shard_error(shard):
                cuts = reader.cuts(shard, stat)
            if cuts.rows:  # else it says nothing of use
                yield replace(cuts, index=name, index_identity=stat.identity)
        except UnreadableError:
            raise
        except ShardError as error:
            _LOG.warning("%s; %s is left aside, make it anew or remove it", error, name)


def _names(name: str, suffixes: Iterable[str], indexes: Iterable[str]) -> dict[str, None]:
    """Names that an index of a shard may have: its own one with a further suffix, or with another one."""
    bare = strip_suffix(name, tuple(suffixes))
    return dict.fromkeys(stem + suffix for stem in (name, bare) for suffix in indexes)


def _by_pass(shard: Shard, format: str) -> Cuts:
    """The cuts of a shard after a pass over it; none for one with damage, whose unit will say so."""
    _LOG.info("%s: looking where its records begin", shard.path)
    try:
        with as_shard_error(shard):
            return FORMATS[format].reader.cuts(shard)
    except UnreadableError:
        raise
    except ShardError:
        return Cuts()
