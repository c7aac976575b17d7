"""The bulk path against the exact one, bit for bit."""

import re
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

from lake.core.tensorflow import tensorflow
from lake.images import decode_bulk, decode_one
from lake.images.codecs.jpeg import intact as intact_jpeg
from lake.images.codecs.png import intact as intact_png
from lake.images.decode_bulk import BulkDecoder
from lake.images.header import read_header
from lake.images.turns import SHORT, in_turn
from lake.images.types import ImageCodec, ImageError, Orientation, Target


@pytest.fixture(autouse=True, params=["tensorflow", "imagecodecs"])
def library(request, monkeypatch) -> None:
    """What decodes: TensorFlow in a process that has started it, imagecodecs in others."""
    tensorflow()
    monkeypatch.setattr(decode_bulk, "is_started", lambda: request.param == "tensorflow")


def test_threads_take_turns_at_small_images() -> None:
    inside, most = [], []

    def work(numbers: int) -> None:
        with in_turn(numbers):
            inside.append(1)
            time.sleep(0.05)
            most.append(len(inside))
            inside.pop()

    for numbers, wanted in ((SHORT, 1), (SHORT + 1, 3)):
        most.clear()
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(work, [numbers] * 3))
        assert max(most) == wanted


def taken(data, shape, **policy):
    return BulkDecoder(Target(shape=shape, **policy)).takes(read_header(data), len(data))


def files(*data):
    return np.array([*data, None], object)[:-1]


def one_by_one(data, shape):
    return np.stack([decode_one.decode_one(d, read_header(d), Target(shape=shape)) for d in data])


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (1, 1, 3), (17, 5, 3), (5, 33, 1)])
@pytest.mark.parametrize("count", [1, 3, 256, 259])
def test_png_in_bulk_is_exact(photo, encode, shape, count) -> None:
    data = [encode(photo(*shape), "PNG") for _ in range(count)]
    assert all(taken(d, shape) for d in data)
    good, pixels = BulkDecoder(Target(shape=shape)).decode(ImageCodec.PNG, files(*data))
    assert len(good) == len(data)
    np.testing.assert_array_equal(pixels, one_by_one(data, shape))


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (33, 47, 3), (1, 1, 3), (7, 2, 3)])
@pytest.mark.parametrize("options", [{"subsampling": s, "quality": q} for s in (0, 1, 2) for q in (30, 95)])
def test_jpeg_in_bulk_is_exact(photo, encode, shape, options) -> None:
    data = [encode(photo(*shape), "JPEG", **options) for _ in range(9)]
    data += [encode(photo(*shape), "JPEG", optimize=True, restart_marker_blocks=1, **options)]
    assert all(taken(d, shape) for d in data)
    good, pixels = BulkDecoder(Target(shape=shape)).decode(ImageCodec.JPEG, files(*data))
    assert len(good) == len(data)
    np.testing.assert_array_equal(pixels, one_by_one(data, shape))


def test_large_images_go_in_small_chunks(photo, encode) -> None:
    data = [encode(photo(500, 700), "PNG") for _ in range(5)]
    good, pixels = BulkDecoder(Target(shape=(500, 700, 3))).decode(ImageCodec.PNG, files(*data))
    assert len(good) == len(data)
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
        good[:32] + bytes([good[32] ^ 1]) + good[33:]: False,
        b"": False,
        None: False,
    }
    column = pa.array([b"skipped", *cases, good, b"left over"], pa.large_binary() if large else pa.binary())
    found = BulkDecoder(Target(shape=shape)).plain_pngs(column[1:-1])  # a slice: offsets do not begin at 0
    assert found.tolist() == [*cases.values(), True]


def cut(data):
    return data[: len(data) * 2 // 3]


def flipped(data):
    return data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]


