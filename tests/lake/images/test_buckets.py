"""Aspect buckets against a list that trainers publish, and their crops against Pillow's."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from lake.images.buckets import Buckets, crop_offset

# Height and width of SDXL's multi-aspect training (Podell et al. 2023, appendix I), as far as these are as large as
# their area allows.
_SDXL = [(512, 2048), (576, 1792), (640, 1600), (704, 1472), (768, 1344), (832, 1216), (896, 1152), (960, 1088)]
SDXL = Buckets(step=64, max_area=1024 * 1024)


def test_the_sizes_of_sdxl() -> None:
    wanted = {*_SDXL, *(size[::-1] for size in _SDXL), (1024, 1024)}
    assert wanted <= {*SDXL.sizes}
    for height, width in SDXL.sizes:
        assert height % 64 == width % 64 == 0 and height * width <= 1 << 20
        assert (width, height) in SDXL.sizes and max(height, width) <= 4 * min(height, width)
        assert height * (width + 64) > 1 << 20 or (height + 64) * width > 1 << 20  # as large as it can be


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((1000, 1000), (1024, 1024)),
        ((3000, 4000), (896, 1152)),
        ((4000, 3000), (1152, 896)),
        ((1080, 1920), (768, 1344)),
        ((100, 10_000), (512, 2048)),
        ((7, 1), (2048, 512)),
    ],
)
def test_the_nearest(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert SDXL.nearest(*size) == wanted
    assert SDXL.nearest(*size[::-1]) == wanted[::-1]


def test_a_step_that_is_larger_than_the_area() -> None:
    assert Buckets(step=64, max_area=64 * 63).sizes == ()
    assert Buckets(step=64, max_area=64 * 64).sizes == ((64, 64),)


@pytest.mark.parametrize("size", [(300, 500), (500, 300), (97, 203), (64, 64), (10, 900)])
def test_where_the_crop_begins(size: tuple[int, int]) -> None:
    """An image whose pixels say where they are, covered and cropped by Pillow itself, begins with the offset."""
    bucket = Buckets(step=32, max_area=128 * 128).nearest(*size)
    top, left = crop_offset(size, bucket)
    scale = max(bucket[0] / size[0], bucket[1] / size[1])
    places = np.indices(size).astype(np.float32)
    for axis, offset in enumerate((top, left)):
        cut = ImageOps.fit(Image.fromarray(places[axis]), bucket[::-1], Image.Resampling.BILINEAR)
        first = np.asarray(cut)[bucket[0] // 2, bucket[1] // 2] + 0.5  # in pixels of the image before
        assert abs(first * scale - (offset + bucket[axis] // 2 + 0.5)) < 1.0
