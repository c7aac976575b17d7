"""AVIF, HEIC, JPEG 2000 and JPEG XL as other libraries write them: what Pillow and libheif decode, or rejects."""

import io
import sys

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, ImageOps
from pillow_heif.as_plugin import HeifImageFile

from lake.core.records import Reason
from lake.images import decode_one
from lake.images.codecs import icc, isobmff
from lake.images.encoder import ImageEncoder, ImageFormat
from lake.images.header import format_of, read_header
from lake.images.types import ImageError, Target
from tests.lake.images.codecs.damage import count_rejects, damaged, stored

FORMATS = {"avif": "AVIF", "jp2": "JPEG2000", "j2k": "JPEG2000", "heic": "HEIF"}
NAMES = {"avif": "AVIF", "jp2": "JPEG 2000", "j2k": "JPEG 2000", "heic": "HEIC"}


def written(image, suffix, **options):
    out = io.BytesIO()
    if suffix == "heic":
        pillow_heif.from_pillow(image).save(out, **options)
    else:
        more = {"no_jp2": suffix == "j2k"} if FORMATS[suffix] == "JPEG2000" else {}
        image.save(out, FORMATS[suffix], **more | options)
    return out.getvalue()


def truth(data):
    image = HeifImageFile(io.BytesIO(data)) if format_of(data) == "HEIC" else Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_pixels_are_those_of_its_library(photo, suffix, mode):
    data = written(Image.fromarray(photo(48, 64)).convert(mode), suffix)
    header = read_header(data)
    assert header.format == NAMES[suffix]
    wanted = np.asarray(truth(data))
    wanted = wanted[..., None] if wanted.ndim == 2 else wanted
    read = stored(data)
    assert read.shape == (header.height, header.width, (1 if header.channels == 1 else 3) + header.alpha)
    np.testing.assert_array_equal(read, wanted)
    colours = wanted[..., :3] if wanted.shape[2] > 2 else wanted[..., [0, 0, 0]]
    np.testing.assert_array_equal(decode_one.decode_one(data, header, Target(shape=(48, 64, 3))), colours)


