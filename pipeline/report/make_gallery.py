"""The answers to questions about an output with the images that they name: what a gallery shows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from lake.core.choices import quoted
from lake.core.errors import UsageError
from lake.core.records import Array
from lake.storage import put
from pipeline.explore.committed import IDENTITY, Committed, take_rows
from pipeline.explore.drift import Drift
from pipeline.explore.duplicates import Duplicates
from pipeline.explore.latent_cache import load_latents
from pipeline.explore.nearest import Metric, find_nearest
from pipeline.explore.outliers import Outliers, Score
from pipeline.explore.similar import Similar
from pipeline.report.distributions import AgainstFacts, DimensionDrift
from pipeline.report.gallery_images import GalleryImages, given_image
from pipeline.report.page.gallery import GalleryFacts, GalleryGroup, render_gallery
from pipeline.report.shown import ImageFacts

_IMAGES = 240  # most of a gallery
_KEYS = 10_000  # most keys of its list
_SIDE = 18  # images of a side of a comparison
_SAMPLE = 2_000  # records of a side, of which those that the other one has nothing like are shown
_MEMBERS = 6  # images of a group of duplicates
_NUMBERS = 12  # that differ most

_Row = Mapping[str, Any]
ExploreResult: TypeAlias = Similar | Outliers | Duplicates | Drift | pa.Table


def write_gallery(
    committed: Committed,
    found: ExploreResult,
    file: str,
    *,
    other: Committed | None = None,
    image: bytes | None = None,
    cache: str | None = None,
) -> None:
    """Write an answer about an output as a page of HTML.

    Args:
      committed: the output.
      found: the answer; of ``similar`` also its table, or rows of it.
      file: local path, or URI in a store.
      other: the other output, where the answer is about two.
      image: the file of the image that was the query, where it was one.
      cache: local directory for latents; None for one in each output.

    Raises:
      UsageError: jinja2 is not installed, this is no answer, or one about two outputs is given without the other one.
      OSError: the page cannot be written.
    """
    if not isinstance(found, ExploreResult):
        raise UsageError(f"{quoted(found)} is no answer; give what similar, outliers, duplicates or compare returned")
    if isinstance(found, Drift):
        if other is None:
            raise UsageError("the gallery of a comparison shows both outputs; give the other one as other=")
        facts = drift_gallery(committed, found, other, cache)
    elif isinstance(found, Duplicates):
        if other is None and "group" not in found.table.column_names:
            raise UsageError("these are duplicates of another output; give it as other=")
        facts = duplicate_gallery(committed, found, other)
    elif isinstance(found, Outliers):
        facts = outlier_gallery(committed, found)
    else:
        facts = similar_gallery(committed, found.table if isinstance(found, Similar) else found, image)
    put(file, render_gallery(facts).encode())


def similar_gallery(committed: Committed, table: pa.Table, image: bytes | None = None) -> GalleryFacts:
    """The neighbours of each query beside it.

    Args:
      committed: the output.
      table: of what ``Output.similar`` returned.
      image: the file of the image that was the query; None where queries are records or latents.
    """
    rows = table.slice(0, _IMAGES).to_pylist()
    queries = list(dict.fromkeys(table.column("query").to_pylist()))
    found = GalleryImages(committed)
    asked = {} if image is not None else found.by_key([row["query"] for row in rows])
    neighbours = found.shown(rows, [f"distance {row['distance']:.4g}" for row in rows])
    groups = list[GalleryGroup]()
    for query, members in groupby(zip(rows, neighbours, strict=True), key=lambda pair: pair[0]["query"]):
        pairs = list(members)
        first = given_image(query, image) if image is not None else asked.get(query)
        images = [*([] if first is None else [first]), *(shown for _, shown in pairs)]
        tags = [*([] if first is None else ["query"]), *(str(row["rank"]) for row, _ in pairs)]
        groups.append(GalleryGroup(title=f"like {query}", images=images, tags=tags))
    many = f"{len(queries):,} queries" if len(queries) > 1 else (queries or ["nothing"])[0]
    return GalleryFacts(
        output=committed.layout.output,
        command="similar",
        sentence=f"What is most like {many}, of {committed.rows:,} records",
        groups=groups,
        notes=_cut(len(table), len(rows)),
        **_listed("Keys of the neighbours", dict.fromkeys(table.column("key").slice(0, _KEYS).to_pylist())),
    )


def outlier_gallery(committed: Committed, found: Outliers) -> GalleryFacts:
    """The outliers, the highest score first.

    Args:
      committed: the output.
      found: what ``Output.outliers`` returned.
    """
    rows = found.table.slice(0, _IMAGES).to_pylist()
    what = "error" if found.by == Score.ERROR else "distance"
    images = GalleryImages(committed).shown(rows, [f"{what} {row['score']:.4g}" for row in rows])
    inexact = () if found.exact else ("Found among 10,000 candidates; another record may be as far away.",)
    by = "the highest error" if found.by == Score.ERROR else "the farthest neighbours"
    return GalleryFacts(
        output=committed.layout.output,
        command="outliers",
        sentence=f"The {len(found.table):,} of {committed.rows:,} records with {by}",
        groups=[GalleryGroup(title="The highest first", images=images)],
        notes=[*inexact, *_cut(len(found.table), len(rows))],
        **_listed("Keys of the outliers", found.table.column("key").slice(0, _KEYS).to_pylist()),
    )


def duplicate_gallery(committed: Committed, found: Duplicates, other: Committed | None = None) -> GalleryFacts:
    """Groups of duplicates; against another output, pairs of a record here and its twin there.

    Args:
      committed: the output.
      found: what ``Output.duplicates`` returned.
      other: the other output; None where the records of one were compared.
    """
    rows = _first_members(found.table) if other is None else found.table.slice(0, _IMAGES // 2).to_pylist()
    images = GalleryImages(committed).shown(rows, list(map(_sameness, rows)))
    if other is None:
        groups = list(_groups(rows, images, found.table.column("group")))
        sentence = f"{len(found.dropped):,} of {committed.rows:,} records are there more than once"
    else:
        twins = [{name: row[f"against_{name}"] for name in IDENTITY} for row in rows]
        there = GalleryImages(other).shown(twins, [""] * len(twins))
        groups = [
            GalleryGroup(title=row["key"], images=pair, tags=("here", "there"))
            for row, *pair in zip(rows, images, there, strict=True)
        ]
        sentence = f"{len(found.dropped):,} of {committed.rows:,} records are in {other.layout.output}, too"
    how = ", ".join(f"latent within {found.threshold:.4g}" if by == "latent" else by for by in found.compared)
    return GalleryFacts(
        output=committed.layout.output,
        command="duplicates",
        sentence=sentence,
        groups=groups,
        cards=True,
        notes=[f"Compared by {how}. Nothing is deleted.", *_cut(len(found.table), len(rows))],
        **_listed("Keys of the records to drop", found.dropped.column("key").slice(0, _KEYS).to_pylist()),
    )


def drift_gallery(committed: Committed, found: Drift, other: Committed, cache: str | None = None) -> GalleryFacts:
    """The verdict, the numbers that differ, and images of both sides.

    Args:
      committed: the output that was the reference.
      found: what ``Output.compare`` returned.
      other: the output that was compared with it.
      cache: local directory for latents; None for one in each output.
    """
    a, b = committed.layout.output, other.layout.output
    against = AgainstFacts(
        name=a,
        drifted=found.drifted,
        auc=found.auc,
        standard_error=found.error,
        threshold=found.least,
        few=found.few,
        rows=found.rows,
        dimensions=[
            DimensionDrift(
                name=row["name"],
                ks=row["ks"],
                wasserstein=row["wasserstein"],
                mean=row["mean_b"],
                reference=row["mean_a"],
            )
            for row in found.table.slice(0, _NUMBERS).to_pylist()
        ],
    )
    return GalleryFacts(
        output=b,
        command="compare",
        sentence=f"{against.verdict} against {a}",
        groups=list(_sides(committed, other, cache)),
        against=against,
    )


def _sides(a: Committed, b: Committed, cache: str | None) -> Iterator[GalleryGroup]:
    """Of each side: what the other one has nothing like, and some at random."""
    one, two = load_latents(a, cache), load_latents(b, cache)
    generator = np.random.default_rng(0)
    chosen = [np.sort(generator.permutation(len(side))[:_SAMPLE]) for side in (one, two)]
    sides = ((b, two, chosen[1], one, chosen[0]), (a, one, chosen[0], two, chosen[1]))
    for side, latents, own, others, theirs in sides:
        values = np.ascontiguousarray(others.values[theirs])
        _, distances = find_nearest(values, others.norms[theirs], latents.values[own], 1, Metric.L2)
        far = own[np.argsort(-distances[:, 0], kind="stable")[:_SIDE]]
        found, name = GalleryImages(side), side.layout.output
        for title, some in ((f"{name}: farthest from all of the other", far), (f"{name}: at random", _few(own))):
            rows = take_rows(latents.rows, some).to_pylist()
            yield GalleryGroup(title=title, images=found.shown(rows, [""] * len(rows)))


def _few(rows: Array) -> Array:
    return np.random.default_rng(1).permutation(rows)[:_SIDE]


def _first_members(table: pa.Table) -> list[_Row]:
    """The first records of each group, as many groups as a gallery shows."""
    groups = table.column("group").to_numpy()
    first = np.searchsorted(groups, groups)  # groups are together, in ascending order
    chosen = np.flatnonzero(np.arange(len(groups)) - first < _MEMBERS)[:_IMAGES]
    rows: list[_Row] = table.take(pa.array(chosen)).to_pylist()
    return rows


def _groups(rows: Sequence[_Row], images: Sequence[ImageFacts], groups: pa.ChunkedArray) -> Iterator[GalleryGroup]:
    sizes = dict(zip(*np.unique(groups.to_numpy(), return_counts=True), strict=True))
    for number, members in groupby(zip(rows, images, strict=True), key=lambda pair: pair[0]["group"]):
        pairs = list(members)
        tags = ["keep" if row["keep"] else "drop" for row, _ in pairs]
        more = f", {len(pairs)} shown" if sizes[number] > len(pairs) else ""
        title = f"Group {number:,}: {sizes[number]:,} records{more}"
        yield GalleryGroup(title=title, images=[image for _, image in pairs], tags=tags)


def _sameness(row: _Row) -> str:
    if row.get("keep"):
        return ""
    names = {"sha256": "equal bytes", "phash": "alike to the eye", "latent": "latents alike"}
    distance = row["distance"]
    return names[row["by"]] + ("" if distance is None or np.isnan(distance) else f", distance {distance:.3g}")


def _cut(total: int, shown: int) -> list[str]:
    return [f"The first {shown:,} of {total:,} are shown; --output-table has all."] if shown < total else []


def _listed(title: str, keys: Iterable[str]) -> dict[str, Any]:
    return {"keys": list(keys), "keys_title": title}
