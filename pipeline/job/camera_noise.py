"""Settle what a user says of a camera's noise."""

from typing import TYPE_CHECKING

from lake.core.choices import quoted
from lake.core.errors import UsageError
from lake.images.anscombe import PoissonGaussian
from lake.images.types import Alpha
from pipeline.options.image_flags import ESTIMATE, POISSON_GAUSSIAN
from pipeline.options.values import CameraNoise

if TYPE_CHECKING:
    from model.spec import Spec
    from pipeline.options.job_options import JobOptions


def camera_noise(options: "JobOptions", spec: "Spec") -> CameraNoise | None:
    """Settle what is said of Poisson-Gaussian noise.

    Args:
      options: the options of the job.
      spec: the model's description.

    Returns:
      The noise, where neither gain nor read noise is said that of the model, if it has one; None for a job that takes
      noise for Gaussian.

    Raises:
      UsageError: options contradict each other or the model, or a value is out of its range.
    """
    given = {"--gain": options.gain, "--read-noise": options.read_noise}
    learned = _learned(options, spec)
    if options.noise != POISSON_GAUSSIAN and learned is None:
        black = {"--black-level": options.black_level or None}
        if others := [flag for flag, value in {**given, **black}.items() if value is not None]:
            raise UsageError(f"{others[0]} is for photons: add --noise {POISSON_GAUSSIAN}, or leave it out")
        return None
    if options.noise_level is not None:
        raise UsageError(
            f"--noise {POISSON_GAUSSIAN} has no one level: give --gain and --read-noise instead of --noise-level, or "
            "leave all of them out to estimate them"
        )
    gain, read_noise = (_number(flag, value) for flag, value in given.items())
    if (gain is None) != (read_noise is None):
        raise UsageError("--gain and --read-noise are given or estimated together: add the other, or leave both out")
    if gain is not None and gain <= 0:
        raise UsageError(f"--gain {options.gain} is not above 0; for noise that does not grow with light --noise-level")
    if learned is not None and options.gain is None and options.read_noise is None:
        black_level = options.black_level or learned.black_level
        return CameraNoise(gain=learned.gain, read_noise=learned.read_noise, black_level=black_level)
    if spec.input.shape[2] == 2 and options.alpha is Alpha.LAST:  # for the transform these are grey and alpha
        raise UsageError(
            f"--noise {POISSON_GAUSSIAN} is not for models of two channels; give --noise-level, or --alpha "
            "auto where both are data"
        )
    return CameraNoise(gain=gain, read_noise=read_noise, black_level=options.black_level)


def _learned(options: "JobOptions", spec: "Spec") -> PoissonGaussian | None:
    """The camera whose noise was made white when the model learned; None where a level says that noise is white now."""
    noise = spec.input.noise
    return None if noise is None or options.noise_level is not None else noise.camera


def _number(flag: str, value: str | None) -> float | None:
    """A number of at least 0; None where it is to be estimated."""
    if value in (None, ESTIMATE):
        return None
    try:
        number = float(str(value))
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise UsageError(f"{flag} {quoted(value)} is neither a number of at least 0 nor '{ESTIMATE}'")
    return number
