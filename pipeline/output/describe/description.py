"""What a commit writes beside the data to describe the output to others."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lake.core.errors import OutputError
from lake.storage import Guard, put, store_for
from lake.storage.location import is_local, local_path
from pipeline.output.describe.card import card, is_card
from pipeline.output.describe.parts import parts_of
from pipeline.output.layout import Layout
from pipeline.output.receipts import Receipt

_MOST = 4 << 20  # bytes of a README.md that is read; a longer one is none of the job's
_SOURCES = 20  # most inputs that a card names; the description travels in the pipeline's graph


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a run says of its output.

    Attributes:
      source: URIs of the input, the first ones; of a local path without the directories above it, since a card is made
        to be published.
      sources: how many there are.
      due: whether it is not there yet, so that a run commits even if it has nothing else to do.
    """

    source: tuple[str, ...]
    sources: int
    due: bool


def plan_description(output: str, inputs: Sequence[str], *, first: bool) -> Description:
    """Plan the card of an output. Writes nothing.

    Args:
      output: URI of the output.
      inputs: URIs of the input.
      first: whether no earlier run was to write one.

    Raises:
      OutputError: the first card would replace a README.md that no run wrote.
    """
    layout = Layout(output)
    before = _read(layout.card)
    if first and before is not None and not is_card(before):
        raise OutputError(
            f"{layout.card} is none that --card wrote, and would be lost; move it away, or leave out --card"
        )
    source = tuple(_public(uri) for uri in inputs[:_SOURCES])
    return Description(source=source, sources=len(inputs), due=before is None)


def write_description(
    layout: Layout, description: Description, receipts: Iterable[Receipt], summary: Mapping[str, Any], guard: Guard
) -> None:
    """Write the card of an output. Writing it twice is writing it once.

    A page from which somebody has removed the marks is left as it is.

    Args:
      layout: the output.
      description: what the run says of it.
      receipts: of all units.
      summary: of the run, as ``_SUCCESS`` holds it.
      guard: the right to write it.
    """
    before = _read(layout.card)
    if before is None or is_card(before):
        source = [*description.source, *(["..."] if description.sources > len(description.source) else [])]
        text = card(before, parts_of(layout, receipts), summary, source)
        put(layout.card, text.encode(), guard.strict)


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
