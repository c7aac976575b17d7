"""Receipts on their way to the commit: folded in a tree, and compressed, since in the end all of them are one value."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pipeline.receipts import Receipt

_BLOCK = 1000  # receipts that are compressed together, to about a seventh


@dataclass(slots=True)
class Folded:
    """Some receipts, in any order: as lines of JSON, and most of them compressed."""

    blocks: list[bytes] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        """One more, as ``Receipt.to_json`` gives it."""
        self.lines.append(line)
        if len(self.lines) >= _BLOCK:
            self._pack()

    def join(self, others: Iterable["Folded"]) -> None:
        """All of others."""
        for other in others:
            self.blocks += other.blocks
            for line in other.lines:
                self.add(line)

    def receipts(self) -> Iterator[Receipt]:
        """All of them."""
        for block in self.blocks:
            yield from map(Receipt.from_json, zlib.decompress(block).split(b"\n"))
        yield from map(Receipt.from_json, self.lines)

    def _pack(self) -> None:
        self.blocks.append(zlib.compress("\n".join(self.lines).encode()))
        self.lines.clear()
