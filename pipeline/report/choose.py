"""Which records of a survey a report shows, and why."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lake.core.printable import printable
from lake.core.records import Array
from pipeline.report.distributions import GroupFacts
from pipeline.report.shown import Fact
from pipeline.report.survey import Survey
from pipeline.report.survey_rows import errors_of, partitions_of
from pipeline.report.unusual import FENCE, Copies, Unusual

SHOWN = 12  # images of a strip
GROUPS, MEMBERS = 6, 4  # groups of copies that are shown, and images of each
THUMBNAILS = 400
_THUMBNAIL_TABLES = 16  # that thumbnails are taken from: each may have to be read from its start
_VALUE = 60  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class RowStrip:
    """Rows that are shown side by side.

    Attributes:
      name: of the strip.
      text: one sentence that says what they are.
      rows: of the survey.
    """

    name: str
    text: str
    rows: Sequence[int]


def strips_of(survey: Survey, unusual: Unusual | None) -> list[RowStrip]:
    """The best, the median, the worst and some random rows; without errors those most and least like the others.

    Args:
      survey: of the output.
      unusual: how unlike the others each row is.
    """
    if not len(survey):
        return []
    drawn = np.sort(np.random.default_rng(2).permutation(len(survey))[:SHOWN])
    random = RowStrip(name="random", text="Drawn at random.", rows=drawn.tolist())
    errors, what = errors_of(survey)
    if errors is not None:
        order = np.lexsort((np.arange(len(errors)), np.nan_to_num(errors, nan=np.inf)))
        return [*_of_order(order, ("best", f"The smallest {what}."), ("worst", f"The largest {what}.")), random]
    if unusual is not None:
        order = np.lexsort((np.arange(len(unusual.scores)), unusual.scores))
        names = ("typical", "Most like the others."), ("unusual", "Least like the others.")
        return [*_of_order(order, *names), random]
    return [random]


def _of_order(order: Array, low: tuple[str, str], high: tuple[str, str]) -> list[RowStrip]:
    middle = max(0, (len(order) - SHOWN) // 2)
    return [
        RowStrip(name=low[0], text=low[1], rows=order[:SHOWN].tolist()),
        RowStrip(name="median", text="In the middle between these.", rows=order[middle : middle + SHOWN].tolist()),
        RowStrip(name=high[0], text=high[1], rows=order[::-1][:SHOWN].tolist()),
    ]


def rows_to_look_at(
    survey: Survey,
    unusual: Unusual | None,
    copies: Copies | None,
    partitions: GroupFacts | None,
    strips: Sequence[RowStrip],
) -> dict[int, str]:
    """The rows that a person should see first, at most 12, each with the reason: outliers, copies, drift, errors.

    Args:
      survey: of the output.
      unusual: how unlike the others each row is.
      copies: what is there more than once.
      partitions: how its parts differ.
      strips: what else is shown.
    """
    chosen = dict[int, str]()
    for rows, most in (
        (_outliers(unusual), 5),
        (_copies(copies), 3),
        (_drifted(survey, partitions), 3),
        (_worst(strips), SHOWN),
    ):
        for row, why in rows:
            if most and len(chosen) < SHOWN and row not in chosen:
                chosen[row] = why
                most -= 1
    return chosen


def _outliers(unusual: Unusual | None) -> Iterator[tuple[int, str]]:
    if unusual is not None:
        scores = unusual.scores
        for row in unusual.highest(SHOWN).tolist():
            if scores[row] > FENCE:
                yield row, f"outlier: {unusual.why(row)}"


def _copies(copies: Copies | None) -> Iterator[tuple[int, str]]:
    if copies is None:
        return
    for group in copies.groups:
        first, count = int(group[0]), f"{len(group):,}"
        yield first, f"{count} look alike" if first in copies.alike else f"there {count} times"


def _drifted(survey: Survey, partitions: GroupFacts | None) -> Iterator[tuple[int, str]]:
    drifted = [group.name for group in partitions.groups if group.drifted] if partitions is not None else []
    if not drifted or len(drifted) > 3:  # of many none is special
        return
    _, values = partitions_of(survey.units())
    tables = [table for table, name in enumerate(values) if printable(name) == drifted[0]]
    rows = np.flatnonzero(np.isin(survey.table, tables))
    for row in np.random.default_rng(3).permutation(rows)[:SHOWN].tolist():
        yield row, f"of {drifted[0]}, which differs from the others"


def _worst(strips: Sequence[RowStrip]) -> Iterator[tuple[int, str]]:
    order = {"worst": 0, "unusual": 0, "random": 1}
    for strip in sorted(strips, key=lambda strip: order.get(strip.name, 2)):
        if strip.name in order:
            yield from ((row, "" if strip.name == "random" else strip.text.rstrip(".").lower()) for row in strip.rows)


def thumbnail_rows(survey: Survey, shown: Sequence[int], points: Array) -> list[int]:
    """Points of the map that get a picture: of few tables, first those that are read for other images anyway.

    Args:
      survey: of the output.
      shown: rows whose images are shown elsewhere.
      points: rows of the map, int64 ``[p]``.
    """
    tables = dict.fromkeys([*survey.table[np.array(shown, np.int64)].tolist(), *survey.table[points].tolist()])
    near = points[np.isin(survey.table[points], list(tables)[:_THUMBNAIL_TABLES])]
    drawn: list[int] = np.sort(np.random.default_rng(4).permutation(near)[:THUMBNAILS]).tolist()
    return drawn


def values_of(survey: Survey, row: int) -> list[Fact]:
    """Columns of a row, for people: noise level, PSNR and size, and what was carried if the row was sampled.

    Args:
      survey: of the output.
      row: of the survey.
    """
    found = [
        Fact(name=name.replace("_", " "), value=f"{column[row]:.4g}")
        for name, column in survey.numbers.items()
        if name != "mse" and np.isfinite(column[row])
    ]
    at = int(np.searchsorted(survey.sampled, row))
    if at < len(survey.sampled) and survey.sampled[at] == row:
        own = [name for name in survey.carried.column_names if name not in survey.numbers]
        found += [_fact(name, survey.carried.column(name)[at]) for name in own]
    return found


def _fact(name: str, value: pa.Scalar) -> Fact:
    return Fact(name=printable(name, _VALUE), value=printable(str(value.as_py()), _VALUE))
