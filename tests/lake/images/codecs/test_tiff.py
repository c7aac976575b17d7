"""TIFF of several 16-bit or floating samples, which Pillow does not read, as other libraries write it."""

import io
import struct

import numpy as np
import pytest
import tifffile

from lake.core.records import Reason
from lake.images import decode_one
from lake.images.header import read_header
from lake.images.types import ImageError, Target


def written(pixels, **options):
    out = io.BytesIO()
    channels = pixels.shape[2]
    more = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
    kind = "rgb" if channels > 2 else "minisblack"
    if channels > 1:
        more["planarconfig"] = "contig"
    tifffile.imwrite(out, pixels if channels > 1 else pixels[..., 0], photometric=kind, metadata=None, **more | options)
    return out.getvalue()


def with_tag(data, tag, value):
    """The same little-endian TIFF with a new first directory, where a tag has this value."""
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    rows = {
        struct.unpack_from("<H", data, at)[0]: data[at : at + 12] for at in range(start + 2, start + 2 + 12 * count, 12)
    }
    rows[tag] = struct.pack("<HHIHxx", tag, 3, 1, value)
    body = b"".join(rows[tag] for tag in sorted(rows))
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + struct.pack("<H", len(rows)) + body + bytes(4)


@pytest.fixture
def pixels(rng):
    def make(dtype, channels, height=70, width=53):
        if dtype == np.uint16:
            return rng.integers(0, 65536, (height, width, channels), np.uint16)
        return rng.normal(size=(height, width, channels)).astype(np.float32)

    return make


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rowsperstrip": 16},
        {"tile": (32, 16)},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": 2},
        {"compression": "zlib", "predictor": 2, "tile": (32, 16)},
    ],
    ids=["plain", "strips", "tiles", "deflate", "predictor", "tiles with predictor"],
)
def test_every_layout_comes_back_exactly(pixels, dtype, channels, order, options) -> None:
    if dtype == np.float32:
        options = {name: value for name, value in options.items() if name != "predictor"}
    wanted = pixels(dtype, channels)
    data = written(wanted, byteorder=order, **options)
    header = read_header(data)
    assert (header.width, header.height, header.channels, header.alpha) == (
        53,
        70,
        1 + 2 * (channels > 2),
        channels % 2 == 0,
    )
    read = decode_one.decode_stored(data, header)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, wanted)


def test_lzw_is_read(pixels, encode) -> None:
    wanted = pixels(np.uint16, 3)
    data = encode(wanted.reshape(70, -1), "TIFF", compression="tiff_lzw")
    for tag, value in ((256, 53), (262, 2), (277, 3)):  # the same strips, said to be RGB
        data = with_tag(data, tag, value)
    np.testing.assert_array_equal(decode_one.decode_stored(data, read_header(data)), wanted)


def test_a_model_of_three_channels_takes_wide_colour(pixels) -> None:
    wanted = pixels(np.uint16, 4)
    data = written(wanted)
    decoded = decode_one.decode_one(data, read_header(data), Target(shape=(70, 53, 3)))
    np.testing.assert_array_equal(decoded, wanted[..., :3])


def test_differences_of_float_samples_are_those_of_their_bits(pixels) -> None:
    wanted = pixels(np.float32, 3)
    bits = wanted.view(np.uint32)
    differences = np.concatenate([bits[:, :1], bits[:, 1:] - bits[:, :-1]], axis=1).view(np.float32)
    data = with_tag(written(differences, compression="zlib"), 317, 2)
    np.testing.assert_array_equal(decode_one.decode_stored(data, read_header(data)), wanted)


def test_the_floating_predictor_of_grey_is_read(pixels, encode) -> None:
    wanted = pixels(np.float32, 1)
    data = encode(wanted, "TIFF", compression="tiff_adobe_deflate", tiffinfo={317: 3})
    assert b"\x3d\x01\x03\x00\x01\x00\x00\x00\x03\x00" in data  # the predictor's tag
    np.testing.assert_array_equal(decode_one.decode_stored(data, read_header(data)), wanted)


@pytest.mark.parametrize(
    ("channels", "options", "tag", "text"),
    [
        (3, {"compression": "zlib"}, (317, 3), "3 samples of 16 bits with predictor 3"),
        (3, {}, (259, 7), "compression 7"),
        (4, {"extrasamples": ["assocalpha"]}, None, "premultiplied"),
    ],
)
def test_what_has_no_meaning_is_refused_by_name(pixels, channels, options, tag, text) -> None:
    data = written(pixels(np.uint16, channels), **options)
    if tag:
        data = with_tag(data, *tag)
    with pytest.raises(ImageError, match=text) as caught:
        read_header(data)
    assert caught.value.reason is Reason.UNSUPPORTED_IMAGE


def test_a_cut_strip_is_one_corrupt_image(pixels) -> None:
    data = bytearray(written(pixels(np.uint16, 3), compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        start = file.pages[0].dataoffsets[0]
    data[start + 40 : start + 400] = bytes(360)
    with pytest.raises(ImageError) as caught:
        decode_one.decode_stored(bytes(data), read_header(bytes(data)))
    assert caught.value.reason is Reason.CORRUPT_IMAGE


def test_a_wide_colour_image_with_nan_is_refused(pixels) -> None:
    broken = pixels(np.float32, 3)
    broken[5, 6, 1] = np.nan
    data = written(broken)
    with pytest.raises(ImageError) as caught:
        decode_one.decode_stored(data, read_header(data))
    assert caught.value.reason is Reason.NON_FINITE_INPUT