@pytest.mark.parametrize("suffix", ["jp2", "j2k"])
def test_lossless_jpeg_2000_comes_back(rng, photo, suffix):
    pixels = photo(40, 31)
    np.testing.assert_array_equal(stored(written(Image.fromarray(pixels), suffix, irreversible=False)), pixels)
    wide = rng.integers(0, 65536, (40, 31), np.uint16)
    data = written(Image.fromarray(wide), suffix, irreversible=False)
    np.testing.assert_array_equal(stored(data)[..., 0], wide)
    decoded = decode_one.decode_one(data, read_header(data), Target(shape=(40, 31, 1)))
    np.testing.assert_array_equal(decoded[..., 0], wide)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_is_turned_upright_as_pillow_turns_it(photo, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    data = written(Image.fromarray(photo(16, 24)), "avif", exif=exif.tobytes(), quality=100, subsampling="4:4:4")
    header = read_header(data)
    assert header.orientation == orientation
    wanted = np.asarray(ImageOps.exif_transpose(truth(data)))
    np.testing.assert_array_equal(decode_one.decode_one(data, header, Target(shape=wanted.shape)), wanted)


def test_heic_is_upright_already(photo):
    exif = Image.Exif()
    exif[274] = 6
    image = Image.fromarray(photo(16, 24))
    image.info["exif"] = exif.tobytes()
    data = written(image, "heic")
    header = read_header(data)
    assert (header.width, header.height, header.orientation) == (*truth(data).size, 1)
    np.testing.assert_array_equal(stored(data), np.asarray(truth(data)))


@pytest.mark.parametrize("suffix", ["avif", "heic"])
def test_a_colour_profile_goes_along(photo, suffix):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(photo(16, 24))
    image.info["icc_profile"] = profile
    data = written(image, suffix, **({"icc_profile": profile} if suffix == "avif" else {}))
    assert icc.fitting_profile(data, 3) == profile
    file = ImageEncoder(ImageFormat.SAME, 90).encode(stored(data), data)
    assert file.suffix == "png"
    with Image.open(io.BytesIO(file.data)) as made:
        assert made.info["icc_profile"] == profile


@pytest.mark.parametrize("suffix", FORMATS)
def test_too_many_pixels_are_refused_by_the_header(photo, suffix):
    data = written(Image.fromarray(photo(48, 64)), suffix)
    with pytest.raises(ImageError, match="64x48 pixels") as caught:
        read_header(data, max_pixels=64 * 48 - 1)
    assert caught.value.reason is Reason.TOO_MANY_PIXELS


def test_a_file_that_contradicts_its_codestream_is_refused(photo):
    data = bytearray(written(Image.fromarray(photo(48, 64)), "jp2"))
    at = data.index(b"\xff\x4f\xff\x51") + 8
    data[at : at + 8] = b"\x00\x00\xf0\x00" * 2
    with pytest.raises(ImageError) as caught:
        read_header(bytes(data))
    assert caught.value.reason is Reason.CORRUPT_IMAGE


@pytest.mark.parametrize("suffix", ["jp2", "j2k"])
def test_a_codestream_of_no_components_is_refused(photo, suffix):
    data = bytearray(written(Image.fromarray(photo(48, 64)), suffix))
    at = data.index(b"\xff\x4f\xff\x51") + 40
    data[at : at + 2] = bytes(2)
    with pytest.raises(ImageError, match="of 0 components") as caught:
        read_header(bytes(data))
    assert caught.value.reason is Reason.CORRUPT_IMAGE


@pytest.mark.parametrize("suffix", FORMATS)
def test_damage_is_a_reject_or_other_pixels_of_the_same_size(rng, photo, suffix):
    data = written(Image.fromarray(photo(48, 64)), suffix)
    assert count_rejects(damaged(rng, data, 60)) > 10


def test_without_the_extra_a_heic_says_its_name(photo, monkeypatch):
    data = written(Image.fromarray(photo(16, 24)), "heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"pip install 'latentlake\[heif\]'") as caught:
        read_header(data)
    assert caught.value.reason is Reason.UNSUPPORTED_IMAGE


def test_a_file_of_any_image_is_told_by_its_other_brands():
    def box(*brands):
        return (8 + 4 * len(brands) + 4).to_bytes(4) + b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])

    assert isobmff.AVIF.recognises(box(b"mif1", b"avif")) and not isobmff.AVIF.recognises(box(b"mif1", b"heic"))
    assert isobmff.HEIC.recognises(box(b"mif1", b"heic")) and not isobmff.HEIC.recognises(box(b"isom", b"heic"))


@pytest.mark.parametrize("size", [(16, 24), (37, 53), (256, 256), (1, 1), (900, 3)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_lossless_jpeg_xl_comes_back(rng, size, channels, dtype):
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    pixels = (rng.random((*size, channels)) * top).astype(dtype)
    for container in (False, True):
        flat = pixels.squeeze(2) if channels == 1 else pixels
        data = imagecodecs.jpegxl_encode(flat, lossless=True, usecontainer=container)
        header = read_header(data)
        assert (header.format, header.pages, header.alpha) == ("JPEG XL", 1, channels % 2 == 0)
        np.testing.assert_array_equal(stored(data), pixels)


def test_lossy_jpeg_xl_is_what_libjxl_gives(photo):
    data = imagecodecs.jpegxl_encode(photo(48, 64), distance=2.0)
    wanted = imagecodecs.jpegxl_decode(data)
    np.testing.assert_array_equal(stored(data), wanted)
    np.testing.assert_array_equal(decode_one.decode_one(data, read_header(data), Target(shape=(48, 64, 3))), wanted)


def test_frames_and_sizes_of_jpeg_xl_are_told_by_its_header(rng):
    frames = rng.integers(0, 256, (3, 20, 33, 3), np.uint8)
    data = imagecodecs.jpegxl_encode(frames, lossless=True)
    assert read_header(data).pages == 2
    np.testing.assert_array_equal(stored(data), frames[0])
    with pytest.raises(ImageError, match="33x20 pixels"):
        read_header(data, max_pixels=659)


def test_damaged_jpeg_xl_is_a_reject_or_an_image_of_its_size(rng, photo):
    data = imagecodecs.jpegxl_encode(photo(48, 64))
    assert count_rejects(damaged(rng, data, 80)) > 20
