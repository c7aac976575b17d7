"""The accumulator that combines all receipts of a run into one value on their way to the commit."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.output.fencing.stop import is_stop
from pipeline.output.units.receipts import Receipt

RECEIPTS = 1000  # of a block


def pack_receipts(lines: Sequence[str]) -> bytes:
    """A block of receipts, compressed, since in the end one worker has all of them, or those of a range.

    Args:
      lines: as ``Receipt.to_json`` returned them; one or more.
    """
    return zlib.compress("\n".join(lines).encode())


def unpack_receipts(block: bytes) -> Iterator[Receipt]:
    """Yield the receipts of a block."""
    yield from map(Receipt.from_json, zlib.decompress(block).split(b"\n"))


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
        if len(self.lines) >= RECEIPTS:
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
            yield from unpack_receipts(block)
        yield from map(Receipt.from_json, self.lines)

    def _pack(self) -> None:
        self.blocks.append(pack_receipts(self.lines))
        self.lines.clear()
