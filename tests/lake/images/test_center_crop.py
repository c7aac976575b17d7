"""Resize, then crop, through the decoders: an image of the target's size is scaled, too."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lake.core.errors import LatentlakeError
from lake.images.center_crop import CenterCrop
from lake.images.decoder import Decoder
from lake.images.native_decoder import NativeDecoder
from lake.images.types import Target

_TARGET = Target(shape=(16, 16, 3), resize=CenterCrop(shorter=20))


def _want(pixels):
    height, width = pixels.shape[:2]
    wide, high = (20, int(20 * height / width)) if width <= height else (int(20 * width / height), 20)
    image = Image.fromarray(pixels).resize((wide, high), Image.Resampling.BILINEAR)
    left, top = round((wide - 16) / 2), round((high - 16) / 2)
    return np.asarray(image.crop((left, top, left + 16, top + 16)))


@pytest.mark.parametrize("suffix", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", [(16, 16), (20, 20), (33, 50)])
def test_every_decoder_scales_and_crops(photo, encode, records, suffix, size) -> None:
    pixels = photo(*size)
    files = [encode(pixels, suffix)] * 40  # enough to be decoded in bulk
    (whole,) = Decoder(replace(_TARGET, shape=(*size, 3), resize=None)).decode(records(files[:1])).groups
    want = _want(whole.pixels[0])
    (found,) = Decoder(_TARGET).decode(records(files)).groups
    assert len(found.positions) == 40
    np.testing.assert_array_equal(found.pixels[0], want)
    native = list(NativeDecoder(_TARGET).groups(records(files), {}))
    np.testing.assert_array_equal(np.concatenate([group.pixels for group in native])[0], want)
    arrays = Decoder(_TARGET).decode(records(np.stack([whole.pixels[0]] * 2))).groups
    np.testing.assert_array_equal(arrays[0].pixels[1], want)


def test_a_filter_that_there_is_not() -> None:
    with pytest.raises((ValueError, LatentlakeError), match="choose from bilinear, bicubic"):
        CenterCrop(shorter=8, interpolation="nearest")  # type: ignore[arg-type]
