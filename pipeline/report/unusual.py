"""The rows of a survey that are there more than once, and those that are like no other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lake.core.errors import UsageError
from lake.core.records import Array
from pipeline.explore.duplicates import SHARE, grouped
from pipeline.explore.hashes import similar_pairs
from pipeline.explore.nearest import Metric
from pipeline.explore.outliers import neighbour_distances
from pipeline.explore.pairs import pairs_within
from pipeline.options.explore import EXPLORE_DEFAULTS
from pipeline.report.far_latents import Neighbours, measure_far
from pipeline.report.fences import fence_scores, scores_beside, widest_gaps
from pipeline.report.survey import Survey
from pipeline.report.survey_latents import LatentSurvey
from pipeline.report.survey_rows import errors_of

FENCE = 3.0  # interquartile ranges above the third quartile: Tukey's outer fence
_GROUP = 100  # neighbours: outliers that are alike in a group up to this size are far from the next one
_GROUP_FENCE = 5.0  # of the distance to that one, which has more high values where nothing is wrong
_GROUP_ROWS = 500  # rows of which a group is still a small part
_GROUP_SHARE = 0.02  # of the rows
_GAP = 1.4  # ratio of the distances to two neighbours that follow each other: a group that is set apart
_GAP_FENCE = 1.5  # of the distance to those beyond it: Tukey's inner fence
_GAP_FROM = 5  # neighbour: before it, copies make gaps
_DISTANCE = "distance of its latent to others"
_GROUP_DISTANCE = "distance of its latent to those beyond a group"
_GAP_DISTANCE = "distance of its latent to those beyond a gap"
_FENCES = {_GROUP_DISTANCE: _GROUP_FENCE, _GAP_DISTANCE: _GAP_FENCE}
_FEWEST = 20  # rows of which some can be outliers
_COMPARED_ROWS = 10_000  # rows of which all distances are computed
_NEAR_ROWS = 20_000  # rows of which all pairs are compared
_HASHED_ROWS = 200_000
_PHASH_BITS = 2
_PAIRS = 20_000  # pairs that the median distance is taken of
_PERCEPTUAL = "perceptual hash"
_NONE = np.empty(0, np.int64), np.empty(0, np.int64)  # pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Rows that are the same.

    Attributes:
      groups: rows of each group, the first row of each is the one to keep; those of ``alike`` last, else the largest
        first.
      by: what shows it, for people.
      count: number of rows to drop, so that one is left of those that equal bytes or latents hold together.
      alike: the first rows of groups that perceptual hashes hold together. Of small images different ones may have
        equal hashes, so these are not said to be the same.
    """

    groups: Sequence[Array]
    by: str
    count: int = 0
    alike: frozenset[int] = frozenset()

    @property
    def look_alike(self) -> int:
        """Number of further rows to drop, so that one of each group is left."""
        return sum(len(group) - 1 for group in self.groups) - self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusual:
    """How unlike the others each row is.

    Attributes:
      measured: what was measured, for people: in interquartile ranges above the third quartile of all, float64
        ``[n]``. An outlier is above the fence of one of them.
    """

    measured: Mapping[str, Array]

    @property
    def scores(self) -> Array:
        """The largest of each row, float64 ``[n]``, each measure in a unit in which its fence is ``FENCE``."""
        return np.asarray(np.maximum.reduce([FENCE / _fence(name) * one for name, one in self.measured.items()]))

    @property
    def by(self) -> str:
        """What was measured, for people."""
        return " or ".join(name for name in self.measured if name not in _FENCES)

    def why(self, row: int) -> str:
        """What is most unusual of a row, for people."""
        name = max(self.measured, key=lambda name: self.measured[name][row] / _fence(name))
        return f"{name} {self.measured[name][row]:.1f} quartile distances above the third quartile"

    @property
    def count(self) -> int:
        """Number of outliers."""
        return int((self.scores > FENCE).sum())

    def highest(self, count: int) -> Array:
        """The rows with the highest scores, the highest first."""
        scores = self.scores
        return np.lexsort((np.arange(len(scores)), -scores))[:count]


