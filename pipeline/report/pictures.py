"""Images as small files that a page embeds, within a budget of bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from lake.core.records import Array
from pipeline.explore.pictures import gain_to_see, image_of_pixels
from pipeline.report.shown import Comparison, Picture

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

SIDE, COMPARED, CROP, THUMBNAIL, REJECTED = 192, 320, 160, 48, 128  # pixels
_JPEG = 82  # quality
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_GAINS = (64.0, 32.0, 16.0, 8.0, 4.0, 2.0)
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # that a rejected file is tried as
_REJECTED_PIXELS = 64_000_000


@dataclass(slots=True)
class Budget:
    """Bytes that pictures may still take.

    Attributes:
      left: how many.
    """

    left: int

    def take(self, *pictures: Picture) -> bool:
        """Whether there is room for some pictures, which is taken then."""
        size = sum(len(picture.data) for picture in pictures)
        if size > self.left:
            return False
        self.left -= size
        return True


def encode_picture(image: "Image", side: int, *, lossless: bool = False, gain: int = 1) -> Picture:
    """An image as a small file: PNG if it is small or must be without loss, else the smaller of PNG and JPEG.

    Args:
      image: grey, RGB, or with alpha.
      side: most pixels of its longer side; a smaller image keeps its size.
      lossless: whether it has to be PNG.
      gain: how many times as bright it was made.

    >>> from PIL import Image
    >>> encode_picture(Image.new("L", (400, 200)), 100).width
    100
    """
    small = image.copy()
    small.thumbnail((side, side))
    found = [(_file(small, "png"), "image/png")]
    if not lossless and small.width * small.height > 64 * 64:
        found.append((_file(_opaque(small), "jpeg", quality=_JPEG), "image/jpeg"))
    data, media_type = min(found, key=lambda file: len(file[0]))
    return Picture(data=data, media_type=media_type, width=small.width, height=small.height, gain=gain)


def _file(image: "Image", format: str, **options: int) -> bytes:
    out = BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def _opaque(image: "Image") -> "Image":
    """Without alpha, on white: JPEG has none."""
    from PIL import Image

    if image.mode in ("L", "RGB"):
        return image
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(image.convert("RGBA"))
    return ground.convert("RGB")


def compare_pictures(before: "Image", after: "Image", shown: int = 1) -> Comparison:
    """Two images of one record to lie on each other.

    Args:
      before: what was read; brought to the size and the channels of the other one if they differ.
      after: what was made of it.
      shown: how many times as bright both were made.
    """
    from PIL import Image

    if before.mode != after.mode:
        before = before.convert(after.mode)
    if before.size != after.size:
        before = before.resize(after.size)
    difference = np.abs(np.asarray(after, np.int16) - np.asarray(before, np.int16))
    gain = _gain(difference)
    residual = Image.fromarray(_colors(np.clip(difference * gain, 0, 255).astype(np.uint8)))
    crops = [encode_picture(one, CROP, lossless=True) for one in (_crop(before), _crop(after))] if _large(after) else []
    return Comparison(
        before=encode_picture(before, COMPARED),
        after=encode_picture(after, COMPARED),
        residual=encode_picture(residual, COMPARED),
        gain=gain * shown,
        crop_before=crops[0] if crops else None,
        crop_after=crops[1] if crops else None,
    )


def _gain(difference: Array) -> float:
    """So that nearly all of the difference is below white."""
    most = float(np.percentile(difference, 99))
    return next((gain for gain in _GAINS if most * gain <= 255), 1.0)


def _colors(pixels: Array) -> Array:
    """Pixels without alpha, which would make a residual invisible; of one channel ``[H, W]``."""
    if pixels.ndim == 2:
        return pixels
    return pixels[..., 0] if pixels.shape[2] < 3 else pixels[..., :3]


def _large(image: "Image") -> bool:
    return max(image.size) > COMPARED


def _crop(image: "Image") -> "Image":
    left, top = (max(0, (side - CROP) // 2) for side in image.size)
    return image.crop((left, top, min(left + CROP, image.width), min(top + CROP, image.height)))


def rejected_picture(data: bytes) -> Picture | None:
    """What the kept bytes of a rejected record still show; None where that is nothing.

    Args:
      data: the begin of a file, of any content.
    """
    from PIL import Image

    try:
        with _silent(), Image.open(BytesIO(_ended(data)), formats=_FORMATS) as image:
            if image.width * image.height > _REJECTED_PIXELS:
                return None
            image.draft("RGB", (REJECTED, REJECTED))
            _decode(image)
            shown, gain = _eight_bits(image)
    except Exception:  # whatever damaged bytes make of a decoder, there is no picture then
        return None
    if min(shown.size) < 1 or not any(high for _, high in _extrema(shown)):
        return None  # black: nothing of it could be decoded
    return encode_picture(shown, REJECTED, gain=gain)


def _eight_bits(image: "Image") -> "tuple[Image, int]":
    """An image in 8 bits, and how many times as bright it is."""
    # Pillow itself makes white of all above 255 of grey in 16 bits.
    if not image.mode.startswith("I;16"):
        return image.convert("RGBA" if image.mode in ("LA", "PA", "RGBA") else "RGB"), 1
    pixels = np.asarray(image).astype(np.uint16)[..., None]
    gain = gain_to_see(pixels)
    return image_of_pixels(pixels, gain), gain


def _extrema(image: "Image") -> list[tuple[int, int]]:
    found = image.convert("RGB").getextrema()
    return [(int(low), int(high)) for low, high in found]  # type: ignore[misc]


def _ended(data: bytes) -> bytes:
    """A file of JPEG with the marker of its end, without which its decoder gives nothing of what it holds."""
    return data + _JPEG_END if data.startswith(_JPEG_START) else data


def _decode(image: "ImageFile") -> None:
    """Decode an image, of a truncated file as much as there is."""
    try:
        image.load()
    except Exception:  # of any class, by the format
        # What was decoded before stays, as with ImageFile.LOAD_TRUNCATED_IMAGES, which would hold for all threads of
        # the process. Where nothing was, the next use of the image raises.
        image.tile = []


@contextmanager
def _silent() -> Iterator[None]:
    """Let Pillow warn of nothing."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
