"""What a commit writes beside the data to describe the output to others."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lake.core.errors import OutputError
from lake.storage import Guard, put, store_for
from lake.storage.location import is_local, local_path
from pipeline.output.describe.card import card, is_card
from pipeline.output.describe.croissant import croissant, is_croissant
from pipeline.output.describe.parts import OutputPart, parts_of
from pipeline.output.layout import Layout
from pipeline.output.units.receipts import Receipt

_MOST = 4 << 20  # bytes of a page that is read; a longer one is none of the job's
_SOURCES = 20  # most inputs that a card names; the description travels in the pipeline's graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A file that describes an output, and that a run and people write together.

    Attributes:
      uri: where it is in an output.
      is_ours: whether a text is one that runs go on writing.
      text: what it says: of the text that is there, the parts, the summary and the source.
    """

    uri: Callable[[Layout], str]
    is_ours: Callable[[str], bool]
    text: Callable[[str | None, Sequence[OutputPart], Mapping[str, Any], Sequence[str]], str]


PAGES = {  # by the option that asks for it
    "card": Page(uri=lambda layout: layout.card, is_ours=is_card, text=card),
    "croissant": Page(uri=lambda layout: layout.croissant, is_ours=is_croissant, text=croissant),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a run says of its output.

    Attributes:
      pages: names in ``PAGES``.
      source: URIs of the input, the first ones; of a local path without the directories above it, since a card is made
        to be published.
      sources: how many there are.
      due: whether a page is not there yet, so that a run commits even if it has nothing else to do.
    """

    pages: tuple[str, ...]
    source: tuple[str, ...]
    sources: int
    due: bool


def plan_description(output: str, inputs: Sequence[str], pages: Mapping[str, bool]) -> Description:
    """Plan the pages of an output. Writes nothing.

    Args:
      output: URI of the output.
      inputs: URIs of the input.
      pages: names in ``PAGES``, each with whether no earlier run was to write it.

    Raises:
      OutputError: a first page would replace a file that no run wrote.
    """
    layout = Layout(output)
    before = {name: _read(PAGES[name].uri(layout)) for name in pages}
    for name, text in before.items():
        if pages[name] and text is not None and not PAGES[name].is_ours(text):
            raise OutputError(
                f"{PAGES[name].uri(layout)} is none that --{name} wrote, and would be lost; "
                f"move it away, or leave out --{name}"
            )
    source = tuple(_public(uri) for uri in inputs[:_SOURCES])
    return Description(pages=tuple(pages), source=source, sources=len(inputs), due=None in before.values())


def write_description(
    layout: Layout, description: Description, receipts: Iterable[Receipt], summary: Mapping[str, Any], guard: Guard
) -> None:
    """Write the pages of an output. Writing them twice is writing them once.

    A page from which somebody has removed what tells that runs write it is left as it is.

    Args:
      layout: the output.
      description: what the run says of it.
      receipts: of all units.
      summary: of the run, as ``_SUCCESS`` holds it.
      guard: the right to write them.
    """
    source = [*description.source, *(["..."] if description.sources > len(description.source) else [])]
    parts = parts_of(layout, receipts)
    for page in map(PAGES.__getitem__, description.pages):
        before = _read(page.uri(layout))
        if before is None or page.is_ours(before):
            put(page.uri(layout), page.text(before, parts, summary, source).encode(), guard.strict)


def _public(uri: str) -> str:
    """An input as people outside may see it.

    >>> _public("s3://lake/photos/"), _public("/home/me/photos/"), _public("/home/me/photos/dt=*/*.tar")
    ('s3://lake/photos/', 'photos', 'photos/dt=*/*.tar')
    """
    if not is_local(uri):
        return uri
    parts = local_path(uri).as_posix().rstrip("/").split("/")
    named = next((at for at, part in enumerate(parts) if set(part) & set("*?[{")), len(parts))
    return "/".join(parts[max(named - 1, 0) :])


def _read(uri: str) -> str | None:
    """A page; None for none. What is no text, or too long for a card, has no marks."""
    store = store_for(uri)
    if (stat := store.stat(uri)) is None:
        return None
    if stat.size > _MOST:
        return ""
    with store.open(uri) as file:
        return file.read().decode(errors="replace")
