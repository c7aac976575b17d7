"""How images of other sizes come to a model's size: what a bundle says of it, from options and as JSON."""

from collections.abc import Sequence
from typing import Any

from lake.cli.option import positive
from lake.core.choices import choose
from lake.core.errors import UsageError
from lake.images.center_crop import CenterCrop, Interpolation
from lake.images.types import Resize


def pixels_or_policy(value: Any) -> int | Resize:
    """Parse a number of pixels, or the name of a policy.

    Raises:
      ValueError: the value is neither.

    >>> pixels_or_policy("256"), pixels_or_policy("fit")
    (256, <Resize.FIT: 'fit'>)
    """
    return choose(value, Resize) if isinstance(value, str) and not value.isdecimal() else positive(value)


def resizing(
    resize: int | str | None, crop: Sequence[int] | None, interpolation: str | None, size: Sequence[int] | None
) -> Resize | CenterCrop | None:
    """What the options of an export say of a model of one size.

    Args:
      resize: pixels of the shorter side, before the centre is cut out, or a policy; None for nothing.
      crop: the size of what is cut out, one number for both sides, or height and width: the model's.
      interpolation: the filter; None for the usual one.
      size: (H, W) that the model takes; None for a model of any size, or of vectors.

    Raises:
      UsageError: the options contradict each other, or do not fit the model.

    >>> resizing(256, (224,), None, (224, 224))
    CenterCrop(shorter=256, interpolation=<Interpolation.BILINEAR: 'bilinear'>)
    """
    try:
        resize = None if resize is None else pixels_or_policy(resize)
    except ValueError as error:
        raise UsageError(f"--resize: {error}") from error
    if resize is None or isinstance(resize, Resize):
        for flag, value in (("--crop", crop), ("--interpolation", interpolation)):
            if value is not None:
                raise UsageError(
                    f"{flag} is for --resize with the pixels of the shorter side, as --resize 256 --crop 224"
                )
    if resize is None:
        return None
    if size is None:
        raise UsageError("--resize is for models of images of one size; leave it out, or fix the size by --input-shape")
    if isinstance(resize, Resize):
        return resize
    _check_crop(resize, crop, size)
    return CenterCrop(shorter=resize, interpolation=choose(interpolation or Interpolation.BILINEAR, Interpolation))


def _check_crop(shorter: int, crop: Sequence[int] | None, size: Sequence[int]) -> None:
    shown = " ".join(map(str, size))
    if crop is not None and (*crop, *crop)[:2] != tuple(size):
        given = " ".join(map(str, crop))
        raise UsageError(f"--crop {given}: the model takes images of {shown}; give these, or leave --crop out")
    if shorter < max(size):
        raise UsageError(f"--resize {shorter}: less than the model's {shown}; an image must hold what is cut out of it")
