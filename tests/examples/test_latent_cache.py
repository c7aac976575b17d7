"""A cache of latents from end to end: trained for seconds, photographs of many sizes to latents and back to images."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.examples.conftest import Example

_SIZES = [(100, 140), (140, 100), (33, 71), (256, 256), (97, 300)]


def photograph(number: int) -> np.ndarray:
    """Soft waves of colour with an edge, as photographs have."""
    height, width = _SIZES[number % len(_SIZES)]
    y, x = np.mgrid[:height, :width] / 40
    waves = [np.sin(x * (1 + number % 3) + channel) + np.cos(y * (2 - number % 2) - channel) for channel in range(3)]
    soft = 128 + 50 * np.stack(waves, axis=-1) + 30 * (x > y)[..., None]
    return np.clip(soft, 0, 255).astype(np.uint8)


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_from_photographs_to_latents_and_back(example: Example, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(15):
        Image.fromarray(photograph(number)).save(tmp_path / f"photos/{number:02d}.png")
    ended = example("latent_cache.py", "--images", "photos", "--output", "work", "--steps", 60)
    assert ended.returncode == 0, ended.stderr
    cache = pq.read_table(tmp_path / "work/cache/latents")
    for row in cache.to_pylist():
        height, width, channels = row["latent_shape"]
        assert (height * 8, width * 8, channels) == (row["height"], row["width"], 16)
        assert len(row["latent"]) == height * width * channels
        number = int(Path(row["key"]).stem)
        assert (row["original_height"], row["original_width"]) == photograph(number).shape[:2]
    (back,) = (tmp_path / "work/back/images").rglob("*.parquet")
    sizes = {row["key"]: (row["height"], row["width"]) for row in cache.to_pylist()}
    for row in pq.read_table(back).to_pylist():
        data = row["image"]["bytes"] if isinstance(row["image"], dict) else row["image"]
        assert np.asarray(Image.open(io.BytesIO(data))).shape[:2] == sizes[row["key"]]
    made = pq.read_table(tmp_path / "work/made/latents").to_pylist()
    assert {(row["height"], row["width"]) for row in made} == {*_SIZES}
    # A model that gave the mean of each photograph would reach about 14 dB.
    psnr = np.mean([row["psnr"] for row in made])
    assert psnr > 16
    assert ended.stdout.splitlines()[-1].endswith(f"PSNR of the reconstructions {psnr:.2f} dB")
