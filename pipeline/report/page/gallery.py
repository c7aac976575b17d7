"""The page of a gallery: the answer to a question about an output, with its images."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report.distributions import AgainstFacts
from pipeline.report.page.document import as_json, document
from pipeline.report.page.render import LIMIT
from pipeline.report.page.shelf import Shelf
from pipeline.report.shown import ImageFacts

_ROOM = 8_000_000  # bytes for pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryGroup:
    """Images that stand together.

    Attributes:
      title: what they have in common.
      images: the images.
      tags: a word on each image, or none at all.
    """

    title: str
    images: Sequence[ImageFacts]
    tags: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryFacts:
    """All that a gallery shows. Texts may come from data, so the page escapes all of them.

    Attributes:
      output: URI of the output.
      command: that gave the answer, such as "duplicates".
      sentence: the answer in one sentence.
      groups: the images.
      cards: whether groups are small and many, so that several of them stand side by side.
      notes: what else there is to say, in sentences.
      keys: to be copied.
      keys_title: what they are.
      against: how two outputs differ; None where one was asked.
    """

    output: str
    command: str
    sentence: str
    groups: Sequence[GalleryGroup]
    cards: bool = False
    notes: Sequence[str] = ()
    keys: Sequence[str] = ()
    keys_title: str = ""
    against: AgainstFacts | None = None


def render_gallery(facts: GalleryFacts) -> str:
    """Write the page of a gallery: one file of HTML that loads nothing, of at most 10 MB.

    Args:
      facts: what it shows. No text of it becomes markup or a script.

    Raises:
      UsageError: jinja2 is not installed.
    """
    shelf = Shelf(_ROOM)
    shelf.take(image.picture for group in facts.groups for image in group.images)

    def data() -> str:
        return as_json({"images": shelf.images(), "pictures": shelf.rest(), "keys": facts.keys})

    return document(
        "gallery.html", ("viewer.js",), facts=facts, shelf=shelf, limit=LIMIT // 1_000_000, data=data, plotly=""
    )
