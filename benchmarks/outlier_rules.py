"""From which distance on a latent is that of an outlier: what rules count of planted images, and of plain ones.

    python -m benchmarks.outlier_rules --data DIR

``--data`` is a directory with ``mnist`` and ``cifar10``. Writes ``benchmarks/results/outlier_rules.md``.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.outliers import ZOO, encoded
from benchmarks.process import HERE
from benchmarks.quality.place import Place
from harness.machine import machine, on_machine
from lake.core.records import Array
from model.bundle import Bundle
from model.runtime.runtime import Runtime
from pipeline.explore.nearest import Metric, exact_distances, find_nearest
from pipeline.report.fences import fence_scores, widest_gaps
from pipeline.report.unusual import FENCE

MODELS, KEPT, MOST, AT_ONCE = ("mnist-autoencoder", "mnist-vae"), 1800, 2000, 512  # images: of a set, and to plant
PLAIN, GROUPS = {500: 8, 1000: 4}, (5, 20, 60)  # sets of each size in which nothing is planted
ABOUT = (
    "Outliers per 10,000 in 500 and 1,000 images of MNIST and of CIFAR-10 (grey, in 28 x 28) in which nothing is",
    "planted, and the share that is counted of 5, 20 and 60 planted images of a kind: noise, inverted, blank, white,",
    "grey, of the other set, with salt and pepper, on their side. Some cannot be told from their latents at all, such",
    "as grey ones among photographs. A gap is that between two neighbours of a record, from the 5th to the 100th: the",
    "ratio of their distances. By latents of both encoders of the zoo. `python -m benchmarks.outlier_rules`",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distances:
    """Of each latent, float64 ``[n]``: to its 30th and 100th neighbour, the former to its neighbours' own, the gap."""

    near: Array
    far: Array
    ratio: Array
    gap: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Latents in which nothing is planted, or some that are the last ones."""

    set: str
    size: int
    planted: int
    distances: Distances


def medcouple(values: Array) -> float:
    """The skewness of numbers (Brys, Hubert and Struyf 2004), of at most 2,000 of them."""
    some = np.sort(values)[:: max(1, len(values) // 2000)]
    middle = np.median(some)
    above, below = some[some >= middle][:, None] - middle, middle - some[some <= middle][None]
    apart = above + below
    return float(np.median(np.where(apart > 0, (above - below) / np.where(apart > 0, apart, 1), 0)))


def adjusted(values: Array, fence: float) -> Array:
    """The boxplot of Hubert and Vandervieren 2008."""
    skew = medcouple(values)
    return np.asarray(fence_scores(values) > fence * np.exp((3 if skew >= 0 else 4) * skew))


def upper_half(values: Array, fence: float) -> Array:
    """Tukey's fence, with twice the range above the median in place of the range of the quartiles."""
    middle, high = np.percentile(values, (50, 75))
    return np.asarray(values > high + fence * 2 * (high - middle))


def from_median(values: Array, deviations: float) -> Array:
    """Robust deviations (MAD) above the median."""
    middle = np.median(values)
    return np.asarray(values > middle + deviations * 1.4826 * np.median(np.abs(values - middle)))


def exponential(values: Array, expected: float) -> Array:
    """Above what a tail that is exponential from the third quartile on exceeds so often among all."""
    low, high = np.percentile(values, (75, 95))
    return np.asarray(values > low + (high - low) / np.log(5) * np.log(0.25 * len(values) / expected))


def beyond_gap(values: Array, width: float) -> Array:
    """Above the first gap in the highest 15% that is so many interquartile ranges wide."""
    tail = np.sort(values)[int(0.85 * len(values)) :]
    low, high = np.percentile(values, (25, 75))
    wide = np.flatnonzero(np.diff(tail) > width * (high - low))
    return np.asarray(values > (tail[wide[0]] if len(wide) else np.inf))


def chosen(found: Distances, beyond: float) -> Array:
    """What a report does; ``beyond`` is the least fence of the 100th neighbour's distance where there is a gap."""
    far = fence_scores(found.far)
    return np.asarray((fence_scores(found.near) > FENCE) | (far > 5) | ((found.gap > 1.4) & (far > beyond)))


RULES: Mapping[str, Callable[[Distances], Array]] = {
    "Tukey's fence of 3 quartile distances, 30th neighbour": lambda d: fence_scores(d.near) > FENCE,
    "of 2.5": lambda d: fence_scores(d.near) > 2.5,
    "of 3, of logarithms": lambda d: fence_scores(np.log(d.near + 1e-9)) > FENCE,
    "of 3, ratio to the neighbours' distances": lambda d: fence_scores(d.ratio) > FENCE,
    "adjusted by the medcouple, 1.5": lambda d: adjusted(d.near, 1.5),
    "adjusted by the medcouple, 3": lambda d: adjusted(d.near, 3),
    "twice the range above the median, 3": lambda d: upper_half(d.near, 3),
    "5 robust deviations": lambda d: from_median(d.near, 5),
    "exponential tail, 0.1 expected": lambda d: exponential(d.near, 0.1),
    "a gap of 0.5 quartile distances": lambda d: beyond_gap(d.near, 0.5),
    "3, or such a gap": lambda d: (fence_scores(d.near) > FENCE) | beyond_gap(d.near, 0.5),
    "3, 100th neighbour": lambda d: fence_scores(d.far) > FENCE,
    "3, or 4 of the 100th": lambda d: (fence_scores(d.near) > FENCE) | (fence_scores(d.far) > 4),
    "3, or 5 of the 100th": lambda d: (fence_scores(d.near) > FENCE) | (fence_scores(d.far) > 5),
    "3, or 5 of the 100th, or a gap of 1.4": lambda d: chosen(d, 0.0),
    "**3, or 5 of the 100th, or 1.5 of it and a gap of 1.4**": lambda d: chosen(d, 1.5),
}


