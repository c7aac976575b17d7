"""Numbers in words: the filters of the templates. What they return is text, which the templates escape."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lake.core.records import Array
from pipeline.report.distributions import Histogram
from pipeline.report.facts import TimingFacts
from pipeline.report.headline import without_text
from pipeline.report.shown import Picture

_PIXELATED = 96  # pixels: images up to this side are enlarged without smoothing
_SOME = 100  # numbers of a list that are shown
_METHODS = {"pca": "principal components", "pacmap": "PaCMAP"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """A bar of a histogram; ``reference`` is the share of the other side."""

    low: float
    high: float
    count: int
    share: float
    reference: float


def in_figures(value: float) -> str:
    """A number with four digits.

    >>> [in_figures(value) for value in (0.031249, 14.0, 12345.6, 1e-9, float("nan"))]
    ['0.03125', '14', '12,346', '1e-09', 'none']
    """
    if not math.isfinite(value):
        return "none"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def in_percent(value: float) -> str:
    """A share in percent. What is not zero is not shown as zero.

    >>> [in_percent(value) for value in (0.0, 0.00001, 0.00283, 0.249, 0.9999, 1.0)]
    ['0%', '<0.01%', '0.28%', '24.9%', '>99.9%', '100%']
    """
    if 0 < value < 0.0001:
        return "<0.01%"
    if 0.999 < value < 1:
        return ">99.9%"
    return f"{100 * value:.3g}%" if value >= 0.1 else f"{100 * value:.2g}%"


def in_change(value: float) -> str:
    """A relative change.

    >>> in_change(0.04), in_change(-0.5), in_change(0.0)
    ('4% higher', '50% lower', 'the same')
    """
    return f"{in_percent(abs(value))} {'higher' if value > 0 else 'lower'}" if value else "the same"


def in_time(seconds: float) -> str:
    """A time.

    >>> in_time(0.25), in_time(75), in_time(7384)
    ('0.25 s', '1 min 15 s', '2 h 3 min')
    """
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def bins(histogram: Histogram) -> Iterator[Bin]:
    """The bars of a histogram."""
    edges, counts = histogram.edges.tolist(), histogram.counts.tolist()
    total = sum(counts) or 1
    references = [0.0] * len(counts) if histogram.reference is None else histogram.reference.tolist()
    for low, high, count, reference in zip(edges[:-1], edges[1:], counts, references, strict=True):
        yield Bin(low=low, high=high, count=count, share=count / total, reference=reference)


def spoken_histogram(histogram: Histogram) -> str:
    """A histogram for a reader of screens: its range, and where most of it is."""
    if not histogram.counts.any():
        return f"Histogram: {histogram.name}, no records"
    most = max(bins(histogram), key=lambda bar: bar.count)
    ends = in_figures(float(histogram.edges[0])), in_figures(float(histogram.edges[-1]))
    return (
        f"Histogram: {histogram.name} from {ends[0]} to {ends[1]}; "
        f"most records, {most.count:,}, are between {in_figures(most.low)} and {in_figures(most.high)}"
    )


def spoken_dimensions(values: Array, name: str) -> str:
    """One number for each dimension, for a reader of screens."""
    low, high = (in_figures(float(end)) for end in (values.min(), values.max()))
    return f"{name} of each of {len(values):,} dimensions, from {low} to {high}"


def spoken_rate(timing: TimingFacts) -> str:
    """The rate over time, for a reader of screens."""
    rates = timing.rates
    return (
        f"Records per second over {in_time(float(timing.seconds[-1]))}: from {rates.min():,.0f} to {rates.max():,.0f}"
    )


def is_small(picture: Picture) -> bool:
    """Whether an image is so small that its pixels are shown as squares."""
    return max(picture.width, picture.height) <= _PIXELATED


def some_of(numbers: Sequence[int]) -> str:
    """The first numbers of a list.

    >>> some_of(range(102))[-21:]
    '97, 98, 99 and 2 more'
    """
    more = f" and {len(numbers) - _SOME:,} more" if len(numbers) > _SOME else ""
    return ", ".join(map(str, numbers[:_SOME])) + more


WORDS: Mapping[str, Callable[..., Any]] = {
    "auc": lambda value: f"{value:.3f}",
    "bins": bins,
    "change": in_change,
    "count": lambda value: f"{value:,}",
    "figure": in_figures,
    "method": lambda name: _METHODS.get(name, name),
    "seconds": in_time,
    "share": in_percent,
    "small": is_small,
    "some": some_of,
    "spoken": spoken_histogram,
    "spoken_dimensions": spoken_dimensions,
    "spoken_rate": spoken_rate,
    "width": lambda share: f"{100 * min(max(share, 0.0), 1.0):.2f}%",
    "without": without_text,
}
