"""Groups of records that are the same, or nearly: by their bytes, their perceptual hash and their latents."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.core.errors import UsageError
from lake.core.records import Array
from pipeline.explore.answer import TableAnswer
from pipeline.explore.committed import IDENTITY, Committed, check_same_latents, take_rows
from pipeline.explore.hashes import MOST_BITS, equal_pairs, similar_pairs
from pipeline.explore.latent_cache import LatentMatrix, load_latents
from pipeline.explore.nearest import Metric, exact_distances
from pipeline.explore.pairs import pairs_within

SHARE = 0.05  # of the median distance of two records: how near two latents are that count as the same
_SAMPLE = 20_000  # pairs that the median is taken of
_ROWS = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Sameness:
    """When two records are duplicates. Any of these is enough.

    Attributes:
      threshold: largest distance of two latents; None for a twentieth of the median distance of two records.
      metric: of this distance.
      phash_bits: most bits in which two perceptual hashes differ.

    Raises:
      UsageError: ``phash_bits`` is out of range.
    """

    threshold: float | None = None
    metric: Metric = Metric.L2
    phash_bits: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.phash_bits <= MOST_BITS:
            raise UsageError(f"phash_bits: {self.phash_bits} is not from 0 to {MOST_BITS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates(TableAnswer):
    """Records that are the same as others.

    Attributes:
      table: a row for each record that has a duplicate: ``group``, ``key``, ``shard``, ``index``, ``keep`` (true for
        one record of each group), ``by`` (sha256, phash or latent: what shows it; "" for the one that is kept) and
        ``distance`` of its latent to that of the kept one. Against another output, each row is a record of this one,
        with ``against_key``, ``against_shard`` and ``against_index`` of its twin there.
      threshold: largest distance of latents that was used; None where latents were not compared.
      compared: what was compared, of sha256, phash and latent.
    """

    table: pa.Table
    threshold: float | None
    compared: tuple[str, ...]

    @property
    def dropped(self) -> pa.Table:
        """Key, shard and index of the records to drop, so that one of each group is left."""
        rows = self.table
        chosen = rows if "keep" not in rows.column_names else rows.filter(pc.invert(rows.column("keep")))
        return chosen.select([*IDENTITY])


def find_duplicates(committed: Committed, sameness: Sameness, cache: str | None = None) -> Duplicates:
    """Find the groups of records of one output that are the same.

    Two records are in one group if they are duplicates, or both are of a third one.

    Args:
      committed: the output.
      sameness: when records are duplicates.
      cache: local directory for latents; None for one in the output.

    Raises:
      UsageError: the output has neither latents nor hashes, or too many pairs are within the threshold.
    """
    side = _Side.of(committed, cache)
    threshold = _threshold(side, sameness)
    found = list(_pairs(side, None, sameness, threshold))
    if not found:
        raise _nothing(committed)
    group = grouped(side.count, [pair for _, pair in found])
    members = np.flatnonzero(np.bincount(group, minlength=side.count)[group] > 1)
    members = members[np.lexsort((members, group[members]))]
    kept = members == group[members]
    by = _reasons(side.count, found)[members]
    number = np.cumsum(kept)
    table = take_rows(side.rows, members)
    table = table.add_column(0, "group", pa.array(number))
    table = table.append_column("keep", pa.array(kept))
    table = table.append_column("by", pa.array(np.where(kept, "", by).tolist()).cast(pa.string()))
    table = table.append_column("distance", _distances(side, members, side, group[members], sameness.metric))
    return Duplicates(table=table, threshold=threshold, compared=tuple(name for name, _ in found))


def find_copies(committed: Committed, against: Committed, sameness: Sameness, cache: str | None = None) -> Duplicates:
    """Find the records of one output that another one has, too.

    Args:
      committed: the output.
      against: the other one.
      sameness: when records are duplicates.
      cache: local directory for latents; None for one in each output.

    Raises:
      UsageError: the outputs share neither latents nor hashes, or too many pairs are within the threshold.
    """
    check_same_latents(committed, against)
    side, other = _Side.of(committed, cache), _Side.of(against, cache)
    threshold = _threshold(side, sameness) if other.latents is not None else None
    found = list(_pairs(side, other, sameness, threshold))
    if not found:
        raise _nothing(committed)
    twin = np.full(side.count, -1, np.int64)
    for _, (one, theirs) in reversed(found):  # the surest last
        twin[one[::-1]] = theirs[::-1]
    members = np.flatnonzero(twin >= 0)
    table = take_rows(side.rows, members)
    theirs = take_rows(other.rows, twin[members])
    for name in IDENTITY:
        table = table.append_column(f"against_{name}", theirs.column(name))
    by = _reasons(side.count, [(name, (one, one)) for name, (one, _) in found])[members]
    table = table.append_column("by", pa.array(by.tolist(), pa.string()))
    table = table.append_column("distance", _distances(side, members, other, twin[members], sameness.metric))
    return Duplicates(table=table, threshold=threshold, compared=tuple(name for name, _ in found))


def grouped(count: int, pairs: Sequence[tuple[Array, Array]]) -> Array:
    """The first record of each record's group: the connected parts of a graph.

    Args:
      count: number of records.
      pairs: records that are in one group.

    Returns:
      Positions int64 ``[count]``.

    >>> grouped(5, [(np.array([0, 3]), np.array([3, 4]))]).tolist()
    [0, 1, 2, 0, 0]
    """
    one = np.concatenate([first for first, _ in pairs])
    other = np.concatenate([second for _, second in pairs])
    group = np.arange(count)
    while True:
        smallest = np.minimum(group[one], group[other])
        if (group[one] == group[other]).all():
            return group
        np.minimum.at(group, group[one], smallest)
        np.minimum.at(group, group[other], smallest)
        while (group[group] != group).any():
            group = group[group]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """What of an output is compared."""

    rows: pa.Table  # identity, and the hashes there are
    latents: LatentMatrix | None

    @property
    def count(self) -> int:
        return len(self.rows)

    @classmethod
    def of(cls, committed: Committed, cache: str | None) -> "_Side":
        names = committed.schema().names
        hashes = [name for name in ("sha256", "phash") if name in names]
        rows = committed.column_table([*IDENTITY, *hashes])
        return cls(rows=rows, latents=load_latents(committed, cache) if committed.latent in names else None)


def _threshold(side: _Side, sameness: Sameness) -> float | None:
    if side.latents is None or sameness.threshold is not None:
        return None if side.latents is None else sameness.threshold
    count = len(side.latents)
    if count < 2:
        return 0.0
    chosen = np.random.default_rng(0).integers(0, count, (2, _SAMPLE))
    one, other = chosen[:, chosen[0] != chosen[1]]
    return SHARE * float(np.median(_apart(side.latents, one, side.latents, other, sameness.metric)))


def _pairs(
    side: _Side, other: _Side | None, sameness: Sameness, threshold: float | None
) -> Iterator[tuple[str, tuple[Array, Array]]]:
    """Yield pairs of positions by what shows that they are the same, the surest first."""
    shared = set(side.rows.column_names) & set((side if other is None else other).rows.column_names)
    if "sha256" in shared:
        yield "sha256", equal_pairs(side.rows.column("sha256"), None if other is None else other.rows.column("sha256"))
    if "phash" in shared:
        own, positions = _known(side)
        against, theirs = (None, positions) if other is None else _known(other)
        one, two = similar_pairs(own, sameness.phash_bits, against)
        yield "phash", (positions[one], theirs[two])
    if threshold is not None and side.latents is not None:
        theirs_latents = None if other is None else other.latents
        against_latents = None if theirs_latents is None else (theirs_latents.values, theirs_latents.norms)
        values, norms = side.latents.values, side.latents.norms
        if against_latents is not None and against_latents[0].shape[1] != values.shape[1]:
            raise UsageError(
                f"latents of {values.shape[1]} and of {against_latents[0].shape[1]} values cannot be compared; "
                "name outputs of one model"
            )
        yield "latent", pairs_within(values, norms, threshold, sameness.metric, against_latents)


def _known(side: _Side) -> tuple[Array, Array]:
    """The perceptual hashes there are, and their positions."""
    column = side.rows.column("phash").combine_chunks()
    positions = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    return column.drop_null().to_numpy(), positions


def _reasons(count: int, found: Sequence[tuple[str, tuple[Array, Array]]]) -> Array:
    """What shows that each record is a duplicate, the surest of all."""
    by = np.full(count, "", object)
    for name, (one, other) in reversed(found):
        by[one] = by[other] = name
    return by


def _distances(side: _Side, positions: Array, other: _Side, theirs: Array, metric: Metric) -> pa.Array:
    if side.latents is None or other.latents is None or side.latents.values.shape[1] != other.latents.values.shape[1]:
        return pa.nulls(len(positions), pa.float64())
    return pa.array(_apart(side.latents, positions, other.latents, theirs, metric))


def _apart(one: LatentMatrix, positions: Array, other: LatentMatrix, theirs: Array, metric: Metric) -> Array:
    parts = [np.empty(0)]
    for start in range(0, len(positions), _ROWS):
        part = slice(start, start + _ROWS)
        parts.append(exact_distances(one.values[positions[part]], other.values[theirs[part]], metric))
    return np.concatenate(parts)


def _nothing(committed: Committed) -> UsageError:
    return UsageError(
        f"{committed.layout.output} has neither latents nor hashes to compare; run its job with --hash, or encode"
    )
