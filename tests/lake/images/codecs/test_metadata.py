"""EXIF, resolution and places that written images take along, read back by Pillow and tifffile."""

import io
import struct

import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image, ImageOps

from lake.images import decode_one, geometry
from lake.images.encoder import ImageEncoder, ImageFormat
from lake.images.header import read_header

KINDS = ("PNG", "JPEG", "WEBP", "TIFF")
OUT = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp", "TIFF": "tiff"}
PLACES = {
    33550: ("d", (2.5, 2.5, 0.0)),
    33922: ("d", (0.0, 0.0, 0.0, 440720.0, 3751320.0, 0.0)),
    34735: ("H", (1, 1, 0, 1, 1024, 0, 1, 1)),
    34736: ("d", (6378137.0,)),
    34737: ("s", "UTM zone 33|"),
    42112: ("s", "<GDALMetadata/>"),
    42113: ("s", "-9999"),
}


def camera(orientation=None):
    """An EXIF block with a maker, sides of pixels, a place and a preview."""
    exif = Image.Exif()
    exif[271] = "Maker"
    exif.get_ifd(34665)[40962], exif.get_ifd(34665)[40963] = 4000, 3000
    exif.get_ifd(34853)[1] = "N"
    if orientation:
        exif[274] = orientation
    return exif.tobytes()


def written(pixels, kind, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def again(data, to, *, upright=True, resize=None):
    """The image of a file, written as a job that changes nothing would."""
    header = read_header(data)
    pixels = geometry.turned(decode_one.decode_stored(data, header), header.orientation if upright else 1)
    return ImageEncoder(ImageFormat(to), 90, upright=upright).encode(pixels[:resize], data).data


def exif_of(data):
    with Image.open(io.BytesIO(data)) as image:
        return image.getexif()


@pytest.mark.parametrize("to", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_exif_goes_along_and_says_the_sides_of_the_pixels(photo, kind, to):
    made = exif_of(again(written(photo(20, 30), kind, exif=camera()), to))
    assert made[271] == "Maker"
    assert dict(made.get_ifd(34665)) == {40962: 30, 40963: 20}
    assert made.get_ifd(34853)[1] == "N"


@pytest.mark.parametrize("to", ["png", "jpeg", "webp", "same"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_viewers_show_the_image_as_before(photo, kind, to, orientation):
    data = written(photo(16, 24), kind, exif=camera(orientation), **({"quality": 95} if kind != "PNG" else {}))
    with Image.open(io.BytesIO(data)) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image)).astype(int)
    for upright in (True, False):
        made = again(data, to, upright=upright)
        assert exif_of(made).get(274) == (1 if upright else orientation)
        with Image.open(io.BytesIO(made)) as image:
            shown = np.asarray(ImageOps.exif_transpose(image)).astype(int)
        assert shown.shape == wanted.shape
        assert np.abs(shown - wanted).mean() < 15  # lossy twice; one that is turned otherwise differs by 60


def test_a_heic_is_not_turned_again(photo):
    image = Image.fromarray(photo(16, 24))
    image.info["exif"] = camera(6)
    out = io.BytesIO()
    pillow_heif.from_pillow(image).save(out)
    for upright in (True, False):
        made = exif_of(again(out.getvalue(), "png", upright=upright))
        assert (made[271], made.get(274, 1)) == ("Maker", 1)


def test_a_preview_of_the_former_pixels_is_gone(photo, encode):
    preview = written(photo(8, 8), "JPEG")
    first = struct.pack("<HHHIHHI", 1, 271, 2, 6, 0, 0, 0)[:2] + struct.pack("<HHII", 271, 2, 4, 0x414141)
    body = b"II*\x00" + struct.pack("<I", 8) + first + struct.pack("<I", 26)
    body += struct.pack("<H", 2) + struct.pack("<HHII", 513, 4, 1, 56) + struct.pack("<HHII", 514, 4, 1, len(preview))
    body += bytes(4) + preview
    made = exif_of(again(written(photo(20, 30), "JPEG", exif=b"Exif\x00\x00" + body), "jpeg"))
    assert made[271] == "AAA"
    assert not made.get_ifd(1)


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_damaged_exif_is_left_out_or_harmless(photo, cut):
    data = again(written(photo(20, 30), "JPEG", exif=camera(6)[:-cut]), "png")
    read_header(data)
    with Image.open(io.BytesIO(data)) as image:
        image.load()


@pytest.mark.parametrize("to", KINDS)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_resolution_goes_along(photo, kind, to):
    made = again(written(photo(20, 30), kind, dpi=(300, 150)), OUT[to])
    with Image.open(io.BytesIO(made)) as image:
        found = image.info.get("dpi")
    if to == "WEBP":
        assert found is None
    else:
        np.testing.assert_allclose([float(value) for value in found], (300, 150), rtol=1e-4)


def test_resolution_follows_a_turn_and_not_a_change_of_size(photo):
    data = written(photo(20, 30), "TIFF", dpi=(300, 150), tiffinfo={274: 6})
    with Image.open(io.BytesIO(again(data, "tiff"))) as image:
        assert [float(value) for value in image.info["dpi"]] == [150, 300]
    with Image.open(io.BytesIO(again(data, "tiff", resize=12))) as image:
        assert image.info.get("dpi", (1, 1))[0] <= 72


@pytest.mark.parametrize("unit", [1, 2, 3])
def test_the_unit_of_a_tiff_stays(rng, unit):
    out = io.BytesIO()
    pixels = rng.integers(0, 65536, (20, 30), np.uint16)
    tifffile.imwrite(out, pixels, resolution=(12345.5, 54321.25), resolutionunit=unit, metadata=None)
    with tifffile.TiffFile(io.BytesIO(again(out.getvalue(), "same"))) as file:
        tags = file.pages[0].tags
        if unit == 1:  # a shape of pixels alone
            assert 282 not in tags
        else:
            assert tags[296].value == unit
            assert [tags[tag].value[0] / tags[tag].value[1] for tag in (282, 283)] == [12345.5, 54321.25]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_places_of_a_geotiff_go_along(rng, order, big):
    out, pixels = io.BytesIO(), rng.integers(-99, 99, (20, 30), np.int16)
    extra = [(tag, kind, None if kind == "s" else len(value), value, True) for tag, (kind, value) in PLACES.items()]
    tifffile.imwrite(out, pixels, byteorder=order, bigtiff=big, extratags=extra, metadata=None)
    for to in ("same", "lossless", "tiff"):
        with tifffile.TiffFile(io.BytesIO(again(out.getvalue(), to))) as file:
            for tag, (_, value) in PLACES.items():
                assert file.pages[0].tags[tag].value == value
    with tifffile.TiffFile(io.BytesIO(again(out.getvalue(), "tiff", resize=7))) as file:
        assert not any(tag in file.pages[0].tags for tag in PLACES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("to", KINDS)
def test_an_image_that_has_none_is_written_without(photo, kind, to):
    pixels = photo(20, 30)
    data = written(pixels, kind)
    stored = decode_one.decode_stored(data, read_header(data))
    encoder = ImageEncoder(ImageFormat(OUT[to]), 90)
    assert encoder.encode(stored, data).data == encoder.encode(stored, written(pixels, "BMP")).data
