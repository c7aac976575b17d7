"""TIFF as scientific programs write it: BigTIFF, bands, planes, wide and signed integers, every floating type."""

import io
import lzma
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile

from lake.core.records import Reason
from lake.images import decode_one
from lake.images.codecs import tiff_write
from lake.images.header import read_header
from lake.images.types import ImageError, Resize, Target
from lake.images.white import as_stored, white_of

NATIVE = Target(shape=(None, None, 1))
TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


def written(pixels, **options):
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, metadata=None, **{"photometric": "minisblack"} | options)
    return out.getvalue()


def stored(data):
    return decode_one.decode_stored(data, read_header(data))


@pytest.fixture
def pixels(rng):
    """Pixels [H, W, K] that use all of their type."""

    def make(dtype, channels=1, height=37, width=53):
        kind = np.dtype(dtype)
        if kind.kind == "f":
            return rng.normal(0, 100, (height, width, channels)).astype(kind)
        limits = np.iinfo(kind)
        return rng.integers(limits.min, limits.max, (height, width, channels), kind, endpoint=True)

    return make


def as_read(pixels):
    return pixels if pixels.dtype in (np.uint8, np.uint16) else pixels.astype(np.float32)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bigtiff": True, "byteorder": ">"},
        {"bigtiff": True, "tile": (16, 32), "compression": "zlib"},
        {"compression": "zstd", "byteorder": ">"},
        {"compression": "lzma", "rowsperstrip": 7},
        {"compression": "lzw", "tile": (32, 16)},
        {"compression": "packbits"},
    ],
    ids=str,
)
def test_every_type_of_sample_comes_back(pixels, dtype, options):
    wanted = pixels(dtype)
    read = stored(written(wanted[..., 0], **options))
    assert read.dtype == as_read(wanted).dtype
    np.testing.assert_array_equal(read, as_read(wanted))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16", "float16", "float32", "float64"])
@pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd", "lzma"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_predictor_is_undone(pixels, dtype, compression, channels):
    wanted = pixels(dtype, channels)
    for tile in ({}, {"tile": (16, 32)}):
        options = {"compression": compression, "predictor": True, "planarconfig": "contig"} | tile
        data = written(wanted if channels > 1 else wanted[..., 0], **options)
        np.testing.assert_array_equal(stored(data), as_read(wanted))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [2, 3, 4, 5, 9])
@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
def test_bands_and_planes_come_back(pixels, dtype, channels, photometric):
    if photometric == "rgb" and channels < 3:
        pytest.skip("RGB has three samples")
    wanted = pixels(dtype, channels)
    for tile in ({}, {"tile": (16, 32), "compression": "zlib"}):
        whole = written(wanted, photometric=photometric, planarconfig="contig", **tile)
        planes = np.ascontiguousarray(np.moveaxis(wanted, 2, 0))
        apart = written(planes, photometric=photometric, planarconfig="separate", **tile)
        for data in (whole, apart):
            header = read_header(data)
            assert header.channels + header.alpha == channels
            np.testing.assert_array_equal(stored(data), wanted)


def test_grey_samples_by_threes_are_colours(pixels):
    wanted = pixels("uint8", 3)
    data = written(wanted, planarconfig="contig")
    decoded = decode_one.decode_one(data, read_header(data), Target(shape=(37, 53, 3)))
    np.testing.assert_array_equal(decoded, wanted)


def test_a_model_of_as_many_bands_takes_them_at_its_size(pixels):
    for dtype in ("uint8", "uint16", "float32"):
        wanted = pixels(dtype, 5)
        data = written(wanted, planarconfig="contig")
        decoded = decode_one.decode_one(data, read_header(data), Target(shape=(37, 53, 5)))
        np.testing.assert_array_equal(decoded, wanted)
        small = decode_one.decode_one(data, read_header(data), Target(shape=(18, 26, 5), resize=Resize.STRETCH))
        for band in range(5):
            alone = written(wanted[..., band])
            target = Target(shape=(18, 26, 1), resize=Resize.STRETCH)
            np.testing.assert_array_equal(
                small[..., band : band + 1], decode_one.decode_one(alone, read_header(alone), target)
            )


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
def test_a_model_of_other_channels_refuses_bands(pixels, channels):
    data = written(pixels("uint8", 5), planarconfig="contig")
    with pytest.raises(ImageError, match=f"5 bands, the model takes {channels}") as caught:
        decode_one.decode_one(data, read_header(data), Target(shape=(37, 53, channels)))
    assert caught.value.reason is Reason.WRONG_CHANNELS


def test_white_that_is_zero_is_turned_round(pixels):
    wanted = pixels("uint16")
    data = written(65535 - wanted[..., 0], photometric="miniswhite")
    np.testing.assert_array_equal(stored(data), wanted)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "int64"])
def test_integers_are_fractions_of_their_largest_and_go_back_to_their_type(pixels, dtype):
    wanted = pixels(dtype)
    data, most = written(wanted[..., 0]), np.iinfo(dtype).max
    decoded = decode_one.decode_one(data, read_header(data), Target(shape=(37, 53, 1)))
    np.testing.assert_allclose(decoded, wanted / most, rtol=3e-7)
    back = as_stored(decoded, data, 1)
    assert back.dtype == dtype
    np.testing.assert_allclose(back.astype(float), wanted.astype(float), rtol=3e-7, atol=0.5)