def short_of_rows(data):
    """A PNG whose checksums are right and whose last rows are missing."""
    start, end = data.index(b"IDAT"), data.index(b"IEND") - 8
    idat = b"IDAT" + zlib.compress(zlib.decompress(data[start + 4 : end])[:100])
    return data[: start - 4] + (len(idat) - 4).to_bytes(4) + idat + zlib.crc32(idat).to_bytes(4) + data[end + 4 :]


def of_another_component(data):
    """A JPEG whose scan is of a component that the image does not have."""
    position = data.index(b"\xff\xda") + 5
    return data[:position] + b"\x63" + data[position + 1 :]


DAMAGE = [("PNG", cut), ("PNG", flipped), ("PNG", short_of_rows), ("JPEG", cut), ("JPEG", of_another_component)]


@pytest.mark.parametrize(("format", "damage"), DAMAGE)
@pytest.mark.parametrize("share", [1 / 400, 0.05, 0.5, 1])
def test_bad_images_cost_themselves_alone(rng, photo, encode, format, damage, share) -> None:
    shape = (28, 28, 1)
    data = [encode(photo(*shape), format) for _ in range(400)]
    truth = one_by_one(data, shape)
    bad = rng.permutation(400) < 400 * share
    broken = [damage(d) if is_bad else d for d, is_bad in zip(data, bad, strict=True)]
    bulk = BulkDecoder(Target(shape=shape))
    for _ in range(2):  # the first time it does not know yet that some are bad
        good, pixels = bulk.decode(ImageCodec(format), files(*broken))
        np.testing.assert_array_equal(good, np.flatnonzero(~bad))
        np.testing.assert_array_equal(pixels, truth[good])


def test_every_damage_of_image_data_shows_in_a_png(rng, photo, encode, png, chunk) -> None:
    whole = encode(photo(9, 7), "PNG")
    parts = png(photo(9, 7), idats=3, before=chunk(b"gAMA", bytes(4)))
    assert intact_png(whole)
    assert intact_png(parts)
    for data in (whole, parts):
        for start in (found.end() for found in re.finditer(b"IDAT", data)):
            size = int.from_bytes(data[start - 8 : start - 4]) + 4  # and the CRC
            for position in range(start, start + size):
                mutant = bytearray(data)
                mutant[position] ^= 1 << rng.integers(8)
                assert not intact_png(bytes(mutant)), position


def test_the_end_of_a_jpeg_is_missed(photo, encode) -> None:
    pixels = photo(33, 47)
    for options in ({}, {"restart_marker_blocks": 1}, {"optimize": True, "subsampling": 0}):
        whole = encode(pixels, "JPEG", **options)
        assert intact_jpeg(whole)
        assert intact_jpeg(whole + b"what follows")
        start = whole.index(b"\xff\xda")
        assert not any(intact_jpeg(whole[:end]) for end in range(start, len(whole)))
        assert not intact_jpeg(whole[: start + 40] + b"\xff\xc4" + whole[start + 42 :])


def damaged(rng, data, count):
    for _ in range(count):
        copy = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            copy[rng.integers(8, len(copy))] = rng.integers(256)
        yield bytes(copy)


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("shape", [(12, 12, 1), (12, 12, 3)])
def test_whatever_bulk_accepts_the_exact_path_accepts_alike(rng, photo, encode, format, shape) -> None:
    bulk = BulkDecoder(Target(shape=shape))
    accepted = 0
    data = encode(photo(*shape), format)
    for mutant in [*damaged(rng, data, 300), *(data[:end] for end in range(0, len(data), 7))]:
        try:
            header = read_header(mutant)
        except ImageError:
            continue
        if not bulk.takes(header, len(mutant)):
            continue
        good, pixels = bulk.decode(ImageCodec(format), files(mutant))
        if len(good):
            accepted += 1
            np.testing.assert_array_equal(pixels[0], decode_one.decode_one(mutant, header, Target(shape=shape)))
    assert accepted or format == "PNG"  # a PNG's CRCs find every damage
