"""The accumulator that combines all receipts of a run into one value on their way to the commit."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pipeline.output.receipts import Receipt
from pipeline.output.stop import is_stop

# Receipts that are compressed together, to about a seventh of their size. In the end a single worker has all of them.
_BLOCK = 1000


@dataclass(slots=True)
class ReceiptAccumulator:
    """A set of receipts, as lines of JSON, most of them compressed. Their order does not matter.

    Attributes:
      blocks: compressed lines.
      lines: lines that are not compressed yet.
      stop: the line of a ``Stop``, if a worker has ended the run; "" if none has.
    """

    blocks: list[bytes] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    stop: str = ""

    def add(self, line: str) -> None:
        """Add one receipt, as ``Receipt.to_json`` returned it, or one ``Stop``."""
        if is_stop(line):
            self.stop = self.stop or line
            return
        self.lines.append(line)
        if len(self.lines) >= _BLOCK:
            self._pack()

    def join(self, others: Iterable["ReceiptAccumulator"]) -> None:
        """Add all receipts of other accumulators."""
        for other in others:
            self.blocks += other.blocks
            self.stop = self.stop or other.stop
            for line in other.lines:
                self.add(line)

    def receipts(self) -> Iterator[Receipt]:
        """Yield all receipts."""
        for block in self.blocks:
            yield from map(Receipt.from_json, zlib.decompress(block).split(b"\n"))
        yield from map(Receipt.from_json, self.lines)

    def _pack(self) -> None:
        self.blocks.append(zlib.compress("\n".join(self.lines).encode()))
        self.lines.clear()
