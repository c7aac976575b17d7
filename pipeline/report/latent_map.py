"""Latents as a page shows them: a map in two dimensions, and what each dimension says."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from lake.core.errors import UsageError
from lake.core.records import Array
from pipeline.report.distributions import ColorColumn, LatentFacts, LatentMap
from pipeline.report.shown import Picture
from pipeline.report.survey import Survey
from pipeline.report.survey_rows import record_name

POINTS = 10_000  # of a map
_FEWEST = 3  # points of a map
_MOST_AXES = 1024  # dimensions whose covariance is computed as a whole
_FITTED = 2000  # rows that axes of more dimensions are fitted to
_DEAD = 1e-8  # of the largest variance
_SAME, _PAIRS = 0.95, 50  # |r| of correlated dimensions, and most pairs
_CATEGORIES = 20
_PACMAP = (
    "--map pacmap needs the package pacmap, which is not installed; install it (pip install 'latentlake[map]'), or "
    "leave --map out"
)


def latent_facts(
    survey: Survey, method: str, color_by: str | None, thumbnails: Mapping[int, Picture]
) -> LatentFacts | None:
    """What the page shows of the latents; None for an output without any.

    Args:
      survey: of the output.
      method: "pca" or "pacmap".
      color_by: the column that points are coloured by at first; None for the first one.
      thumbnails: pictures by row of the survey.
    """
    latents = survey.latents
    if latents is None or not len(latents.values):
        return None
    few = len(latents.values) < _FEWEST  # of one record nothing varies
    dead = np.flatnonzero(latents.variance <= (-1 if few else _DEAD * max(float(latents.variance.max()), 1e-30)))
    return LatentFacts(
        rows=len(latents.values),
        total=survey.total,
        mean=latents.mean,
        variance=latents.variance,
        dead=dead.tolist(),
        correlated=correlated_pairs(latents.values, dead),
        map=_map(survey, method, color_by, thumbnails) if len(latents.values) >= _FEWEST else None,
    )


def map_rows(survey: Survey) -> Array:
    """The rows of a survey that its map shows, int64 ``[p]``, ascending."""
    rows = survey.latents.rows if survey.latents is not None else np.empty(0, np.int64)
    drawn = np.random.default_rng(1).permutation(len(rows))[:POINTS]
    return np.asarray(rows[np.sort(drawn)], np.int64)


def principal_components(values: Array, count: int) -> tuple[Array, Array, Array]:
    """The principal components of some latents.

    Args:
      values: float32 ``[n, D]``.
      count: how many; as many as there are if there are fewer.

    Returns:
      Mean ``[D]``, axes ``[D, c]`` of length one, and the share of the variance along each ``[c]``. The number of an
      axis that is largest is positive. Of more than 1,024 dimensions they are those of at most 2,000 rows.

    >>> _, axes, shares = principal_components(np.array([[0, 0], [2, 0], [4, 0.0]], np.float32), 2)
    >>> axes[:, 0].tolist(), shares.round(3).tolist()
    ([1.0, 0.0], [1.0, 0.0])
    """
    if values.shape[1] > _MOST_AXES:
        values = values[np.unique(np.linspace(0, len(values) - 1, _FITTED).astype(np.int64))]
    mean = values.mean(0, dtype=np.float64)
    centred = values.astype(np.float64) - mean
    if values.shape[1] <= _MOST_AXES:
        strength, axes = np.linalg.eigh(centred.T @ centred)
    else:
        strength, sides = np.linalg.eigh(centred @ centred.T)
        axes = centred.T @ sides / np.sqrt(np.maximum(strength, 1e-30))
    order = np.argsort(-strength)[:count]
    strength, axes = np.maximum(strength, 0), axes[:, order]
    axes = axes * np.where(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])] < 0, -1, 1)
    return mean, axes, strength[order] / max(float(strength.sum()), 1e-30)


def correlated_pairs(values: Array, dead: Array) -> list[tuple[int, int, float]]:
    """Pairs of dimensions that say the same: |r| of at least 0.95, the strongest first, at most 50.

    Args:
      values: float32 ``[n, D]``.
      dead: dimensions that do not vary, which are left out.
    """
    alive = np.setdiff1d(np.arange(values.shape[1]), dead)
    if not 1 < len(alive) <= _MOST_AXES or len(values) < _FEWEST:
        return []
    matrix = np.atleast_2d(np.corrcoef(values[:, alive].astype(np.float64), rowvar=False))
    first, second = np.nonzero(np.triu(np.abs(np.nan_to_num(matrix)) >= _SAME, 1))
    strength = matrix[first, second]
    order = np.lexsort((second, first, -np.abs(strength)))[:_PAIRS]
    return [(int(alive[first[at]]), int(alive[second[at]]), float(strength[at])) for at in order]


def _map(survey: Survey, method: str, color_by: str | None, thumbnails: Mapping[int, Picture]) -> LatentMap:
    assert survey.latents is not None
    rows = map_rows(survey)
    values = survey.latents.values[np.searchsorted(survey.latents.rows, rows)]
    points, explained = _pacmap_points(values) if method == "pacmap" else _pca_points(values)
    return LatentMap(
        method=method,
        points=points.astype(np.float32),
        records=[record_name(survey, row) for row in rows.tolist()],
        colors=color_columns(survey, rows, color_by),
        thumbnails={at: thumbnails[row] for at, row in enumerate(rows.tolist()) if row in thumbnails},
        explained=explained,
    )


def _pca_points(values: Array) -> tuple[Array, tuple[float, float] | None]:
    mean, axes, shares = principal_components(values, 2)
    points = (values - mean) @ axes
    if points.shape[1] < 2:  # latents of one number
        points, shares = np.pad(points, ((0, 0), (0, 1))), np.pad(shares, (0, 1))
    return points, (float(shares[0]), float(shares[1]))


def _pacmap_points(values: Array) -> tuple[Array, None]:
    try:
        import pacmap
    except ImportError as error:
        raise UsageError(_PACMAP) from error
    return np.asarray(pacmap.PaCMAP(n_components=2, random_state=0).fit_transform(values)), None


def color_columns(survey: Survey, rows: Array, color_by: str | None) -> list[ColorColumn]:
    """Columns that some rows are coloured by: carried ones, the error and other numbers, and the unit.

    Args:
      survey: of the output.
      rows: sampled rows, int64 ``[p]``.
      color_by: the column that comes first; None for any.
    """
    at = pa.array(np.searchsorted(survey.sampled, rows))
    carried = {name: survey.carried.column(name).take(at) for name in survey.carried.column_names}
    found = [color_column(name, column) for name, column in carried.items()]
    own = [name for name in survey.numbers if name not in carried]
    found += [color_column(name, pa.chunked_array([survey.numbers[name][rows]])) for name in own]
    units = survey.units()
    if len(units) > 1:
        names = pa.array([units[table] for table in survey.table[rows].tolist()], pa.string())
        found.append(color_column("unit", pa.chunked_array([names])))
    return sorted(found, key=lambda column: column.name != color_by)[:12]


def color_column(name: str, column: pa.ChunkedArray) -> ColorColumn:
    """A column as colours: few distinct values are categories, many numbers a scale, many texts the most frequent.

    Args:
      name: of the column.
      column: its values.

    >>> color_column("label", pa.chunked_array([["b", None, "a", "b"]]))
    ColorColumn(name='label', values=array([ 0., nan,  1.,  0.]), categories=('b', 'a'))
    """
    kind = column.type
    counts = column.drop_null().value_counts()
    few = len(counts) <= _CATEGORIES and not pa.types.is_floating(kind)
    if not few and not (pa.types.is_string(kind) or pa.types.is_boolean(kind)):
        numbers = column.cast(pa.float64(), safe=False)  # of large ids, too, which are no floats exactly
        return ColorColumn(name=name, values=numbers.to_numpy(zero_copy_only=False))
    pairs = [(str(item["values"]), item["counts"]) for item in counts.to_pylist()]
    names = [value for value, _ in sorted(pairs, key=lambda pair: (-pair[1], pair[0]))]
    shown = names if len(names) <= _CATEGORIES else [*names[: _CATEGORIES - 1], "others"]
    number = {value: min(at, len(shown) - 1) for at, value in enumerate(names)}
    texts = column.to_pylist()
    values = np.array([np.nan if text is None else number[str(text)] for text in texts], np.float64)
    return ColorColumn(name=name, values=values, categories=tuple(shown))
