"""The bulk path against the exact one, bit for bit."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.images import exact
from pipeline.images.base import Format, ImageError, Orientation, Target
from pipeline.images.bulk import Bulk
from pipeline.images.headers import sniff


def taken(data, shape, **policy):
    return Bulk(Target(shape=shape, **policy)).takes(sniff(data), len(data))


def files(*data):
    return np.array([*data, None], object)[:-1]


def one_by_one(data, shape):
    return np.stack([exact.decode(d, sniff(d), Target(shape=shape)) for d in data])


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (1, 1, 3), (17, 5, 3), (5, 33, 1)])
@pytest.mark.parametrize("count", [1, 3, 256, 259])
def test_png_in_bulk_is_exact(photo, encode, shape, count) -> None:
    data = [encode(photo(*shape), "PNG") for _ in range(count)]
    assert all(taken(d, shape) for d in data)
    pixels, good = Bulk(Target(shape=shape)).decode(Format.PNG, files(*data))
    assert good.all()
    np.testing.assert_array_equal(pixels, one_by_one(data, shape))


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (33, 47, 3), (1, 1, 3), (7, 2, 3)])
@pytest.mark.parametrize("options", [{"subsampling": s, "quality": q} for s in (0, 1, 2) for q in (30, 95)])
def test_jpeg_in_bulk_is_exact(photo, encode, shape, options) -> None:
    data = [encode(photo(*shape), "JPEG", **options) for _ in range(9)]
    data += [encode(photo(*shape), "JPEG", optimize=True, restart_marker_blocks=1, **options)]
    assert all(taken(d, shape) for d in data)
    pixels, good = Bulk(Target(shape=shape)).decode(Format.JPEG, files(*data))
    assert good.all()
    np.testing.assert_array_equal(pixels, one_by_one(data, shape))


def test_large_images_go_in_small_chunks(photo, encode) -> None:
    data = [encode(photo(500, 700), "PNG") for _ in range(5)]
    pixels, good = Bulk(Target(shape=(500, 700, 3))).decode(Format.PNG, files(*data))
    assert good.all()
    np.testing.assert_array_equal(pixels, one_by_one(data, (500, 700, 3)))


def test_what_is_not_plain_is_left_to_the_exact_path(photo, encode, exif, png, chunk) -> None:
    shape = (9, 9, 3)
    pixels = photo(*shape)
    plain = [
        png(pixels),
        png(pixels, idats=3),
        png(pixels, before=chunk(b"tEXt", b"a\x00b"), after=chunk(b"tIME", bytes(7))),
        encode(pixels, "JPEG"),
        encode(pixels, "JPEG", exif=exif(1)),
    ]
    assert [taken(d, shape) for d in plain] == [True] * len(plain)
    others = [
        png(pixels, before=chunk(b"tRNS", bytes(6))),
        png(pixels, before=chunk(b"PLTE", bytes(6))),
        png(pixels, before=chunk(b"eXIf", exif(6)[6:])),
        png(pixels, after=chunk(b"eXIf", exif(6)[6:])),
        png(pixels.astype(np.uint16)),
        encode(photo(9, 9, 4), "PNG"),
        encode(pixels, "PNG", "P"),
        encode(pixels, "PNG", "L"),
        encode(pixels, "JPEG", exif=exif(6)),
        encode(pixels, "JPEG", progressive=True),
        encode(pixels, "JPEG", "CMYK"),
        encode(pixels, "JPEG", keep_rgb=True),
        encode(pixels, "JPEG").replace(b"\xff\xdb", b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00\xff\xdb", 1),
        encode(photo(9, 8), "PNG"),
        encode(pixels, "WEBP"),
        encode(pixels, "BMP"),
    ]
    assert [taken(d, shape) for d in others] == [False] * len(others)
    assert taken(encode(pixels, "JPEG", exif=exif(6)), shape, orientation=Orientation.IGNORE)


@pytest.mark.parametrize("large", [False, True])
def test_plain_pngs_are_found_in_a_column(photo, png, chunk, large) -> None:
    shape = (9, 7, 1)
    pixels = photo(*shape)
    good = png(pixels)
    cases = {
        good: True,
        png(pixels[:, :6]): False,
        png(pixels, idats=2): False,
        png(pixels, before=chunk(b"gAMA", bytes(4))): False,
        png(photo(9, 7, 3)): False,
        good[:-1]: False,
        good + b"x": False,
        good[:57]: False,
        b"": False,
        None: False,
    }
    column = pa.array([b"skipped", *cases, good, b"left over"], pa.large_binary() if large else pa.binary())
    found = Bulk(Target(shape=shape)).plain_pngs(column[1:-1])  # a slice: offsets do not begin at 0
    assert found.tolist() == [*cases.values(), True]


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_a_damaged_image_leaves_its_chunk_to_the_exact_path(photo, encode, format) -> None:
    shape = (28, 28, 1)
    data = [encode(photo(*shape), format) for _ in range(400)]
    data[300] = data[300][: len(data[300]) * 2 // 3]
    pixels, good = Bulk(Target(shape=shape)).decode(Format(format), files(*data))
    np.testing.assert_array_equal(good, np.arange(400) < 256)
    np.testing.assert_array_equal(pixels[:256], one_by_one(data[:256], shape))


def damaged(rng, data, count):
    for _ in range(count):
        copy = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            copy[rng.integers(8, len(copy))] = rng.integers(256)
        yield bytes(copy)


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("shape", [(12, 12, 1), (12, 12, 3)])
def test_whatever_bulk_accepts_the_exact_path_accepts_alike(rng, photo, encode, format, shape) -> None:
    bulk = Bulk(Target(shape=shape))
    accepted = 0
    data = encode(photo(*shape), format)
    for mutant in [*damaged(rng, data, 300), *(data[:end] for end in range(0, len(data), 7))]:
        try:
            header = sniff(mutant)
        except ImageError:
            continue
        if not bulk.takes(header, len(mutant)):
            continue
        pixels, good = bulk.decode(Format(format), files(mutant))
        if good.all():
            accepted += 1
            np.testing.assert_array_equal(pixels[0], exact.decode(mutant, header, Target(shape=shape)))
    assert accepted or format == "PNG"  # a PNG's CRCs find every damage
