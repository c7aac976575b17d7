"""Examples run as a reader runs them: as programs, in a directory of the reader's."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]

Example = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def example(tmp_path: Path) -> Example:
    """Run one of them; the packages are found as if they were installed."""

    def example(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, ROOT / "examples" / name, *arguments]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [str(word) for word in line], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )

    return example


@pytest.fixture
def photos(tmp_path: Path) -> np.ndarray:
    """``photos/00.png`` and so on, 28 x 28 pixels of grey; gives the pixels."""
    pixels = np.random.default_rng(5).integers(0, 256, (10, 28, 28), np.uint8)
    (tmp_path / "photos").mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"photos/{number:02d}.png")
    return pixels
