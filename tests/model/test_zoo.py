"""The bundles that come with the project: whole, of bounded size, and good for what their cards say."""

from pathlib import Path

import numpy as np
import pytest

from model.bundle import Bundle
from model.denoise import Denoiser
from model.runtime import Runtime

ZOO = Path(__file__).parents[2] / "model/zoo"
FUNCTIONS = {
    "denoiser-gray": ("denoise",),
    "mnist-autoencoder": ("encode", "reconstruct", "decode", "denoise"),
    "mnist-vae": ("encode", "reconstruct", "decode", "denoise", "generate"),
}


def test_every_bundle_has_a_card() -> None:
    assert {path.parent.name for path in ZOO.glob("*/README.md")} == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_bundle_gives_its_golden_outputs(name: str) -> None:
    bundle = Bundle.open(str(ZOO / name))
    assert bundle.spec.functions == FUNCTIONS[name]
    assert sum(entry.size for entry in bundle.spec.files.values()) <= 6_000_000
    runtime = Runtime.load(bundle)  # refuses a model that gives other outputs
    assert runtime.differences


@pytest.mark.parametrize(("level", "gain"), [(15, 8.0), (25, 10.0), (50, 12.0)])
def test_the_denoiser_takes_noise_out(level: int, gain: float) -> None:
    rows, columns = np.mgrid[:96, :120] / 20
    clean = (0.5 + 0.3 * np.sin(rows) * np.cos(columns) + 0.1 * (rows > 2.5)).astype(np.float32)
    noise = np.random.default_rng(level).normal(0, level / 255, clean.shape).astype(np.float32)
    denoiser = Denoiser(Runtime.load(Bundle.open(str(ZOO / "denoiser-gray"))))
    made = denoiser.denoise((clean + noise)[None, ..., None], np.array([level / 255], np.float32)).pixels[0, ..., 0]
    before, after = (float(np.mean((image - clean) ** 2)) for image in (clean + noise, made))
    assert 10 * np.log10(before / after) > gain
