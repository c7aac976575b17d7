"""What ``denoise --ensemble`` gains: the zoo's denoiser on BSD68, by the symmetries that an image is shown by.

    python -m benchmarks.ensemble --data DIR [--level 25]

``--data`` and the protocol are those of ``benchmarks.quality``. Writes ``benchmarks/results/ensemble.md``. Every image
is shown once by each symmetry, and the ensembles are means of these, so that all are of the same noise. One of N takes
N times as long.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.process import HERE
from benchmarks.quality import Place, psnr
from harness.machine import machine, on_machine
from lake.core.records import Array
from model.bundle import Bundle
from model.runtime.runtime import Runtime
from model.symmetries import ENSEMBLES, Symmetry
from model.tiles import padded

_TRIED: dict[str, Sequence[Symmetry]] = {
    "1": ENSEMBLES[1],
    "2: and mirrored": (Symmetry(), Symmetry(mirrored=True)),
    "2: and turned by 180 degrees": (Symmetry(), Symmetry(turns=2)),
    "4: mirrored left to right, top to bottom, and both": [
        Symmetry(mirrored=mirrored, turns=turns) for mirrored in (False, True) for turns in (0, 2)
    ],
    "4: turned by quarters (`--ensemble 4`)": ENSEMBLES[4],
    "8: all (`--ensemble 8`)": ENSEMBLES[8],
}


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--level", type=float, default=25)
    given = parser.parse_args()
    runtime = Runtime.load(Bundle.open("zoo:denoiser-gray"))
    images = Place(data=given.data, zoo=HERE.parent / "model/zoo").images("bsd68")[0]
    rows = []
    for number, image in enumerate(images):
        rows.append(_ratios(runtime, image, given.level / 255, number))
        print(number + 1, np.mean(rows, axis=0).round(3), file=sys.stderr, flush=True)
    found = np.mean(rows, axis=0)
    lines = ["# What an ensemble gains", "", on_machine(machine()), ""]
    lines += [f"zoo:denoiser-gray on {len(images)} images of BSD68 at noise {given.level:g}, mean PSNR in dB.", ""]
    lines += ["| times that an image is shown | PSNR | gain |", "|---|---|---|"]
    lines += [f"| {name} | {one:.3f} | {one - found[0]:+.3f} |" for name, one in zip(_TRIED, found, strict=True)]
    (HERE / "results/ensemble.md").write_text("\n".join([*lines, ""]))


def _ratios(runtime: Runtime, image: Array, level: float, number: int) -> list[float]:
    """PSNR of each of ``_TRIED``."""
    noise = np.random.default_rng([0, number]).standard_normal(image.shape, np.float32)
    noisy = (image / np.float32(255) + noise * np.float32(level))[None, ..., None]
    given, told = padded(noisy, runtime.spec.input.multiple), np.full(1, level, np.float32)
    made = {one: one.turned_back(runtime.restore(one.shown(given), told)) for one in ENSEMBLES[8]}
    height, width = image.shape
    means = [np.mean([made[one] for one in some], axis=0)[0, :height, :width, 0] for some in _TRIED.values()]
    return [psnr(mean.clip(0, 1), image) for mean in means]


if __name__ == "__main__":
    main()
