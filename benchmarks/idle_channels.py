"""How many channels of a denoiser's blocks are hardly ever active on noisy photographs.

    python -m benchmarks.idle_channels --data DIR NAME=BUNDLE ...

``--data`` is a directory with ``bsd400``. Writes ``benchmarks/results/idle_channels.md``, a row for each bundle.
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks.process import HERE
from harness.machine import machine, on_machine
from lake.formats.reader import ColumnSelection
from model.bundle import Bundle
from model.keras.bundled import load_bundled
from model.training.crops import BATCH, Images, iter_images, load_images, noisy_crops
from model.training.recycle import idle_channels

_BATCHES, _SIDE = 16, 64


def main() -> None:
    """Count the channels of each block, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with bsd400")
    parser.add_argument("bundles", nargs="+", metavar="NAME=BUNDLE")
    given = parser.parse_args()
    rows = [_row(name, bundle, given.data) for name, bundle in (one.split("=", 1) for one in given.bundles)]
    blocks = len(rows[0].split("|")) - 4
    head = [
        "# Idle channels",
        "",
        "Channels of a denoiser's residual blocks that the ReLU makes 0 at more than 999 of 1,000 positions, of",
        f"{_BATCHES * BATCH} crops of BSD400 of {_SIDE} x {_SIDE} pixels with noise of 0 to 75: idle of all, block by",
        "block from the first to the last. `python -m benchmarks.idle_channels`",
        "",
        on_machine(machine()),
        "",
        f"| network | {' | '.join(f'{number + 1}' for number in range(blocks))} | all |",
        f"|---|{'---|' * blocks}---|",
    ]
    (HERE / "results/idle_channels.md").write_text("\n".join([*head, *rows, ""]))


def _row(name: str, uri: str, data: Path) -> str:
    bundle = Bundle.open(uri)
    images = _images(data, bundle.spec.input.shape[2])
    idle = idle_channels(load_bundled(bundle), *noisy_crops(images.training, _SIDE, 0, range(_BATCHES)))
    every = np.concatenate(idle)
    cells = [f"{block.sum()}/{len(block)}" for block in idle]
    return f"| {name} | {' | '.join(cells)} | {every.sum()} of {len(every):,} |"


def _images(data: Path, channels: int) -> Images:
    policy = {"color": "convert"} if channels == 1 else {}
    columns = ColumnSelection(carry=())
    shards = (f"{data}/bsd400/*.parquet",)
    return load_images(
        iter_images(shards, channels=channels, policy=policy, selection=columns, format="auto"), fraction=0.02
    )


if __name__ == "__main__":
    main()
