"""The command ``latentlake train --kind denoiser --self-supervised``: its progress and its result."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from model.cli.training_progress import step_text

if TYPE_CHECKING:
    from model.training.self_supervised.course import NoisyReport
    from model.training.self_supervised.denoiser import TrainedOnNoise


def step_line(report: "NoisyReport", steps: int) -> str:
    """One report as a line of a log."""
    held_out = "" if report.error is None else f"{report.error:.4g} of 255"
    return step_text(report, steps, f"{report.loss:.4f}", held_out)


def value_of(trained: "TrainedOnNoise") -> dict[str, object]:
    """The result as JSON values, besides those of the bundle."""
    return {
        "way": trained.way.name,
        "assumption": trained.way.assumes,
        "images": trained.images,
        "held_out": trained.held_out,
        "best_step": trained.best.step,
        "loss": trained.best.loss,
        "error": trained.best.error,
        "residual_correlation": list(trained.correlation),
        **({"noise_levels": list(trained.levels)} if trained.levels else {}),
        **({} if trained.camera is None else {"camera": asdict(trained.camera)}),
        "operations_per_pixel": trained.operations,
        "seconds": trained.reports[-1].seconds,
        **({"interrupted": True} if trained.interrupted else {}),
    }


def next_options(trained: "TrainedOnNoise") -> str:
    """What the job is told besides input, model and output."""
    told = trained.way.told and trained.camera is None  # a bundle knows its camera
    return f" --noise-level {trained.levels[1]:.4g}" if told else ""