def small(photographs: list[Array]) -> Array:
    """Grey photographs in the size of digits, uint8 ``[n, 28, 28]``."""
    return np.stack(
        [np.asarray(Image.fromarray(one).resize((28, 28), Image.Resampling.BICUBIC)) for one in photographs]
    )


def odd(images: Array, other: Array) -> Mapping[str, Array]:
    """Images that are none of a set, uint8 ``[60, 28, 28]`` of each kind, made of 200 of it and of the other one."""
    rng, count = np.random.default_rng(0), max(GROUPS)
    shape = (count, 28, 28)
    specks, values = rng.random(shape) < 0.3, rng.integers(0, 2, shape, np.uint8) * 255
    return {
        "noise": rng.integers(0, 256, shape, np.uint8),
        "inverted": 255 - images[:count],
        "blank": np.zeros(shape, np.uint8),
        "white": np.full(shape, 255, np.uint8),
        "grey": 128 + rng.integers(0, 3, shape, np.uint8),
        "of the other set": other[:count],
        "salt and pepper": np.where(specks, values, images[count : 2 * count]),
        "on their side": np.rot90(images[2 * count : 3 * count], axes=(1, 2)),
    }


def distances(latents: Array) -> Distances:
    """As a report measures them."""
    norms, near, positions = np.einsum("nd,nd->n", latents, latents), [], []
    for start in range(0, len(latents), AT_ONCE):
        some = latents[start : start + AT_ONCE]
        found, _ = find_nearest(latents, norms, some, 101, Metric.L2)
        apart = exact_distances(some[:, None], latents[found], Metric.L2)
        order = np.argsort(apart, axis=1)
        near.append(np.take_along_axis(apart, order, 1))
        positions.append(np.take_along_axis(found, order, 1)[:, 1:31])
    ranked, around = np.concatenate(near), np.concatenate(positions)
    mean = ranked[around, 30].mean(1)
    ratio = ranked[:, 30] / np.maximum(mean, 1e-9)
    return Distances(near=ranked[:, 30], far=ranked[:, 100], ratio=ratio, gap=widest_gaps(ranked[:, 5:]))


def cases(name: str, latents: Array, planted: Mapping[str, Array]) -> Iterator[Case]:
    """Plain parts of a set, and such with 5, 20 and 60 of each kind.

    Args:
      name: of the set.
      latents: of its images.
      planted: latents of at least 60 images of each kind.
    """
    generator = np.random.default_rng(1)
    for size, times in PLAIN.items():
        for _ in range(times):
            part = latents[generator.permutation(len(latents))[:size]]
            yield Case(set=name, size=size, planted=0, distances=distances(part))
        for kind in planted.values():
            for count in GROUPS:
                mixed = np.concatenate([part, kind[:count]])
                yield Case(set=name, size=size, planted=count, distances=distances(mixed))


def measured(place: Place) -> Iterator[Case]:
    """All cases, of both sets and by both encoders of the zoo."""
    digits, photographs = (place.images(name, "test")[0][:MOST] for name in ("mnist", "cifar10"))
    sets = {"MNIST": np.stack(digits), "CIFAR-10": small(photographs)}
    runtimes = [Runtime.load(Bundle.open(str(ZOO / name))) for name in MODELS]
    for (name, images), other in zip(sets.items(), reversed(sets.values()), strict=True):
        for runtime in runtimes:
            planted = {kind: encoded(runtime, some) for kind, some in odd(images[KEPT:], other[KEPT:]).items()}
            yield from cases(name, encoded(runtime, images[:KEPT]), planted)


def table(found: list[Case]) -> Iterator[str]:
    """Lines of Markdown: what each rule counts."""
    columns = [(name, size) for name in dict.fromkeys(case.set for case in found) for size in PLAIN]
    heads = [*(f"{name}, {size:,}" for name, size in columns), *(f"{count} planted" for count in GROUPS)]
    yield f"| rule | {' | '.join(heads)} |"
    yield "|---|" + "---|" * len(heads)
    plain = [[case for case in found if not case.planted and (case.set, case.size) == column] for column in columns]
    mixed = [[case for case in found if case.planted == count] for count in GROUPS]
    for rule, counted in RULES.items():
        false = [1e4 * np.mean(np.concatenate([counted(case.distances) for case in some])) for some in plain]
        right = [np.mean([counted(case.distances)[-case.planted :].mean() for case in some]) for some in mixed]
        yield f"| {rule} | {' | '.join(f'{x:.1f}' for x in false)} | {' | '.join(f'{x:.0%}' for x in right)} |"


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with mnist and cifar10")
    found = list(measured(Place(data=parser.parse_args().data, zoo=ZOO)))
    head = ["# From which distance on a latent is an outlier", "", *ABOUT, "", on_machine(machine()), ""]
    (HERE / "results/outlier_rules.md").write_text("\n".join([*head, *table(found), ""]))


if __name__ == "__main__":
    main()
