"""What training did to images after it gave them their range: mean, standard deviation, and the order of channels."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeAlias

from lake.core.errors import UsageError
from lake.core.printable import printable

_Range: TypeAlias = tuple[float, float]

# The modes of ``keras.applications.imagenet_utils.preprocess_input``, which calls torchvision's, 'imagenet', 'torch'.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "imagenet": {"value_range": (0.0, 1.0), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    "caffe": {"value_range": (0.0, 255.0), "mean": (123.68, 116.779, 103.939), "bgr": True},
    "tf": {"value_range": (-1.0, 1.0)},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """What is done to an image, whose black and white are those of the value range, before the network sees it.

    Each channel becomes (x - mean) / std. Then red and blue change places where the network takes ``bgr``.

    Attributes:
      mean: of each channel of the image, red first, in values of the value range.
      std: standard deviation of each channel, likewise.
      bgr: whether the network takes, and puts out, blue first.
      output: whether the network's output is normalised like its input, so that it is turned back to the value range.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool = False
    output: bool = True

    def limits(self, value_range: _Range) -> _Range:
        """The least and the greatest value that an image has once it is normalised.

        >>> Normalization(mean=(0.5,), std=(0.25,)).limits((0.0, 1.0))
        (-2.0, 2.0)
        """
        low, high = value_range
        ends = [((low - mean) / std, (high - mean) / std) for mean, std in zip(self.mean, self.std, strict=True)]
        return min(low for low, _ in ends), max(high for _, high in ends)


def normalization(
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    *,
    bgr: bool,
    channels: int | None,
    output: bool,
) -> Normalization | None:
    """The normalisation of images of a number of channels.

    Args:
      mean: one number, or one for each channel; None for 0.
      std: one number, or one for each channel; None for 1.
      bgr: whether the network takes blue first.
      channels: of the images, without a noise level; None for vectors.
      output: see ``Normalization``.

    Returns:
      It; None where nothing is done.

    Raises:
      UsageError: it does not fit the number of channels.

    >>> normalization((0.5,), None, bgr=False, channels=3, output=True)
    Normalization(mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0), bgr=False, output=True)
    """
    if mean is None and std is None and not bgr:
        return None
    if channels is None:
        raise UsageError("--mean, --std and --bgr are for images; a model of vectors has a Normalization layer")
    if bgr and channels not in (3, 4):
        raise UsageError(f"--bgr is for images of 3 or 4 channels; the model's have {channels}")
    return Normalization(
        mean=_each("--mean", mean or (0.0,), channels),
        std=_each("--std", std or (1.0,), channels),
        bgr=bgr,
        output=output,
    )


def check_normalization(mean: tuple[float, ...] | None, std: tuple[float, ...] | None, value_range: _Range) -> None:
    """Check means and standard deviations against the range that they are of.

    Raises:
      UsageError: one is not finite or not positive, or none that values of the range can have.
    """
    low, high = value_range
    for flag, values in (("--mean", mean), ("--std", std)):
        if values is not None and not (values and all(isfinite(value) for value in values)):
            raise UsageError(f"{flag} {_shown(values)}: must be finite numbers")
    if std is not None and not all(0 < value <= high - low for value in std):
        raise UsageError(
            f"--std {_shown(std)}: must be above 0, and at most {high - low:g}, the width of --value-range "
            f"{low:g} {high:g}{_remedy(value_range)}"
        )
    if mean is not None and not all(low <= value <= high for value in mean):
        raise UsageError(
            f"--mean {_shown(mean)}: no mean of values of --value-range {low:g} {high:g}{_remedy(value_range)}"
        )


def preset_fields(name: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields that a preset stands for.

    Args:
      name: a key of ``PRESETS``.
      given: the fields that were given besides, by name.

    Raises:
      UsageError: there is no such preset, or a field is given that it says already.
    """
    if name not in PRESETS:
        raise UsageError(f"--preset {printable(name, 40)}: it is one of {', '.join(PRESETS)}")
    for field in ("value_range", "mean", "std", "bgr"):
        if given[field]:
            raise UsageError(f"--preset {name} says what --{field.replace('_', '-')} is; leave one of them out")
    return PRESETS[name]


def _each(flag: str, values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if len(values) not in (1, channels):
        raise UsageError(f"{flag} {_shown(values)}: {len(values)} numbers, and the images have {channels} channels")
    return values if len(values) == channels else values * channels


def _remedy(value_range: _Range) -> str:
    return "" if value_range != (0.0, 1.0) else "; give --value-range 0 255 where training had white at 255"


def _shown(values: tuple[float, ...]) -> str:
    return " ".join(printable(str(value), 40) for value in values)
