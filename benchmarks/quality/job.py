"""The same through the command: images go in as arrays of float32, and what ``denoise`` writes is read back."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from model.pixels import Floats

_ROOT = Path(__file__).parents[2]


def through_command(bundle: str, noisy: list[Floats], level: float) -> list[Floats]:
    """What the command makes of noisy images, in their order.

    Args:
      bundle: directory of the model.
      noisy: float32 [H, W] or [H, W, C] each, white is 1. Those of one shape become a shard.
      level: of the noise, where white is 255.
    """
    shapes = sorted({image.shape for image in noisy})
    places = {shape: [i for i, image in enumerate(noisy) if image.shape == shape] for shape in shapes}
    made = list[Floats](noisy)
    with tempfile.TemporaryDirectory() as folder:
        shards = Path(folder, "shards")
        shards.mkdir()
        for number, where in enumerate(places.values()):
            np.save(shards / f"{number}.npy", np.stack([noisy[i] for i in where]))
        line = [
            "denoise",
            "--input",
            str(shards),
            "--format",
            "array",
            "--model",
            bundle,
            "--noise-level",
            f"{level:g}",
        ]
        line += ["--output", f"{folder}/out"]
        subprocess.run([sys.executable, "-m", "latentlake", *line], cwd=_ROOT, check=True, stdout=subprocess.DEVNULL)
        for number, where in enumerate(places.values()):
            for i, image in zip(where, np.load(f"{folder}/out/images/{number}.npy"), strict=True):
                made[i] = image
    return made
