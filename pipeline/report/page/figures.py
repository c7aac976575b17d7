"""The numbers of the figures, as the scripts of a page take them."""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from lake.core.records import Array
from pipeline.report.distributions import Histogram, LatentFacts, LatentMap
from pipeline.report.facts import ReportFacts
from pipeline.report.page.shelf import Shelf

_DIMENSIONS = 8_192  # that are drawn
_DRIFTS = 24
_DIGITS = 5
MOST_TEXT = 1_200_000  # bytes of keys and shards of the points of a map


def figures_of(facts: ReportFacts) -> dict[str, Any]:
    """The figures of a report but its map, by name; each has the kind of drawing that it is."""
    found = dict[str, Any]()
    if facts.error is not None:
        found["error"] = _histogram(facts.error)
    if facts.against is not None and facts.against.error is not None:
        found["against_error"] = _histogram(facts.against.error)
    if facts.against is not None and facts.against.differing:
        some = facts.against.differing[:_DRIFTS]
        names, ks = [row.name for row in some], [round(row.ks, _DIGITS) for row in some]
        found["drift"] = {"kind": "drift", "names": names, "ks": ks}
    if facts.noise is not None:
        trained = facts.noise.trained
        found["noise"] = {**_histogram(facts.noise.histogram), "trained": None if trained is None else [*trained]}
    if facts.latents is not None:
        for name, values in (("mean", facts.latents.mean), ("variance", facts.latents.variance)):
            found[name] = _dimensions(values, facts.latents)
    if (timing := facts.run.timing) is not None:
        found["rate"] = {"kind": "rate", "seconds": _numbers(timing.seconds), "rates": _numbers(timing.rates)}
    return found


def map_of(shown: LatentMap, shelf: Shelf) -> dict[str, Any]:
    """A map: its points as columns. Of points whose names would make the page too large, every so many are left out."""
    rows = fitting_rows(shown)
    records = [shown.records[row] for row in rows]
    shards = {shard: number for number, shard in enumerate(dict.fromkeys(record.shard for record in records))}
    points = shown.points[rows]
    thumbnails = {at: shelf.reference(shown.thumbnails.get(row)) for at, row in enumerate(rows)}
    return {
        "x": _numbers(points[:, 0]),
        "y": _numbers(points[:, 1]),
        "keys": [record.key for record in records],
        "shard": [shards[record.shard] for record in records],
        "shards": [*shards],
        "index": [record.index for record in records],
        "colors": [
            {
                "name": color.name,
                "values": _numbers(color.values[rows], whole=color.categories is not None),
                "categories": None if color.categories is None else [*color.categories],
            }
            for color in shown.colors
        ],
        "thumbnails": {str(at): thumbnail for at, thumbnail in thumbnails.items() if thumbnail is not None},
        "explained": None if shown.explained is None else [*shown.explained],
    }


def fitting_rows(shown: LatentMap) -> list[int]:
    """The points of a map whose names have room on the page: all of them, or every second, third, ... one."""
    sizes = [_size(record.key) + _size(record.shard) for record in shown.records]
    step = -(-sum(sizes) // MOST_TEXT) or 1
    rows = range(0, len(sizes), step)
    fits = [total <= MOST_TEXT for total in accumulate(sizes[row] for row in rows)]
    return list(rows[: sum(fits)])


def _size(text: str) -> int:
    # "<" is written as an escape of six characters, and so are control characters.
    return len(text.encode("utf-8", "replace")) + 5 * sum(one == "<" or ord(one) < 32 for one in text) + 3


def _histogram(histogram: Histogram) -> dict[str, Any]:
    return {
        "kind": "histogram",
        "name": histogram.name,
        "edges": _numbers(histogram.edges),
        "counts": histogram.counts.tolist(),
        "reference": None if histogram.reference is None else _numbers(histogram.reference),
    }


def _dimensions(values: Array, latents: LatentFacts) -> dict[str, Any]:
    dead = [at for at in latents.dead if at < _DIMENSIONS]
    return {"kind": "dimensions", "values": _numbers(values[:_DIMENSIONS]), "dead": dead}


def _numbers(values: Array, *, whole: bool = False) -> Sequence[float | int | None]:
    """Numbers of JSON, with few digits; None for NaN and infinity, which JSON does not have."""
    if whole:
        return [int(value) if math.isfinite(value) else None for value in values.tolist()]
    return [float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None for value in values.tolist()]
