"""Aspect buckets: the few sizes that images of many sizes are resized and cropped to, as trainers of SDXL use them."""

from dataclasses import dataclass
from functools import lru_cache
from math import log

_MOST_ASPECT = 4.0  # of the longer side to the shorter one; what is longer loses the rest of its longer side


@dataclass(frozen=True, slots=True, kw_only=True)
class Buckets:
    """Sizes whose sides are multiples of a step, and whose area is as near to a largest one as that allows.

    An image gets the size whose aspect ratio is nearest to its own, is scaled so that it covers that size, and loses
    what is beyond it on both sides.

    Attributes:
      step: sides are multiples of it, in pixels.
      max_area: largest number of pixels.

    >>> buckets = Buckets(step=64, max_area=1024 * 1024)
    >>> len(buckets.sizes), buckets.nearest(3000, 4000), buckets.nearest(500, 500)
    (33, (896, 1152), (1024, 1024))
    """

    step: int
    max_area: int

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of each, from the lowest to the highest; none where not even one square of the step fits."""
        return _sizes(self.step, self.max_area)

    def nearest(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the bucket for an image; of two that are as near, the lower one.

        Args:
          height: of the upright image, in pixels.
          width: likewise.
        """
        aspect = log(height / width)
        return min(self.sizes, key=lambda size: abs(log(size[0] / size[1]) - aspect))


@lru_cache(maxsize=16)
def _sizes(step: int, max_area: int) -> tuple[tuple[int, int], ...]:
    rows = range(step, max_area // step + 1, step)
    highest = [(height, max_area // height // step * step) for height in rows]
    all_of = sorted({*highest, *(size[::-1] for size in highest)})
    return tuple(size for size in all_of if min(size) and max(size) <= _MOST_ASPECT * min(size))


def crop_offset(size: tuple[int, int], bucket: tuple[int, int]) -> tuple[int, int]:
    """(top, left) of a bucket in an image that was scaled so that it covers it, in its pixels.

    Args:
      size: (height, width) of the image before.
      bucket: (height, width) of what is cut out of the centre.

    >>> crop_offset((3000, 4000), (896, 1152)), crop_offset((1000, 500), (64, 64))
    ((0, 21), (32, 0))
    """
    scale = max(wanted / side for side, wanted in zip(size, bucket, strict=True))
    top, left = ((side * scale - wanted) / 2 for side, wanted in zip(size, bucket, strict=True))
    return round(top), round(left)
