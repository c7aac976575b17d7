"""How many images a file has, against files of other libraries, and which of them is taken."""

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from lake.core.records import Reason
from lake.images import decode_one
from lake.images.header import header_for, read_header
from lake.images.types import ImageError, Pages, Target


@pytest.fixture
def stack(rng):
    return rng.integers(0, 256, (3, 12, 10), np.uint8)


def tiff(pixels, **options):
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, **options)
    return out.getvalue()


def saved(pictures, format, **options):
    out = io.BytesIO()
    images = [Image.fromarray(picture).convert("RGB") for picture in pictures]
    images[0].save(out, format, save_all=True, append_images=images[1:], **options)
    return out.getvalue()


def stored(data, **policy):
    return decode_one.decode_stored(data, header_for(data, Target(shape=(None, None, 1), **policy)))


@pytest.mark.parametrize("options", [{"imagej": True}, {"ome": True}, {"photometric": "minisblack", "metadata": None}])
def test_a_stack_is_told_and_its_first_page_is_read(stack, options):
    data = tiff(stack, **options)
    assert read_header(data).pages == 3
    assert read_header(tiff(stack[0], **options)).pages == 1
    assert np.array_equal(stored(data)[..., 0], stack[0])


def test_imagej_writes_large_stacks_with_one_directory(stack):
    data = bytearray(tiff(stack, imagej=True))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        first, order = file.pages[0].offset, file.byteorder
    (count,) = struct.unpack_from(order + "H", data, first)
    struct.pack_into(order + "I", data, first + 2 + 12 * count, 0)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert len(file.asarray()) == 3
    assert read_header(bytes(data)).pages == 3


@pytest.mark.parametrize("format", ["TIFF", "PNG", "WEBP", "MPO"])
def test_frames_and_pictures_are_counted(stack, format):
    assert [read_header(saved(stack[:count], format)).pages for count in (1, 2, 3)] == [1, 2, 3]


def test_of_a_gif_only_several_is_told(stack):
    assert [read_header(saved(stack[:count], "GIF")).pages for count in (1, 2, 3)] == [1, 2, 2]


def test_an_apng_may_have_its_default_image_apart(stack):
    assert read_header(saved(stack, "PNG", default_image=True)).pages == 3


def test_smaller_copies_and_masks_are_no_pages(stack):
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as file:
        file.write(stack[0, ::2, ::2], subfiletype=1, metadata=None)
        file.write(stack[0], metadata=None)
        file.write(stack[1] > 99, subfiletype=4, metadata=None)
    assert read_header(out.getvalue()).pages == 1
    assert np.array_equal(stored(out.getvalue(), pages=Pages.REJECT)[..., 0], stack[0])


def test_previews_and_gain_maps_are_no_pictures(stack):
    data = saved(stack[:2], "MPO")
    start = data.index(b"MPF\x00") + 4
    order = "<" if data[start : start + 2] == b"II" else ">"
    entries = data.index(struct.pack(order + "HHI", 0xB002, 7, 32), start)
    (place,) = struct.unpack_from(order + "I", data, entries + 8)
    second = start + place + 16
    preview = data[:second] + struct.pack(order + "I", 0x010001) + data[second + 4 :]
    assert read_header(preview).pages == 1
    xmp = b'http://ns.adobe.com/xap/1.0/\x00<x hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"/>'
    assert read_header(data[:2] + b"\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp + data[2:]).pages == 1


def test_a_page_that_is_cut_off_is_still_one_of_several(stack):
    data = tiff(stack[:2], photometric="minisblack", metadata=None)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        first = file.pages[0].offset
    cut = bytearray(data)
    (count,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", cut, first + 2 + 12 * count, len(data) + 100)
    assert read_header(bytes(cut)).pages == 2
    assert np.array_equal(stored(bytes(cut))[..., 0], stack[0])


def test_a_circle_of_directories_ends(stack):
    data = bytearray(tiff(stack[0], metadata=None))
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * count, first)
    assert read_header(bytes(data)).pages == 1


@pytest.mark.parametrize("format", ["TIFF", "GIF", "PNG", "WEBP", "MPO"])
def test_several_can_be_a_reject(stack, format):
    target = Target(shape=(None, None, 1), pages=Pages.REJECT)
    assert header_for(saved(stack[:1], format), target).pages == 1
    with pytest.raises(ImageError, match="--pages first") as caught:
        header_for(saved(stack, format), target)
    assert caught.value.reason is Reason.SEVERAL_PAGES
