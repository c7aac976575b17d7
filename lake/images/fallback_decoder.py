"""Decoders that try a second policy on the images that the first one rejects."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np

from lake.core.records import Array, Fault, Records, Stage
from lake.images.decoder import joined
from lake.images.native_decoder import NativeDecoder
from lake.images.sized_decoder import SizedDecoder
from lake.images.types import Decoded, Group, Target


class Decodes(Protocol):
    """A decoder of batches to the model's shape."""

    def decode(self, records: Records) -> Decoded:
        """Decode a batch, as ``lake.images.decoder.Decoder.decode`` does."""
        ...


class FallbackDecoder:
    """Passes what the first decoder rejects to a second one. A record that both reject has the second one's fault.

    Args:
      first: decodes every record.
      second: decodes what ``first`` rejects.
    """

    def __init__(self, first: Decodes, second: Decodes) -> None:
        self._first, self._second = first, second

    def decode(self, records: Records) -> Decoded:
        """Decode a batch, as ``lake.images.decoder.Decoder.decode`` does."""
        decoded = self._first.decode(records)
        refused = _refused(decoded.faults)
        if not len(refused):
            return decoded
        more = self._second.decode(records.take(refused))
        parts = [(group.positions, group.pixels) for group in decoded.groups]
        parts += [(refused[group.positions], group.pixels) for group in more.groups]
        earlier = {position: fault for position, fault in decoded.faults.items() if fault.stage is not Stage.DECODE}
        second = {int(refused[position]): fault for position, fault in more.faults.items()}
        several = decoded.several | {int(refused[position]) for position in more.several}
        return Decoded(groups=joined(parts), faults=earlier | second, several=several)


class DecodesGroups(Protocol):
    """A decoder of batches of images of many sizes, group by group."""

    def groups(self, records: Records, faults: dict[int, Fault]) -> Iterator[Group]:
        """Decode a batch group by group, as ``lake.images.native_decoder.NativeDecoder.groups`` does."""
        ...


def group_decoder(kind: type[NativeDecoder | SizedDecoder], target: Target, *seconds: Target) -> DecodesGroups:
    """A decoder of images of many sizes, with a fallback for each further target.

    Args:
      kind: how images are decoded: as they are stored, or to the model's channels.
      target: of every record.
      seconds: of the records that all decoders before reject.
    """
    decoder: DecodesGroups = kind(target)
    for second in seconds:
        decoder = SecondGroupDecoder(decoder, kind(second))
    return decoder


class SecondGroupDecoder:
    """A ``FallbackDecoder`` for images of many sizes.

    Args:
      first: decodes every record.
      second: decodes what ``first`` rejects.
    """

    def __init__(self, first: DecodesGroups, second: DecodesGroups) -> None:
        self._first, self._second = first, second

    def groups(self, records: Records, faults: dict[int, Fault]) -> Iterator[Group]:
        """Decode a batch group by group, as ``lake.images.native_decoder.NativeDecoder.groups`` does."""
        yield from self._first.groups(records, faults)
        refused = _refused(faults)
        if not len(refused):
            return
        found = dict[int, Fault]()
        # The second decoder decides about these records; it must not see the first one's faults.
        for position in refused.tolist():
            del faults[position]
        for group in self._second.groups(records.take(refused), found):
            yield replace(group, positions=refused[group.positions])
        faults.update({int(refused[position]): fault for position, fault in found.items()})


def _refused(faults: Mapping[int, Fault]) -> Array:
    positions: Array = np.array(sorted(p for p, fault in faults.items() if fault.stage is Stage.DECODE), np.int64)
    return positions
