"""Planted outliers that distances of latents find: which neighbour's distance is the score.

    python -m benchmarks.outliers --data DIR

``--data`` is a directory with ``mnist``. Writes ``benchmarks/results/outliers.md``.
"""

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.process import HERE
from benchmarks.quality.place import Place
from harness.machine import machine, on_machine
from lake.core.records import Array
from model.bundle import Bundle
from model.runtime.runtime import Runtime
from pipeline.explore.nearest import Metric, exact_distances, find_nearest

ZOO, MODEL = HERE.parent / "model/zoo", "mnist-autoencoder"
DIGITS, PLANTED, FIRST, AT_ONCE = 9_980, 20, 25, 512


def _column(number: int, near: Array) -> Array:
    return near[:, number]


SCORES: Mapping[str, Callable[[Array], Array]] = {  # of distances to the nearest 100, ascending
    "mean of 10": lambda near: near[:, :10].mean(1),
    "mean of 20": lambda near: near[:, :20].mean(1),
    "mean of 100": lambda near: near.mean(1),
    **{f"the {k}th": partial(_column, k - 1) for k in (10, 20, 30, 100)},
}


def main() -> None:
    """Plant each kind among the digits, and write how many are among the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with mnist")
    digits = np.stack(Place(data=parser.parse_args().data, zoo=ZOO).images("mnist", "test")[0][:DIGITS])
    runtime, kinds = Runtime.load(Bundle.open(str(ZOO / MODEL))), planted(digits, np.random.default_rng(0))
    plain = encoded(runtime, digits)
    found = {kind: among_first(np.concatenate([plain, encoded(runtime, images)])) for kind, images in kinds.items()}
    lines = [f"| score | {' | '.join(kinds)} |", f"|---|{'---|' * len(kinds)}"]
    lines += [f"| {score} | {' | '.join(str(found[kind][score]) for kind in kinds)} |" for score in SCORES]
    head = [
        "# Planted outliers, by latents",
        "",
        f"{PLANTED} images of a kind among {DIGITS:,} digits of MNIST, latents of `zoo:{MODEL}`: how many of them are",
        f"among the first {FIRST} by the distance to neighbours. `python -m benchmarks.outliers`",
        "",
        on_machine(machine()),
        "",
    ]
    (HERE / "results/outliers.md").write_text("\n".join([*head, *lines, ""]))


def planted(digits: Array, rng: np.random.Generator) -> Mapping[str, Array]:
    """Images that are no digits, or odd ones, uint8 ``[PLANTED, 28, 28]`` of each kind."""
    shape = (PLANTED, 28, 28)
    blocks = rng.integers(0, 2, (PLANTED, 7, 7), np.uint8) * 255
    specks, values = rng.random(shape) < 0.3, rng.integers(0, 2, shape, np.uint8) * 255
    return {
        "noise": rng.integers(0, 256, shape, np.uint8),
        "inverted": 255 - digits[:PLANTED],
        "blank": np.zeros(shape, np.uint8),
        "white": np.full(shape, 255, np.uint8),
        "blocks": blocks.repeat(4, axis=1).repeat(4, axis=2),
        "two digits": np.maximum(digits[100 : 100 + PLANTED], digits[200 : 200 + PLANTED]),
        "salt and pepper": np.where(specks, values, digits[300 : 300 + PLANTED]),
        "on their side": np.rot90(digits[400 : 400 + PLANTED], axes=(1, 2)),
    }


def encoded(runtime: Runtime, images: Array) -> Array:
    """Latents float32 ``[n, D]``."""
    parts = np.array_split(images[..., None], -(-len(images) // AT_ONCE))
    return np.concatenate([runtime.encode(part) for part in parts])


def among_first(latents: Array) -> Mapping[str, int]:
    """By each score, how many of the last ``PLANTED`` are among the ``FIRST``."""
    norms = np.einsum("nd,nd->n", latents, latents)
    near = []
    for start in range(0, len(latents), AT_ONCE):
        some = latents[start : start + AT_ONCE]
        positions, _ = find_nearest(latents, norms, some, 101, Metric.L2)
        near.append(np.sort(exact_distances(some[:, None], latents[positions], Metric.L2), axis=1)[:, 1:])
    scores = {name: score(np.concatenate(near)) for name, score in SCORES.items()}
    last = len(latents) - PLANTED
    return {name: int((np.argsort(-one, kind="stable")[:FIRST] >= last).sum()) for name, one in scores.items()}


if __name__ == "__main__":
    main()
