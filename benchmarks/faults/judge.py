"""What came out, against what must have come out."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

TOLERANCE = 1e-4  # of the largest value of all latents


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Counts of records.

    lost: have no latent, though they must.
    doubled: rows beyond the first of a key.
    wrong: rows with a latent or a label that is not theirs, and latents of what is no image.
    told: keys without a latent that have a row which says so.
    """

    lost: int
    doubled: int
    wrong: int
    told: int

    @property
    def sound(self) -> bool:
        """Whether all that must be there is, once and right."""
        return not (self.lost or self.doubled or self.wrong)


def judge(rows: pa.Table, expected: Mapping[str, tuple[int, np.ndarray]]) -> Verdict:
    """Compare rows with labels and latents by key.

    Args:
      rows: ``key: string``, ``label: int64``, ``latent: list<float32>``, null where there is none.
      expected: what must be there.
    """
    largest = max((float(np.abs(latent).max()) for _, latent in expected.values()), default=0.0)
    times, wrong, without = Counter[str](), 0, set[str]()
    for key, label, latent in zip(*(rows[name].to_pylist() for name in ("key", "label", "latent")), strict=True):
        if latent is None:
            without |= {key} - {""}  # of the rest of a shard there is no key
            continue
        times[key] += 1
        wrong += not _right(expected.get(key), label, latent, TOLERANCE * largest)
    doubled = sum(count - 1 for count in times.values())
    return Verdict(lost=len(expected.keys() - times.keys()), doubled=doubled, wrong=wrong, told=len(without))


def _right(expected: tuple[int, np.ndarray] | None, label: int, latent: list[float], tolerance: float) -> bool:
    if expected is None or label != expected[0] or len(latent) != len(expected[1]):
        return False
    return bool(np.abs(np.asarray(latent, np.float32) - expected[1]).max() <= tolerance)