def find_repeated(survey: Survey) -> Copies | None:
    """Find the rows that are there more than once; None where nothing could show it.

    Equal bytes (``sha256``) and equal latents are found among all rows. Nearly equal ones, by perceptual hash and by
    latent, are found where there are few enough rows.

    Args:
      survey: of the output.
    """
    found = dict[str, tuple[Array, Array]]()
    if "sha256" in survey.hashes:
        found["equal bytes"] = pairs_of_equals(_leading_bits(survey.hashes["sha256"]))
    if "phash" in survey.hashes and len(survey) <= _HASHED_ROWS:
        found[_PERCEPTUAL] = _alike(survey.hashes["phash"])
    latents = survey.latents
    if latents is not None and latents.hashes is not None:
        found["equal latents"] = pairs_of_equals(latents.hashes)
        if len(latents.rows) == len(survey) and 1 < len(survey) <= _NEAR_ROWS:
            found["nearly equal latents"] = _near(latents.values)
    if not found:
        return None
    if not any(len(one) for one, _ in found.values()):
        return Copies(groups=(), by=", ".join(found))
    group = grouped(len(survey), list(found.values()))
    order = np.argsort(group, kind="stable")
    edges = np.flatnonzero(np.diff(group[order])) + 1
    groups = [rows for rows in np.split(order, edges) if len(rows) > 1]
    sure = grouped(len(survey), [_NONE, *(pairs for name, pairs in found.items() if name != _PERCEPTUAL)])
    alike = frozenset(int(rows[0]) for rows in groups if (sure[rows] != sure[rows[0]]).any())
    return Copies(
        groups=sorted(groups, key=lambda rows: (int(rows[0]) in alike, -len(rows), rows[0])),
        by=", ".join(name for name, (one, _) in found.items() if len(one)),
        count=len(survey) - len(np.unique(sure)),
        alike=alike,
    )


def pairs_of_equals(values: Array) -> tuple[Array, Array]:
    """Pairs of rows with equal numbers: the first of them, and each other one.

    Args:
      values: integers ``[n]``.

    >>> [part.tolist() for part in pairs_of_equals(np.array([7, 8, 7, 7]))]
    [[0, 0], [2, 3]]
    """
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    head = first[inverse]
    again = np.flatnonzero(head != np.arange(len(values)))
    return head[again], again


def find_unusual(survey: Survey) -> Unusual | None:
    """Measure how unlike the others each row is, by its error and by how far its latent is from others.

    Args:
      survey: of the output.

    Returns:
      The scores, the larger one of the two; None where there are no numbers for it.
    """
    if len(survey) < _FEWEST:
        return None
    measured = dict[str, Array]()
    errors, name = errors_of(survey)
    if errors is not None:
        measured[name] = fence_scores(np.log(np.maximum(np.nan_to_num(errors, posinf=1e30), 1e-12)))
    if survey.latents is not None and survey.latents.distances is not None:
        measured |= scores_of_distances(survey.latents, len(survey))
    if not measured:
        return None
    return Unusual(measured=measured)


def _leading_bits(column: pa.ChunkedArray) -> Array:
    """The first 64 bits of hashes; none of these is null."""
    width = column.type.byte_width
    parts = [np.frombuffer(chunk.buffers()[1], np.uint8) for chunk in column.chunks]
    sizes = [(chunk.offset * width, (chunk.offset + len(chunk)) * width) for chunk in column.chunks]
    flat = np.concatenate(
        [np.empty(0, np.uint8), *(part[low:high] for part, (low, high) in zip(parts, sizes, strict=True))]
    )
    return np.ascontiguousarray(flat.reshape(-1, width)[:, :8]).view(np.uint64)[:, 0]


