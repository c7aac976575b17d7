"""The one transparent colour of a grey or RGB PNG (tRNS), at every depth: the values of the PNG specification."""

import itertools
import struct
import zlib

import numpy as np
import pyarrow as pa
import pytest

from lake.core.records import Records
from lake.images.decoder import Decoder
from lake.images.native_decoder import NativeDecoder
from lake.images.types import Target

HEIGHT, WIDTH = 13, 19


def file(samples, depth, hidden, chunk):
    """A PNG of samples [H, W, C] with a transparent colour, by hand."""
    height, width, channels = samples.shape
    if depth < 8:
        bits = np.unpackbits(samples[..., 0].astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    else:
        rows = samples.astype(">u2" if depth == 16 else "u1").reshape(height, -1).view(np.uint8)
    data = b"".join(b"\x00" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, depth, 0 if channels == 1 else 2, 0, 0, 0)
    trns = chunk(b"tRNS", struct.pack(f">{channels}H", *hidden))
    body = chunk(b"IHDR", head) + trns + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def expected(samples, depth, hidden):
    """Samples scaled linearly to 8 or 16 bits, and alpha 0 where all of them have the transparent values."""
    white = 65535 if depth == 16 else 255
    scaled = samples.astype(np.uint32) * white // ((1 << depth) - 1)
    alpha = np.where((samples == np.array(hidden)).all(axis=2, keepdims=True), 0, white)
    return np.concatenate([scaled, alpha], axis=2).astype(np.uint16 if depth == 16 else np.uint8)


def records(*files):
    index = np.arange(len(files))
    return Records(
        shard="s",
        index=index,
        key=pa.array(map(str, index), pa.string()),
        payload=pa.array(files, pa.binary()),
        carried={},
    )


CASES = [
    (depth, channels) for depth, channels in itertools.product((1, 2, 4, 8, 16), (1, 3)) if channels == 1 or depth > 4
]


@pytest.mark.parametrize(("depth", "channels"), CASES)
def test_alpha_is_that_of_the_specification(rng, chunk, depth, channels):
    samples = rng.integers(0, 1 << depth, (HEIGHT, WIDTH, channels))
    found = [samples[3, 4], samples[0, 0], np.zeros(channels, int), np.full(channels, (1 << depth) - 1)]
    files = [file(samples, depth, hidden, chunk) for hidden in found]
    wanted = [expected(samples, depth, hidden) for hidden in found]

    faults = {}
    native = list(NativeDecoder(Target(shape=(None, None, 1))).groups(records(*files), faults))
    assert faults == {}
    pixels = np.concatenate([group.pixels for group in native])
    np.testing.assert_array_equal(pixels, np.stack(wanted))

    (group,) = Decoder(Target(shape=(HEIGHT, WIDTH, 4))).decode(records(*files)).groups
    colours = [image[..., [*range(channels)] * (3 // channels) + [channels]] for image in wanted]
    np.testing.assert_array_equal(group.pixels, np.stack(colours))

    (opaque,) = Decoder(Target(shape=(HEIGHT, WIDTH, 3))).decode(records(*files)).groups
    np.testing.assert_array_equal(opaque.pixels, np.stack(colours)[..., :3])


def test_bits_above_the_depth_mean_nothing(rng, chunk):
    samples = rng.integers(0, 4, (HEIGHT, WIDTH, 1))
    faults = {}
    (group,) = NativeDecoder(Target(shape=(None, None, 1))).groups(records(file(samples, 2, [0x7001], chunk)), faults)
    np.testing.assert_array_equal(group.pixels[0], expected(samples, 2, [1]))
