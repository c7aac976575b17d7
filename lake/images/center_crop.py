"""Resize, then crop: how evaluation code of image networks brings images to a network's size."""

from dataclasses import dataclass
from enum import StrEnum

from lake.core.choices import choose


class Interpolation(StrEnum):
    """The filter that images are resized with. The support of both grows with the reduction: there is no aliasing."""

    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


@dataclass(frozen=True, slots=True, kw_only=True)
class CenterCrop:
    """Scale an image so that its shorter side has some number of pixels, and cut out the centre.

    Sizes and offsets are rounded as torchvision's ``Resize(shorter)`` and ``CenterCrop`` round them. An image that has
    the target's size already is scaled all the same.

    Attributes:
      shorter: pixels of the shorter side; not less than either side of the target.
      interpolation: the filter.

    Raises:
      ValueError: the filter is text that names none.

    >>> CenterCrop(shorter=256).scaled((480, 640)), CenterCrop(shorter=256).corner((480, 640), (224, 224))
    ((256, 341), (16, 58))
    """

    shorter: int
    interpolation: Interpolation = Interpolation.BILINEAR

    def __post_init__(self) -> None:
        object.__setattr__(self, "interpolation", choose(self.interpolation, Interpolation))

    def scaled(self, size: tuple[float, float]) -> tuple[int, int]:
        """(height, width) that an image of a size is scaled to."""
        height, width = size
        # Multiplied first, and rounded down, as torchvision does it.
        if width <= height:
            return int(self.shorter * height / width), self.shorter
        return self.shorter, int(self.shorter * width / height)

    def corner(self, size: tuple[float, float], target: tuple[int, int]) -> tuple[int, int]:
        """Row and column of the scaled image where the crop of an image of a size begins."""
        down, across = (round((side - wanted) / 2) for side, wanted in zip(self.scaled(size), target, strict=True))
        return down, across
