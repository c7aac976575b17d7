"""The options of a training without clean images."""

from dataclasses import dataclass
from math import isfinite

from lake.core.errors import UsageError
from model.training.options import DenoiserOptions

ESTIMATED = "estimate"  # in place of a noise level: that of each image is estimated
_LARGEST = 255.0  # noise level, where white is 255


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfSupervisedOptions(DenoiserOptions):
    """Everything that a training without clean images depends on, besides what every training of a denoiser has.

    Attributes:
      pairs: URIs of second shots of the images of ``inputs``, in shards with the same names and keys; () for none.
      noise_level: standard deviation of the noise, where white is 255; 'estimate' for that of each image; None if it is
        not known.
      patience: measurements on held-out images without a better result before the training stops.

    Raises:
      UsageError: pairs and a noise level are given both, or the level is out of range.
    """

    pairs: tuple[str, ...] = ()
    noise_level: float | str | None = None
    patience: int = 10

    def __post_init__(self) -> None:
        DenoiserOptions.__post_init__(self)  # super() does not know a class with slots
        if self.pairs and self.noise_level is not None:
            raise UsageError(
                "--noise-level and --pairs: a pair of shots tells its own noise level; leave out one of them"
            )
        level = self.noise_level
        if isinstance(level, (int, float)) and not (isfinite(level) and 0 < level <= _LARGEST):
            raise UsageError(f"--noise-level {level:g}: above 0 and at most {_LARGEST:g}, where white is 255")
        if isinstance(level, str) and level != ESTIMATED:
            raise UsageError(f"--noise-level {level}: a number, or '{ESTIMATED}'")
