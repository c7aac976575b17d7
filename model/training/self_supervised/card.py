"""The model card of a denoiser that was trained without clean images: what it can promise, and what not."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lake.images.anscombe import PoissonGaussian
from lake.storage import join, put

if TYPE_CHECKING:
    from model.training.self_supervised.denoiser import TrainedOnNoise

CARD_FILE = "README.md"
CORRELATED = 0.1  # correlation of neighbours in the residual from which noise is said to be no white one


def write_card(output: str, trained: "TrainedOnNoise") -> None:
    """Write ``README.md`` beside a bundle."""
    lines = ["# Denoiser, trained without clean images", "", *(f"- {line}" for line in facts(trained)), ""]
    put(join(output, CARD_FILE), "\n".join(lines).encode())


def facts(trained: "TrainedOnNoise") -> list[str]:
    """What can be said of a denoiser, a sentence each, for the card and the command."""
    way = trained.way
    return [
        f"learnt by {way.name} from {trained.images:,} noisy images, best in step {trained.best.step:,}",
        f"holds if {way.assumes}, and its mean is zero; noise with a pattern is taken for the image",
        error_line(trained),
        correlation_line(trained.correlation),
        *levels_lines(trained),
        *camera_lines(trained.camera),
    ]


def error_line(trained: "TrainedOnNoise") -> str:
    """The validation figure in words."""
    error = trained.best.error or 0.0
    where = f"held-out images ({trained.held_out})"
    if trained.way.absolute and error < 0:
        return (
            f"{where}: what remains cannot be told, the estimate of its square is -({-error:.4g} of 255)^2; "
            "most likely the noise was said or estimated to be stronger than it is"
        )
    if trained.way.absolute:
        noise = f", of noise of {trained.levels[1]:.4g}" if trained.levels else ""
        return f"{where}: about {error:.4g} of 255 remain{noise} (root mean square, told without clean images)"
    return f"{where}: hidden pixels are missed by {error:.4g} of 255 (root mean square), their own noise included"


def correlation_line(correlation: Sequence[float]) -> str:
    """How white the removed noise is, in words, and what to do if it is not."""
    across, down = correlation
    said = f"neighbours in what is removed correlate by {across:.2f} in a row and {down:.2f} in a column"
    if max(abs(across), abs(down)) < CORRELATED:
        return f"{said}: as of noise that is independent in each pixel"
    return f"{said}: structure is removed, or the noise is not independent in each pixel; compare by eye before use"


def camera_lines(camera: PoissonGaussian | None) -> list[str]:
    """The noise of photons that was made white, in words.

    >>> camera_lines(PoissonGaussian(gain=2.2, read_noise=3.3, black_level=100))[0]
    'noise of photons is made white first, of gain 2.2, read noise 3.3 and black level 100; levels are those after that'
    """
    if camera is None:
        return []
    said = f"gain {camera.gain:.4g}, read noise {camera.read_noise:.4g} and black level {camera.black_level:.4g}"
    return [f"noise of photons is made white first, of {said}; levels are those after that"]


def levels_lines(trained: "TrainedOnNoise") -> list[str]:
    """The noise levels that it has seen, in words."""
    if not trained.way.told:
        return ["it is told no noise level, and fits images with the noise of those that it was trained on"]
    low, median, high = trained.levels
    return [f"noise levels seen: {low:.4g} to {high:.4g}, half of them below {median:.4g} (white is 255)"]
