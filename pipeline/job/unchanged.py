"""Which units are as the manifest has them, told by its root alone: a night that changes little reads little."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lake.core.records import Unit
from pipeline.config import JobConfig, fingerprint
from pipeline.output.manifest.manifest import Manifest
from pipeline.output.manifest.manifest_parts import Prints
from pipeline.output.units.receipts import Receipt


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Ranges of units that are done, and the receipts of all others.

    Attributes:
      lasts: the last unit of each part of the manifest.
      parts: positions of the parts that are as planned.
      others: the receipts of other parts.
    """

    lasts: tuple[str, ...]
    parts: frozenset[int]
    others: Mapping[str, Receipt]

    def __contains__(self, unit: object) -> bool:
        return bool(self.parts) and bisect_left(self.lasts, str(unit)) in self.parts


def find_unchanged(units: Iterable[Unit], config: JobConfig, receipts: Mapping[str, Receipt]) -> Unchanged:
    """Compare all units with the root of a manifest, part by part.

    Args:
      units: every unit of the input.
      config: the job.
      receipts: of the units that are done. Nothing is told of those that are no manifest in parts.
    """
    if not isinstance(receipts, Manifest) or not receipts.parts:
        return Unchanged((), frozenset(), receipts)
    lasts = tuple(part.last for part in receipts.parts)
    found = [Prints() for _ in lasts]
    for unit in units:
        if (at := bisect_left(lasts, unit.id)) < len(lasts):
            found[at].add(unit.id, fingerprint(unit, config))
    pairs = enumerate(zip(found, receipts.parts, strict=True))
    same = frozenset(at for at, (own, part) in pairs if (own.units, own.digest()) == (part.units, part.prints))
    return Unchanged(lasts, same, receipts.only(part for at, part in enumerate(receipts.parts) if at not in same))
