"""Changes to a manifest, and its parts cut anew where they are."""

from collections.abc import Iterable, Iterator, Sequence

from lake.core.retry import retry
from lake.storage import Guard
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest_parts import PART_UNITS, ManifestPart, ends_part, write_manifest_part
from pipeline.output.units.receipts import Receipt

Change = tuple[str, Receipt | None]  # id of a unit, and its new receipt; None if it goes


class Changes:
    """Changes in order, with a look at the next one."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self._changes = iter(changes)
        self._next = next(self._changes, None)

    def within(self, last: str | None) -> bool:
        """Whether the next change is of a unit up to this one; of any for None."""
        return self._next is not None and (last is None or self._next[0] <= last)

    def up_to(self, last: str | None) -> Iterator[Change]:
        """Take the changes up to a unit, with it; all that are left for None."""
        while self._next is not None and self.within(last):
            change, self._next = self._next, next(self._changes, None)
            yield change


def with_changes(receipts: Iterable[Receipt], changes: Iterable[Change]) -> Iterator[Receipt]:
    """Receipts in order, with the changes applied."""
    ahead = Changes(changes)
    for receipt in receipts:
        changed = dict(ahead.up_to(receipt.unit))
        old = changed.pop(receipt.unit, receipt)
        yield from (new for new in (*changed.values(), old) if new is not None)
    yield from (new for _, new in ahead.up_to(None) if new is not None)


class Cutter:
    """Cuts receipts that come in order into parts, and writes these unless all fit into one.

    Args:
      layout: the output.
      known: the parts of the committed manifest.
      guard: the right to write.
      few: whether so few units that all fit into one part are written as well: they are not all of the manifest.

    Attributes:
      count: number of units.
    """

    def __init__(
        self, layout: Layout, known: Iterable[ManifestPart], guard: Guard | None, *, few: bool = False
    ) -> None:
        self._layout, self._guard, self._few = layout, guard, few
        self._known = frozenset(part.name for part in known)
        self._done = list[ManifestPart | list[Receipt]]()
        self._rows = list[Receipt]()
        self.count = 0

    @property
    def within(self) -> bool:
        """Whether a part has begun and not ended."""
        return bool(self._rows)

    def keep(self, part: ManifestPart) -> None:
        """Add a part as it is."""
        self._done.append(part)
        self.count += part.units

    def add(self, receipts: Iterable[Receipt]) -> None:
        """Add the next receipts."""
        for receipt in receipts:
            self._rows.append(receipt)
            if len(self._rows) >= PART_UNITS or ends_part(receipt.unit):
                self._cut()

    def result(self) -> Sequence[ManifestPart | list[Receipt]]:
        """All parts; those that need not be written, since all fit into one, as their receipts."""
        self._cut()
        return self._done

    def _cut(self) -> None:
        if self._rows:
            self._done.append(self._rows)
            self.count += len(self._rows)
            self._rows = []
        if self._few or self.count > PART_UNITS:
            self._done = [one if isinstance(one, ManifestPart) else self._write(one) for one in self._done]

    def _write(self, rows: Sequence[Receipt]) -> ManifestPart:
        return retry(
            "a part of the manifest", lambda _: write_manifest_part(self._layout, rows, self._known, self._guard)
        )


def is_closed(part: ManifestPart) -> bool:
    """Whether no unit that comes after a part's last one belongs to it."""
    return part.units >= PART_UNITS or ends_part(part.last)
