"""The options of a training without clean images."""

from dataclasses import dataclass
from math import isfinite

from lake.cli.options import GAUSSIAN, POISSON_GAUSSIAN
from lake.core.errors import UsageError
from model.training.options import DenoiserOptions

ESTIMATED = "estimate"  # in place of a noise level: that of each image is estimated
_LARGEST = 255.0  # noise level, where white is 255


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfSupervisedOptions(DenoiserOptions):
    """Everything that a training without clean images depends on, besides what every training of a denoiser has.

    Attributes:
      pairs: URIs of second shots of the images of ``inputs``, in shards with the same names and keys; () for none.
      pairs_by: column of the images of ``inputs`` whose value two shots of one scene have in common; None for none.
      noise_level: standard deviation of the noise, where white is 255; 'estimate' for that of each image; None if it is
        not known.
      noise: 'gaussian', or 'poisson-gaussian' for that of photons and electronics, which is made white first.
      gain: with the latter, numbers of a pixel for each electron; None to estimate it over all images.
      read_noise: standard deviation without light, in numbers of a pixel; None likewise.
      black_level: mean without light, in numbers of a pixel.
      patience: measurements on held-out images without a better result before the training stops.

    Raises:
      UsageError: what is said of the noise does not fit together, or a value is out of range.
    """

    pairs: tuple[str, ...] = ()
    pairs_by: str | None = None
    noise_level: float | str | None = None
    noise: str = GAUSSIAN
    gain: float | None = None
    read_noise: float | None = None
    black_level: float = 0.0
    patience: int = 10

    def __post_init__(self) -> None:
        DenoiserOptions.__post_init__(self)  # super() does not know a class with slots
        if self.pairs and self.pairs_by is not None:
            raise UsageError(
                "--pairs and --pairs-by: second shots are elsewhere or in the input; leave out one of them"
            )
        if self.paired and self.noise_level is not None:
            flag = "--pairs" if self.pairs else "--pairs-by"
            raise UsageError(
                f"--noise-level and {flag}: a pair of shots tells its own noise level; leave out one of them"
            )
        level = self.noise_level
        if isinstance(level, (int, float)) and not (isfinite(level) and 0 < level <= _LARGEST):
            raise UsageError(f"--noise-level {level:g}: above 0 and at most {_LARGEST:g}, where white is 255")
        if isinstance(level, str) and level != ESTIMATED:
            raise UsageError(f"--noise-level {level}: a number, or '{ESTIMATED}'")
        self._check_photons()

    @property
    def paired(self) -> bool:
        """Whether there are two shots of a scene."""
        return bool(self.pairs) or self.pairs_by is not None

    @property
    def photons(self) -> bool:
        """Whether the noise is that of photons."""
        return self.noise == POISSON_GAUSSIAN

    def _check_photons(self) -> None:
        if self.noise not in (GAUSSIAN, POISSON_GAUSSIAN):
            raise UsageError(f"--noise {self.noise}: '{GAUSSIAN}' or '{POISSON_GAUSSIAN}'")
        given = {"--gain": self.gain, "--read-noise": self.read_noise, "--black-level": self.black_level or None}
        for flag, value in ((flag, value) for flag, value in given.items() if value is not None):
            if not self.photons:
                raise UsageError(f"{flag} is for photons: add --noise {POISSON_GAUSSIAN}, or leave it out")
            if not isfinite(value) or (value < 0 and flag != "--black-level") or (value == 0 and flag == "--gain"):
                raise UsageError(f"{flag} {value:g}: a finite number, of a gain above 0, of a read noise at least 0")
        if (self.gain is None) != (self.read_noise is None):
            raise UsageError(
                "--gain and --read-noise are given or estimated together: add the other, or leave both out"
            )
        if self.photons and self.noise_level is not None:
            raise UsageError(f"--noise {POISSON_GAUSSIAN} has no one level: leave out --noise-level")