def _alike(column: pa.ChunkedArray) -> tuple[Array, Array]:
    known = np.flatnonzero(column.is_valid().to_numpy())
    one, other = similar_pairs(column.drop_null().to_numpy(), _PHASH_BITS)
    return known[one], known[other]


def _fence(name: str) -> float:
    return _FENCES.get(name, FENCE)


def scores_of_distances(latents: LatentSurvey, rows: int) -> dict[str, Array]:
    """How far each latent is from its 30th and 100th neighbour, of many rows where it is far from some others.

    Args:
      latents: of the output, with ``distances``.
      rows: of the output.

    Returns:
      For people what was measured, in interquartile ranges above the third quartile of all, float64 ``[n]``.
    """
    assert latents.distances is not None
    if len(latents.rows) < rows or rows > _COMPARED_ROWS:
        return _of_far(latents, rows)
    norms = np.einsum("nd,nd->n", latents.values, latents.values)
    parts = np.array_split(np.arange(rows), -(-rows // 512))
    k = min(EXPLORE_DEFAULTS.outlier_k, rows - 1)
    ks = (k, *range(_GAP_FROM, _GROUP + 1)) if rows >= _GROUP_ROWS else (k,)
    near = np.concatenate([neighbour_distances(latents.values, norms, part, *ks) for part in parts])
    found = {_DISTANCE: fence_scores(near[:, 0])}
    return found | _of_groups(near[:, 1:]) if rows >= _GROUP_ROWS else found


def _of_far(latents: LatentSurvey, rows: int) -> dict[str, Array]:
    """As ``scores_of_distances``, of those rows that are far from some others; of the rest how far from these."""
    assert latents.distances is not None
    scores = fence_scores(latents.distances.astype(np.float64))
    found = measure_far(latents, rows, Neighbours(near=EXPLORE_DEFAULTS.outlier_k, far=_GROUP, first=_GAP_FROM))
    if found is None:
        return {_DISTANCE: scores}
    far, usual = found
    scores = np.minimum(scores, FENCE)  # what is far from these need not be from others, such as those of its class
    scores[latents.far_rows] = scores_beside(far.near, usual.near)
    measured = {_DISTANCE: scores}
    grouped, others = (_group_scores(scores_beside(side.far, usual.far), side.gaps) for side in found)
    if _in_groups(grouped).sum() + rows * _in_groups(others).mean() <= max(_GROUP, _GROUP_SHARE * rows):
        for name, own in grouped.items():
            measured[name] = np.zeros(rows)
            measured[name][latents.far_rows] = own
    return measured


def _group_scores(far: Array, gaps: Array) -> dict[str, Array]:
    return {_GROUP_DISTANCE: far, _GAP_DISTANCE: np.where(gaps > _GAP, far, np.minimum(far, 0))}


def _in_groups(scores: Mapping[str, Array]) -> Array:
    return np.asarray(np.logical_or.reduce([one > _FENCES[name] for name, one in scores.items()]))


def _of_groups(near: Array) -> dict[str, Array]:
    """How far each latent is from those that are not of its group, if groups are set apart; of the 5th to 100th one."""
    found = _group_scores(fence_scores(near[:, -1]), widest_gaps(near))
    # More than a group are a part of the data, such as classes that have fewer than a hundred images.
    return {} if _in_groups(found).sum() > max(_GROUP, _GROUP_SHARE * len(near)) else found


def _near(values: Array) -> tuple[Array, Array]:
    one, other = np.random.default_rng(0).integers(0, len(values), (2, _PAIRS))
    apart = one != other
    median = float(np.median(np.linalg.norm(values[one[apart]] - values[other[apart]], axis=1)))
    norms = np.einsum("nd,nd->n", values, values)
    try:
        return pairs_within(values, norms, SHARE * median, Metric.L2)
    except UsageError:  # far too many are near each other for any of them to be a copy
        return _NONE
