"""Colour images of which a decoder can make several things, and the one that this project must make of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from tests.faults.bad_records import (
    SIDE,
    Pixels,
    draw,
    exif,
    saved,
    tiff,
)
from tests.faults.pictures import png

# What each orientation asks for to see an image upright (CIPA DC-008, tag 274), of pixels [H, W, C].
UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Coloured:
    """A file, its pixels as they are stored, floating ``[8, 8, 3]`` with white 1, and its orientation.

    within: how far a decoder may be off, where the format or the standard leaves it free to round.
    """

    name: str
    data: bytes
    stored: Pixels
    orientation: int = 1
    within: float = 1e-6

    @property
    def upright(self) -> Pixels:
        """The pixels as viewers show them."""
        return UPRIGHT[self.orientation](self.stored)


@cache
def colours() -> tuple[Coloured, ...]:
    """For a model of RGB images of 8 x 8 pixels."""
    return (*_turned(), *_cmyk(), *_wide(), *_first_frames(), *_with_alpha())


def _turned() -> Iterator[Coloured]:
    sharp = draw(40, SIDE, SIDE, 3)
    down, across, channel = np.mgrid[:SIDE, :SIDE, :3]
    smooth = (40 + 11 * down + 6 * across + 15 * channel).astype(np.uint8)
    for number in UPRIGHT:
        turn = {"exif": exif(number)}
        files = {
            "PNG": (sharp, saved(sharp, "PNG", **turn), 1e-6),
            "WebP": (sharp, saved(sharp, "WEBP", lossless=True, **turn), 1e-6),
            "TIFF": (sharp, saved(sharp, "TIFF", tiffinfo={274: number}), 1e-6),
            "JPEG": (smooth, saved(smooth, "JPEG", quality=100, subsampling=0, **turn), 3 / 255),
        }
        for name, (pixels, data, within) in files.items():
            stored = pixels / 255
            yield Coloured(name=f"{name} turned {number}", data=data, stored=stored, orientation=number, within=within)


def _cmyk() -> Iterator[Coloured]:
    """Ink that is not there lets light through: each of R, G, B is (255 - C, M, Y) (255 - K) / 255."""
    ink = draw(41, SIDE, SIDE, 4)
    flat = np.broadcast_to(np.array([10, 120, 200, 60], np.uint8), ink.shape).copy()
    for name, pixels, options, within in (
        ("TIFF", ink, {}, 0.51 / 255),
        ("JPEG", flat, {"quality": 100}, 1.51 / 255),
    ):
        light = (255 - pixels.astype(float)) / 255
        data = saved(Image.frombytes("CMYK", (SIDE, SIDE), pixels.tobytes()), name, **options)
        yield Coloured(name=f"CMYK {name}", data=data, stored=light[..., :3] * light[..., 3:], within=within)


def _wide() -> Iterator[Coloured]:
    wide = np.random.default_rng(42).integers(0, 60_000, (SIDE, SIDE, 4), np.uint16)
    rgb, grey = wide[..., :3] / 65535, np.repeat(wide[..., :1], 3, -1) / 65535
    real = (wide[..., :3] / 65535).astype(np.float32)
    yield Coloured(name="PNG 16 bits", data=png(wide[..., :3].copy()), stored=rgb)
    yield Coloured(name="PNG 16 bits grey", data=png(wide[..., :1].copy()), stored=grey)
    yield Coloured(name="PNG 16 bits with alpha", data=png(wide), stored=rgb)
    yield Coloured(name="TIFF 16 bits", data=tiff(wide[..., :3], photometric="rgb"), stored=rgb)
    yield Coloured(name="TIFF 16 bits big-endian", data=tiff(wide[..., 0], byteorder=">"), stored=grey)
    yield Coloured(name="TIFF of floats", data=tiff(real, photometric="rgb"), stored=real)


def _first_frames() -> Iterator[Coloured]:
    palette, other = draw(43, SIDE * SIDE, 3), Image.fromarray(draw(44, SIDE, SIDE, 3))
    image = Image.frombytes("P", (SIDE, SIDE), bytes(range(SIDE * SIDE)))
    image.putpalette(palette.tobytes())
    stored = palette.reshape(SIDE, SIDE, 3) / 255
    more = {"save_all": True, "append_images": [other]}
    yield Coloured(name="GIF animated", data=saved(image, "GIF", **more), stored=stored)
    yield Coloured(name="PNG animated", data=saved(image.convert("RGB"), "PNG", **more), stored=stored)
    yield Coloured(name="WebP animated", data=saved(image.convert("RGB"), "WEBP", lossless=True, **more), stored=stored)
    yield Coloured(name="TIFF of two pages", data=saved(image.convert("RGB"), "TIFF", **more), stored=stored)
    yield Coloured(name="PNG palette", data=saved(image, "PNG"), stored=stored)


def _with_alpha() -> Iterator[Coloured]:
    """Alpha is dropped, not blended."""
    pixels = draw(45, SIDE, SIDE, 4)
    for format, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})):
        yield Coloured(name=f"{format} with alpha", data=saved(pixels, format, **options), stored=pixels[..., :3] / 255)
