"""The pictures of the report."""

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.quality.place import RESULTS
from benchmarks.quality.protocol import psnr
from model.runtime.runtime import Runtime


def draw_photograph(clean: np.ndarray, noisy: np.ndarray, made: np.ndarray) -> None:
    """A noisy photograph, what was made of it, and the clean one."""
    titles = (f"noise 25: {psnr(noisy, clean):.2f} dB", f"denoised: {psnr(made.clip(0, 1), clean):.2f} dB", "clean")
    _sheet([[_gray(noisy), _gray(made), clean]], titles).save(RESULTS / "quality-denoised.png")


def draw_digits(runtime: Runtime, digits: np.ndarray) -> None:
    """Digits and their reconstructions."""
    shown = digits[:12]
    made = runtime.reconstruct(shown[..., None]).output[..., 0]
    rows = [[_large(image) for image in row] for row in (shown, _gray(made))]
    _sheet(rows, ("above: digits of the test set; below: their reconstructions",)).save(RESULTS / "quality-digits.png")


def draw_samples(runtime: Runtime) -> None:
    """Digits drawn from the prior."""
    latents = np.random.default_rng(0).standard_normal((144, runtime.spec.dimension), np.float32)
    made = _gray(runtime.decode(latents)[..., 0])
    rows = [[_large(image) for image in made[start : start + 12]] for start in range(0, 144, 12)]
    _sheet(rows, ("144 draws of the prior, none left out",)).save(RESULTS / "quality-samples.png")


def _gray(values: np.ndarray) -> np.ndarray:
    return (values.clip(0, 1) * 255).round().astype(np.uint8)


def _large(image: np.ndarray) -> np.ndarray:
    return image.repeat(2, axis=0).repeat(2, axis=1)


def _sheet(rows: list[list[np.ndarray]], titles: tuple[str, ...]) -> Image.Image:
    """Images of one size in rows, below titles that share the width."""
    height, width = rows[0][0].shape
    sheet = Image.new("L", (len(rows[0]) * (width + 4) + 4, len(rows) * (height + 4) + 24), 255)
    for number, title in enumerate(titles):
        ImageDraw.Draw(sheet).text((6 + number * sheet.width // len(titles), 6), title, fill=0)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            sheet.paste(Image.fromarray(image), (4 + column * (width + 4), 24 + row * (height + 4)))
    return sheet
