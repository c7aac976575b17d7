"""The manifest of an output: the receipts of all units of the committed state, in the order of their ids.

It is one Parquet file. If there are more units than one part takes, that file is a root over parts: it names them with
their checksums, is replaced last, and so takes all of them into effect at once.
"""

from bisect import bisect_left
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, Sequence, ValuesView
from io import BytesIO
from typing import Any, TypeVar

import pyarrow as pa

from lake.core.errors import HeldError, VerifyError
from lake.core.records import OutputFile
from lake.formats.common.parquet_file import read_table
from lake.storage import Guard, Stat, put, store_for
from pipeline.output.layout import Layout, files_below
from pipeline.output.manifest.manifest_cutter import Change, Changes, Cutter, is_closed, with_changes
from pipeline.output.manifest.manifest_parts import (
    PART_UNITS,
    ManifestPart,
    checksum_of,
    encode_root,
    is_root,
    parse_names,
    parse_part,
    parse_root,
    sum_parts,
)
from pipeline.output.manifest.manifest_rows import encode_rows, parse_rows
from pipeline.output.units.receipts import Receipt, sum_counts

_T = TypeVar("_T")
_DAMAGE = (pa.ArrowException, OSError, ValueError, TypeError, KeyError)


class Manifest(Mapping[str, Receipt]):
    """Receipts by unit, in the order of the units' ids. Those of a part are read when they are asked for.

    Args:
      layout: the output.
      rows: of a manifest without parts.
      parts: of a large one.
      crc32c: of the file that was read; "" for none.

    Raises:
      VerifyError: a part is missing or damaged. So does whatever reads one.
      HeldError: it is gone since a run has committed meanwhile. So does whatever reads one.
    """

    def __init__(
        self, layout: Layout, rows: Sequence[Receipt] = (), parts: Sequence[ManifestPart] = (), crc32c: str = ""
    ) -> None:
        self.parts, self.crc32c = tuple(parts), crc32c
        self._layout = layout
        self._rows = {receipt.unit: receipt for receipt in rows}
        self._lasts = [part.last for part in parts]
        self._open: tuple[str, dict[str, Receipt]] = ("", {})  # the part that was asked last, by its name

    def __len__(self) -> int:
        return sum(part.units for part in self.parts) if self.parts else len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return (receipt.unit for receipt in self.receipts())

    def __getitem__(self, unit: str) -> Receipt:
        if not self.parts:
            return self._rows[unit]
        at = bisect_left(self._lasts, unit)
        if at == len(self.parts):
            raise KeyError(unit)
        return self._part(self.parts[at])[unit]

    def values(self) -> ValuesView[Receipt]:
        """The receipts."""
        return _Receipts(self)

    def items(self) -> ItemsView[str, Receipt]:
        """Units and receipts."""
        return _Units(self)

    def receipts(self) -> Iterator[Receipt]:
        """Yield the receipts; those of one part are in memory at a time."""
        yield from self._rows.values()
        for part in self.parts:
            yield from self.of(part)

    def of(self, part: ManifestPart) -> Sequence[Receipt]:
        """The receipts of one part."""
        return self._read(part, parse_part)

    def names(self, parts: Iterable[ManifestPart] | None = None) -> Iterator[str]:
        """Yield the names of the files of units, relative to the output.

        Args:
          parts: the parts to read; None for all.
        """
        yield from (output.name for receipt in self._rows.values() for output in receipt.outputs)
        for part in self.parts if parts is None else parts:
            yield from self._read(part, parse_names)

    def rejected(self, reason: str) -> Iterator[Receipt]:
        """Yield the receipts of units with records that were rejected for this reason."""
        yield from (receipt for receipt in self._rows.values() if reason in receipt.rejects)
        for part in self.parts:
            if reason in part.rejects:
                yield from (receipt for receipt in self.of(part) if reason in receipt.rejects)

    def only(self, parts: Iterable[ManifestPart]) -> "Manifest":
        """The same with some of its parts."""
        return Manifest(self._layout, parts=[*parts], crc32c=self.crc32c)

    def counts(self) -> dict[str, Any]:
        """The sums over all units, as of ``sum_counts``. Those of parts are in the root."""
        return sum_parts(self.parts) if self.parts else sum_counts(self._rows.values())

    def encode(self) -> bytes:
        """The bytes of its file: of the root, if there are parts. Timings are left out: equal states, equal bytes."""
        return encode_root(self.parts) if self.parts else encode_rows([*self._rows.values()])

    def _part(self, part: ManifestPart) -> dict[str, Receipt]:
        # Units are asked for in the order of an input's listing, or nearly so.
        if self._open[0] != part.name:
            self._open = part.name, {receipt.unit: receipt for receipt in self.of(part)}
        return self._open[1]

    def _read(self, part: ManifestPart, parse: Callable[[bytes, ManifestPart], _T]) -> _T:
        data = self._bytes(part)
        try:
            return parse(data, part)
        except _DAMAGE as error:
            raise _damaged(self._layout, part.name, error) from error

    def _bytes(self, part: ManifestPart) -> bytes:
        uri = self._layout.at(part.name)
        try:
            with store_for(uri).open(uri) as file:
                return file.read()
        except FileNotFoundError as error:
            if self.crc32c != checksum_of(_content(self._layout)):
                raise HeldError(f"{uri} is gone: a run has committed meanwhile; run the command again") from error
            raise _damaged(self._layout, part.name, error) from error


