import numpy as np
import pytest
from PIL import Image, ImageOps

from lake.core.records import Reason
from lake.images import geometry
from lake.images.center_crop import CenterCrop, Interpolation
from lake.images.types import ImageError, Resize

DTYPES = (np.uint8, np.uint16, np.float32)


def resize(pixels, size, mode):
    return geometry.pixels_of(geometry.resize_planes(geometry.planes_of(pixels), size, mode), pixels.dtype.type)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_planes_hold_pixels_exactly(rng, dtype, channels) -> None:
    pixels = rng.integers(0, 256 if dtype == np.uint8 else 65536, (5, 7, channels)).astype(dtype)
    np.testing.assert_array_equal(geometry.pixels_of(geometry.planes_of(pixels), dtype), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", DTYPES)
def test_upright_is_what_the_exif_standard_says(rng, orientation, dtype) -> None:
    pixels = rng.integers(0, 256, (4, 6, 3)).astype(dtype)
    # Where row 0 and column 0 of the stored image belong: CIPA DC-008, Orientation.
    expected = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: pixels.swapaxes(0, 1)[:, ::-1],
        7: pixels.swapaxes(0, 1)[::-1, ::-1],
        8: pixels.swapaxes(0, 1)[::-1],
    }[orientation]
    turned = geometry.pixels_of(geometry.upright(geometry.planes_of(pixels), orientation), dtype)
    np.testing.assert_array_equal(turned, expected)


@pytest.mark.parametrize("mode", Resize)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_target_size_itself_is_left_alone(rng, mode, dtype) -> None:
    pixels = rng.integers(0, 256, (8, 8, 3)).astype(dtype)
    np.testing.assert_array_equal(resize(pixels, (8, 8), mode), pixels)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(16, 24), (80, 20), (13, 90)])
def test_a_plain_colour_stays_itself(dtype, size) -> None:
    pixels = np.broadcast_to(np.array([10, 120, 250], dtype), (*size, 3)).copy()
    for mode in (Resize.STRETCH, Resize.CROP):
        np.testing.assert_allclose(resize(pixels, (12, 12), mode), pixels[:12, :12][:1, :1].repeat(12, 0).repeat(12, 1))


def test_fit_centres_the_whole_image_on_black() -> None:
    fitted = resize(np.full((10, 20, 1), 200, np.uint8), (8, 8), Resize.FIT)[..., 0]
    assert fitted.tolist() == [[0] * 8] * 2 + [[200] * 8] * 4 + [[0] * 8] * 2


def test_pad_centres_without_scaling(rng) -> None:
    pixels = rng.integers(1, 255, (3, 5, 3), np.uint8)
    padded = resize(pixels, (8, 8), Resize.PAD)
    np.testing.assert_array_equal(padded[2:5, 1:6], pixels)
    assert int(padded.sum(dtype=np.int64)) == int(pixels.sum(dtype=np.int64))


@pytest.mark.parametrize("size", [(40, 90), (90, 40), (7, 5)])
def test_stretch_crop_and_fit_agree_with_pillow_s_own_helpers(photo, size) -> None:
    pixels = photo(*size)
    image = Image.fromarray(pixels)
    expected = {
        Resize.STRETCH: image.resize((16, 12), Image.Resampling.BICUBIC),
        Resize.CROP: ImageOps.fit(image, (16, 12), Image.Resampling.BICUBIC),
    }
    small = np.asarray(ImageOps.contain(image, (16, 12), Image.Resampling.BICUBIC))
    top, left = (12 - small.shape[0]) // 2, (16 - small.shape[1]) // 2
    fitted = resize(pixels, (12, 16), Resize.FIT)
    np.testing.assert_array_equal(fitted[top : top + small.shape[0], left : left + small.shape[1]], small)
    for mode, picture in expected.items():
        np.testing.assert_allclose(resize(pixels, (12, 16), mode).astype(int), np.asarray(picture).astype(int), atol=1)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_wide_pixels_are_scaled_as_8_bit_ones_but_finer(photo, dtype) -> None:
    pixels = 96 + photo(40, 30) // 4  # far from 0 and 255: 8-bit arithmetic clips between its two passes
    wide = resize(pixels.astype(dtype) * 257, (12, 12), Resize.STRETCH) / 257
    np.testing.assert_allclose(wide, resize(pixels, (12, 12), Resize.STRETCH), atol=1.1)


def test_overshoot_of_uint16_is_clipped_not_wrapped() -> None:
    pixels = np.zeros((4, 4, 1), np.uint16)
    pixels[:, 2:] = 65535
    big = resize(pixels, (16, 16), Resize.STRETCH)[8, :, 0].astype(int)
    assert (np.diff(big) >= 0).sum() >= 12
    assert big[:4].max() < 20000
    assert big[-4:].min() > 45000


@pytest.mark.parametrize(
    ("size", "mode", "ok"),
    [
        ((28, 28), None, True),
        ((28, 27), None, False),
        ((27, 27), Resize.PAD, True),
        ((29, 27), Resize.PAD, False),
        ((1, 5000), Resize.FIT, True),
        ((1, 5000), Resize.CROP, True),
        ((1, 5000), Resize.STRETCH, True),
    ],
)
def test_sizes_are_judged_before_decoding(size, mode, ok) -> None:
    if ok:
        geometry.fits(size, (28, 28), mode)
        assert resize(np.ones((*size, 1), np.uint8), (28, 28), mode).shape == (28, 28, 1)
        return
    with pytest.raises(ImageError, match=f"{size[0]}x{size[1]}") as caught:
        geometry.fits(size, (28, 28), mode)
    assert caught.value.reason is Reason.WRONG_SIZE


def _torchvision(pixels, shorter, target, kept):
    """``Resize(shorter)`` and ``CenterCrop(target)`` of torchvision.transforms for Pillow images, by its source."""
    image = Image.fromarray(pixels)
    short, long = sorted(image.size)
    scaled = shorter, int(shorter * long / short)
    width, height = scaled if image.width <= image.height else scaled[::-1]
    image = image.resize((width, height), kept)
    top, left = round((height - target[0]) / 2.0), round((width - target[1]) / 2.0)
    return np.asarray(image.crop((left, top, left + target[1], top + target[0])))


@pytest.mark.parametrize("kept", Interpolation)
@pytest.mark.parametrize("size", [(48, 64), (65, 33), (24, 24), (20, 20), (30, 9), (7, 200), (200, 7), (1, 5000)])
def test_resize_then_crop_is_torchvision_s(rng, kept, size) -> None:
    pixels = rng.integers(0, 256, (*size, 3), np.uint8)
    found = resize(pixels, (20, 18), CenterCrop(shorter=24, interpolation=kept))
    want = _torchvision(pixels, 24, (20, 18), Image.Resampling[kept.name])
    long = max(size) > 8 * min(size)  # of which not all is scaled
    np.testing.assert_allclose(found.astype(int), want.astype(int), atol=1 if long else 0)


def test_an_endless_image_is_not_scaled_as_a_whole() -> None:
    crop = CenterCrop(shorter=256)
    assert resize(np.zeros((1, 1 << 20, 1), np.uint8), (224, 224), crop).shape == (224, 224, 1)  # 64 GB otherwise