def test_integers_whose_white_is_said_are_fractions_of_it(pixels):
    wanted = pixels("uint16").astype(np.int32)
    data = written(wanted[..., 0])
    target = Target(shape=(37, 53, 1), white=65535)
    decoded = decode_one.decode_one(data, read_header(data), target)
    np.testing.assert_allclose(decoded, wanted / 65535, rtol=3e-7)
    np.testing.assert_array_equal(as_stored(decoded, data, white_of(read_header(data), target)), wanted)


@pytest.mark.parametrize("dtype", (*TYPES[:-3], "float32"))
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_every_type_is_written_so_that_others_read_it(pixels, dtype, channels):
    wanted = pixels(dtype, channels, 900)
    data = tiff_write.write(wanted, {})
    read = tifffile.imread(io.BytesIO(data))
    assert read.dtype == dtype
    np.testing.assert_array_equal(read.reshape(wanted.shape), wanted)
    np.testing.assert_array_equal(stored(data), as_read(wanted))


def bands_of_one_tile(tags):
    """A TIFF whose directory has these tags, and eight bytes of data."""
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\x00" + struct.pack("<I", 16) + bytes(8) + struct.pack("<H", len(tags)) + rows + bytes(4)


@pytest.mark.parametrize(
    ("more", "pixels"),
    [({277: 65535}, 1000 * 1000 * 65535 // 16), ({277: 3, 339: 3, 258: 64}, 1000 * 1000 * 24 // 16)],
)
def test_many_and_large_samples_count_as_more_pixels(more, pixels):
    tags = {256: 1000, 257: 1000, 258: 8, 262: 1, 273: 8, 277: 1, 279: 8} | more
    with pytest.raises(ImageError, match="pixels, more than") as caught:
        read_header(bands_of_one_tile(tags), max_pixels=pixels - 1)
    assert caught.value.reason is Reason.TOO_MANY_PIXELS


def test_tiles_that_are_mostly_padding_count_as_pixels():
    tags = {256: 1, 257: 1000, 258: 16, 259: 8, 262: 1, 277: 1, 322: 1 << 20, 323: 1, 324: 8, 325: 8}
    with pytest.raises(ImageError) as caught:
        read_header(bands_of_one_tile(tags))
    assert caught.value.reason in (Reason.TOO_MANY_PIXELS, Reason.CORRUPT_IMAGE)


@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_strips_that_are_missing_or_empty_are_no_zeros(pixels, damage):
    data = bytearray(written(pixels("uint16")[..., 0], compression="zlib", rowsperstrip=8))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages[0].tags
        for tag in (273, 279):
            if damage == "missing":
                struct.pack_into("<I", data, tags[tag].offset + 4, tags[tag].count - 1)
        if damage == "empty":
            data[tags[279].valueoffset : tags[279].valueoffset + 2] = bytes(2)
    with pytest.raises(ImageError, match="strips or tiles of 5") as caught:
        read_header(bytes(data))
    assert caught.value.reason is Reason.CORRUPT_IMAGE


def test_one_uncompressed_strip_needs_no_size(pixels):
    wanted = pixels("uint16")
    data = bytearray(written(wanted[..., 0]))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        struct.pack_into("<H", data, file.pages[0].tags[279].offset, 65000)
    np.testing.assert_array_equal(stored(bytes(data)), wanted)


def test_a_strip_that_unpacks_to_more_than_it_must_takes_no_memory(pixels, tmp_path):
    small = written(pixels("uint16")[..., 0], compression="lzma")
    with tifffile.TiffFile(io.BytesIO(small)) as file:
        page = file.pages[0]
        place, tag = page.dataoffsets[0], page.tags[279]
    bomb = lzma.compress(bytes(1 << 26), preset=0)
    data = bytearray(small[:place] + bomb)
    struct.pack_into("<I", data, tag.valueoffset, len(bomb))
    code = """if True:
        import sys, re, pathlib
        from lake.images.decode_one import decode_stored
        from lake.images.header import read_header

        def most():
            return int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) >> 10

        small, data = (pathlib.Path(name).read_bytes() for name in sys.argv[1:])
        decode_stored(small, read_header(small))
        before = most()
        decode_stored(data, read_header(data))
        print(most() - before)
    """
    (tmp_path / "small").write_bytes(small)
    (tmp_path / "bomb").write_bytes(data)
    command = [sys.executable, "-c", code, str(tmp_path / "small"), str(tmp_path / "bomb")]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert int(done.stdout) < 20  # MiB


def test_lzma_that_asks_for_much_memory_is_refused(pixels):
    data = written(pixels("uint16")[..., 0], compression="lzma")
    at = data.index(b"\x21\x01") + 2  # LZMA2, one byte of properties: the dictionary's size
    head = data[at - 4 : at] + bytes((38,)) + data[at + 1 : at + 6]
    block = head[: 4 * (head[0] + 1) - 4]
    assert len(block) == 8
    forged = data[: at - 4] + block + struct.pack("<I", zlib.crc32(block)) + data[at + 8 :]
    with pytest.raises(ImageError, match="Memory usage limit") as caught:
        read_header(forged)
    assert caught.value.reason is Reason.CORRUPT_IMAGE


def test_a_bigtiff_stack_is_counted(rng):
    stack = rng.integers(0, 65536, (3, 9, 8), np.uint16)
    out = io.BytesIO()
    tifffile.imwrite(out, stack, bigtiff=True, photometric="minisblack", ome=True)
    assert read_header(out.getvalue()).pages == 3
    np.testing.assert_array_equal(stored(out.getvalue())[..., 0], stack[0])