class _Receipts(ValuesView[Receipt]):
    _mapping: Manifest

    def __iter__(self) -> Iterator[Receipt]:
        return self._mapping.receipts()


class _Units(ItemsView[str, Receipt]):
    _mapping: Manifest

    def __iter__(self) -> Iterator[tuple[str, Receipt]]:
        return ((receipt.unit, receipt) for receipt in self._mapping.receipts())


def read_manifest(layout: Layout) -> Manifest:
    """Read the manifest.

    Args:
      layout: the output.

    Returns:
      The committed state; empty if there is no manifest.

    Raises:
      VerifyError: the manifest is damaged. Parts are read later, and checked then.
    """
    if store_for(layout.output).stat(layout.manifest) is None:
        return Manifest(layout)
    data = _content(layout)
    try:
        table = read_table(BytesIO(data))
        if is_root(table):
            return Manifest(layout, parts=parse_root(table), crc32c=checksum_of(data))
        return Manifest(layout, parse_rows(table))
    except _DAMAGE as error:
        raise _damaged(layout, "", error) from error


def changed_manifest(
    layout: Layout, before: Manifest, changes: Iterable[Change], guard: Guard | None = None
) -> Manifest:
    """Apply changes to a manifest, and write the parts that they are in. Until ``publish_manifest`` nothing names them.

    Args:
      layout: the output.
      before: the committed state, or what this function returned.
      changes: sorted by unit, each unit once.
      guard: the right to write.

    Returns:
      The new state.
    """
    cutter = Cutter(layout, before.parts, guard)
    ahead = Changes(changes)
    for part in before.parts:
        # The last part is open, unless it ends by itself: units that come after its last one belong to it.
        last = part.last if part is not before.parts[-1] or is_closed(part) else None
        if cutter.within or ahead.within(last):
            cutter.add(with_changes(before.of(part), ahead.up_to(last)))
        else:
            cutter.keep(part)
    rows = () if before.parts else before.values()
    cutter.add(with_changes(rows, ahead.up_to(None)))
    return _cut_manifest(layout, cutter, before)


def joined_manifest(
    layout: Layout, before: Manifest, parts: Sequence[ManifestPart], guard: Guard | None = None
) -> Manifest:
    """Make one manifest of parts that were cut range by range.

    A range ends where a part does, unless the unit that ends it has failed or is gone. There the parts are cut once
    more, up to the next place where both ways have cut.

    Args:
      layout: the output.
      before: the committed state.
      parts: those of all ranges, in the order of their units. All are there.
      guard: the right to write.
    """
    found = before.only(parts)
    cutter = Cutter(layout, (*before.parts, *parts), guard)
    for part in parts:
        if cutter.within or not (is_closed(part) or part is parts[-1]):
            cutter.add(found.of(part))
        else:
            cutter.keep(part)
    return _cut_manifest(layout, cutter, found)


def _cut_manifest(layout: Layout, cutter: Cutter, source: Manifest) -> Manifest:
    """The manifest of what was cut; parts of the source were kept as they are."""
    done = cutter.result()
    if cutter.count > PART_UNITS:
        return Manifest(layout, parts=[part for part in done if isinstance(part, ManifestPart)])
    return Manifest(layout, [r for one in done for r in (source.of(one) if isinstance(one, ManifestPart) else one)])


def publish_manifest(layout: Layout, manifest: Manifest, guard: Guard | None = None) -> OutputFile:
    """Write the file of a manifest, whose parts are there. With it, it takes effect.

    Args:
      layout: the output.
      manifest: what ``changed_manifest`` returned.
      guard: the right to write it.

    Returns:
      Name, size in bytes, number of units and CRC-32C of the file.
    """
    data = manifest.encode()
    put(layout.manifest, data, guard and guard.strict)
    return OutputFile(name="_manifest.parquet", size=len(data), rows=len(manifest), crc32c=checksum_of(data))


def write_manifest(layout: Layout, receipts: Iterable[Receipt]) -> OutputFile:
    """Write the manifest of a state as a whole, where no run holds the output.

    Args:
      layout: the output.
      receipts: of all units, in any order.

    Returns:
      As of ``publish_manifest``.
    """
    changes = sorted(((receipt.unit, receipt) for receipt in receipts), key=lambda change: change[0])
    return publish_manifest(layout, changed_manifest(layout, Manifest(layout), changes))


def replaced_names(before: Manifest, after: Manifest) -> Iterator[str]:
    """Yield the names of the files that units had before, but for those of parts that have not changed.

    Args:
      before: a manifest.
      after: what ``changed_manifest`` made of it.
    """
    kept = {part.name for part in after.parts}
    return before.names([part for part in before.parts if part.name not in kept])


def superseded_parts(layout: Layout, manifest: Manifest) -> list[Stat]:
    """Find the parts that go with a manifest; called before it is written.

    Args:
      layout: the output.
      manifest: the new one.
    """
    named = {layout.at(part.name) for part in manifest.parts}
    return [stat for stat in files_below(layout.manifest_parts) if stat.uri not in named]


def _content(layout: Layout) -> bytes:
    with store_for(layout.output).open(layout.manifest) as file:
        return file.read()


def _damaged(layout: Layout, part: str, error: Exception) -> VerifyError:
    text = " ".join(f"{part}: {error}".removeprefix(": ").split())
    return VerifyError(f"{layout.manifest}: the manifest is damaged ({text}); remove it and run the job again")
