"""The page of a report."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.report.facts import ReportFacts, Section
from pipeline.report.page.document import as_json, document, packed_plotly
from pipeline.report.page.figures import figures_of, fitting_rows, map_of
from pipeline.report.page.shelf import Shelf, pictures_of
from pipeline.report.shown import ImageFacts

LIMIT = 10_000_000  # bytes of a page
_ROOM = 4_800_000  # for its pictures; text, numbers and scripts take the rest

_NAMES = {
    Section.IMAGES: "Images",
    Section.AGAINST: "Against before",
    Section.PARTITIONS: "Parts",
    Section.DUPLICATES: "Duplicates",
    Section.OUTLIERS: "Outliers",
    Section.REJECTS: "Rejects",
    Section.LATENTS: "Latents",
    Section.NOISE: "Noise",
    Section.RUN: "The run",
}
_SCRIPTS = ("viewer.js", "figures.js", "map.js")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    points: int  # of the map


def render(facts: ReportFacts) -> str:
    """Write the page of a report: one file of HTML that loads nothing, of at most 10 MB.

    Pictures that have no room are left out, thumbnails of the map first, and the page says so.

    Args:
      facts: what it shows. No text of it becomes markup or a script.

    Raises:
      UsageError: jinja2 or plotly is not installed.
    """
    shelf = Shelf(_ROOM)
    shelf.take(image.picture for image in _images(facts))
    for image in _images(facts):
        shelf.take(pictures_of(image))
    latent_map = None if facts.latents is None else facts.latents.map
    if latent_map is not None:
        shelf.take(latent_map.thumbnails.values())
    figures = figures_of(facts)

    def data() -> str:
        found = None if latent_map is None else map_of(latent_map, shelf)
        return as_json({"images": shelf.images(), "pictures": shelf.rest(), "figures": figures, "map": found})

    return document(
        "report.html",
        _SCRIPTS,
        webgl=latent_map is not None,
        facts=facts,
        shelf=shelf,
        anchors={section.value: name for section, name in _NAMES.items() if _has(facts, section)},
        stage=[shelf.image(image) for image in _compared(facts) if shelf.reference(image.picture)],
        shown=_Shown(points=0 if latent_map is None else len(fitting_rows(latent_map))),
        limit=LIMIT // 1_000_000,
        data=data,
        plotly=packed_plotly() if figures or latent_map is not None else "",
    )


def _has(facts: ReportFacts, section: Section) -> bool:
    if section == Section.IMAGES:
        return bool(facts.strips) or facts.error is not None
    return getattr(facts, section.value) is not None


def _images(facts: ReportFacts) -> Iterator[ImageFacts]:
    """All images, in the order of their weight."""
    yield from facts.headline.look
    for strip in facts.strips:
        yield from strip.images
    for reason in () if facts.rejects is None else facts.rejects.reasons:
        yield from reason.images
    for group in () if facts.duplicates is None else facts.duplicates.examples:
        yield from group
    yield from () if facts.outliers is None else facts.outliers.images


def _compared(facts: ReportFacts) -> Iterator[ImageFacts]:
    """The images before and after, the worst first."""
    for strip in sorted(facts.strips, key=lambda strip: strip.name != "worst"):
        yield from (image for image in strip.images if image.comparison is not None)
