"""Images that one policy refuses get a second chance under another."""

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from pipeline.images.base import Decoded, Group, Target
from pipeline.images.decode import joined
from pipeline.images.native import NativeDecoder
from pipeline.records import Array, Fault, Records, Stage


class Decodes(Protocol):
    """What decodes a batch to a model's shape."""

    def decode(self, records: Records) -> Decoded:
        """As ``pipeline.images.decode.Decoder`` does."""
        ...


class SecondDecoder:
    """What the first decoder rejects goes to the second; what that one rejects too, for its reasons."""

    def __init__(self, first: Decodes, second: Decodes) -> None:
        self._first, self._second = first, second

    def decode(self, records: Records) -> Decoded:
        """As ``pipeline.images.decode.Decoder.decode``."""
        decoded = self._first.decode(records)
        refused = _refused(decoded.faults)
        if not len(refused):
            return decoded
        more = self._second.decode(records.take(refused))
        parts = [(group.positions, group.pixels) for group in decoded.groups]
        parts += [(refused[group.positions], group.pixels) for group in more.groups]
        kept = {position: fault for position, fault in decoded.faults.items() if fault.stage is not Stage.DECODE}
        again = {int(refused[position]): fault for position, fault in more.faults.items()}
        return Decoded(groups=joined(parts), faults=kept | again)


class DecodesNative(Protocol):
    """What decodes a batch to pixels as they are."""

    def groups(self, records: Records, faults: dict[int, Fault]) -> Iterator[Group]:
        """As ``pipeline.images.native.NativeDecoder`` does."""
        ...


def native_decoder(target: Target, second: Target | None) -> DecodesNative:
    """A decoder for a target, and for what it rejects the second one, if there is one."""
    first = NativeDecoder(target)
    return first if second is None else SecondNativeDecoder(first, NativeDecoder(second))


class SecondNativeDecoder:
    """The same for images as they are."""

    def __init__(self, first: NativeDecoder, second: NativeDecoder) -> None:
        self._first, self._second = first, second

    def groups(self, records: Records, faults: dict[int, Fault]) -> Iterator[Group]:
        """As ``pipeline.images.native.NativeDecoder.groups``."""
        yield from self._first.groups(records, faults)
        refused = _refused(faults)
        if not len(refused):
            return
        found = dict[int, Fault]()
        for position in refused.tolist():
            del faults[position]
        for group in self._second.groups(records.take(refused), found):
            yield Group(positions=refused[group.positions], pixels=group.pixels)
        faults.update({int(refused[position]): fault for position, fault in found.items()})


def _refused(faults: Mapping[int, Fault]) -> Array:
    positions: Array = np.array(sorted(p for p, fault in faults.items() if fault.stage is Stage.DECODE), np.int64)
    return positions
