"""What a public construction is: how it is built and saved, and what it computes by itself."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Make = Callable[[Path], "Truth"]
CONSTRUCTIONS: dict[str, Make] = {}  # by the title of its row in docs/models_you_have.md


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a construction computes by itself, by Keras or by ONNX Runtime on the bare file.

    Attributes:
      given: uint8 images or float32 vectors; latents of a decoder alone.
      latent, variance, output: of what is given; images channels last; None for what it has not.
      levels: of the noise, for a denoiser that is told.
      condition: classes, for a conditional model.
      refused: a pattern of the message that refuses it; None where it is taken.
      way_on: builds what the row says instead, and gives its truth.
    """

    given: np.ndarray | None = None
    latent: np.ndarray | None = None
    variance: np.ndarray | None = None
    output: np.ndarray | None = None
    levels: np.ndarray | None = None
    condition: np.ndarray | None = None
    refused: str | None = None
    way_on: Make | None = None


def construction(title: str) -> Callable[[Make], Make]:
    """Register a function that saves a construction in a folder, by the names that the row's command has."""

    def register(make: Make) -> Make:
        assert title not in CONSTRUCTIONS
        CONSTRUCTIONS[title] = make
        return make

    return register


def images(*shape: int, n: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *shape), np.uint8)


def unit(pixels: np.ndarray) -> np.ndarray:
    return pixels / np.float32(255)
