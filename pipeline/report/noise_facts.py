"""The noise levels that a denoiser was told, against those that its model was trained with."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lake.core.errors import LatentlakeError
from lake.core.printable import printable
from pipeline.explore.committed import Committed
from pipeline.options.image_flags import ESTIMATE, POISSON_GAUSSIAN
from pipeline.report.distributions import Histogram, NoiseFacts
from pipeline.report.survey import Survey

_BINS = 40
_TEXT = 60  # characters


def noise_facts(committed: Committed, found: Survey) -> NoiseFacts | None:
    """What the page shows of the noise levels; None where the model was told none.

    Args:
      committed: the output.
      found: survey of it.
    """
    levels = found.numbers.get("noise_level", np.empty(0))
    levels = levels[np.isfinite(levels)]
    if not len(levels):
        return None
    trained = _trained(committed)
    low, high = min(levels.min(), *(trained or (levels.min(),))), max(levels.max(), *(trained or (levels.max(),)))
    counts, edges = np.histogram(levels, np.linspace(float(low), max(float(high), float(low) + 1), _BINS + 1))
    below, above = (0, 0) if trained is None else (int((levels < trained[0]).sum()), int((levels > trained[1]).sum()))
    how = _how(committed.job["settings"])
    histogram = Histogram(name="noise level (white is 255)", edges=edges, counts=counts)
    outside = (below + above) / len(levels)
    return NoiseFacts(histogram=histogram, trained=trained, outside=outside, below=below, above=above, how=how)


def _how(settings: Mapping[str, Any]) -> str:
    """Where the levels are from."""
    given = str(settings.get("noise_level"))
    if settings.get("noise") == POISSON_GAUSSIAN:
        return "after photon noise was made white"
    return "estimated" if given == ESTIMATE else "given" if _is_number(given) else f"column {printable(given, _TEXT)}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _trained(committed: Committed) -> tuple[float, float] | None:
    """The range of noise levels that the model was trained with, by its bundle."""
    from model.bundle import Bundle

    try:
        return Bundle.open(committed.layout.model(committed.job["options"]["model_digest"])).spec.noise_range
    except (LatentlakeError, OSError, KeyError):
        return None
