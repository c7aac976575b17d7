"""TIFF of 8 bits with samples beside its colours: kept as at 16 bits, or refused, never left out."""

import io

import numpy as np
import pytest
import tifffile

from lake.core.records import Reason
from lake.images import decode_one
from lake.images.header import read_header
from lake.images.types import ImageError, Target


def written(pixels, photometric, extra, **options):
    out = io.BytesIO()
    more = {} if extra is None else {"extrasamples": extra}
    layout = {"planarconfig": "contig", "metadata": None} | options
    tifffile.imwrite(out, pixels, photometric=photometric, **layout, **more)
    return out.getvalue()


@pytest.fixture
def pixels(rng):
    return lambda channels, dtype=np.uint8: rng.integers(0, np.iinfo(dtype).max + 1, (21, 34, channels)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "options", [{}, {"tile": (16, 16)}, {"compression": "zlib", "predictor": 2}, {"byteorder": ">"}]
)
@pytest.mark.parametrize(
    ("channels", "photometric", "extra"),
    [
        (4, "rgb", ["unspecified"]),
        (4, "rgb", ["unassalpha"]),
        (4, "rgb", None),
        (2, "minisblack", ["unspecified"]),
        (2, "minisblack", ["unassalpha"]),
        (2, "minisblack", None),
    ],
)
def test_every_band_comes_back(pixels, dtype, options, channels, photometric, extra):
    wanted = pixels(channels, dtype)
    data = written(wanted, photometric, extra, **options)
    header = read_header(data)
    assert header.alpha
    np.testing.assert_array_equal(decode_one.decode_stored(data, header), wanted)
    if channels == 4:
        decoded = decode_one.decode_one(data, header, Target(shape=(21, 34, 4)))
        np.testing.assert_array_equal(decoded, wanted)


@pytest.mark.parametrize(
    ("channels", "photometric", "extra"),
    [
        (5, "separated", ["unspecified"]),
        (5, "separated", ["unassalpha"]),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_no_image_holds_is_refused(pixels, dtype, channels, photometric, extra):
    with pytest.raises(ImageError, match="samples of") as caught:
        read_header(written(pixels(channels, dtype), photometric, extra))
    assert caught.value.reason is Reason.UNSUPPORTED_IMAGE


def test_a_band_in_a_plane_of_its_own_is_kept(pixels):
    planes = np.moveaxis(pixels(4), 2, 0)
    for extra in ("unspecified", "unassalpha"):
        data = written(planes, "rgb", [extra], planarconfig="separate")
        np.testing.assert_array_equal(decode_one.decode_stored(data, read_header(data)), np.moveaxis(planes, 0, 2))
