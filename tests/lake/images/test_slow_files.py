"""Small files that ask for much work: refused by their header, or decoded without the part that asks for it."""

import io
import struct
import time
import zlib

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from lake.core.records import Reason, Records
from lake.images import decode_bulk
from lake.images.decoder import Decoder
from lake.images.header import read_header
from lake.images.types import ImageCodec, ImageError, Target


def with_scans(data, count):
    """A grey progressive JPEG with empty scans before its end: each refines no coefficient but the last one."""
    table = b"\xff\xc4\x00\x14\x10\x00" + bytes(15) + b"\x00"  # one code, of the symbol EOB
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x3f\x3f\x00" + b"\x00"
    return data[:-2] + table + scan * count + b"\xff\xd9"


def progressive(height, width, **options):
    out = io.BytesIO()
    Image.new("L", (width, height), 99).save(out, "JPEG", progressive=True, **options)
    return out.getvalue()


def records(*files):
    index = np.arange(len(files))
    return Records(
        shard="s", index=index, key=pa.array(map(str, index), pa.string()), payload=pa.array(files), carried={}
    )


def test_scans_of_a_large_image_are_limited():
    data = progressive(3000, 4000)
    assert read_header(data).width == 4000
    assert read_header(with_scans(data, 8)).width == 4000
    with pytest.raises(ImageError, match=r"1\d\d scans") as caught:
        read_header(with_scans(data, 100))
    assert caught.value.reason is Reason.UNSUPPORTED_IMAGE


def test_scans_of_a_small_image_are_not():
    assert read_header(with_scans(progressive(30, 40), 100)).width == 40


def test_a_baseline_image_of_many_scans_is_not_plain():
    out = io.BytesIO()
    Image.new("RGB", (40, 30), (1, 2, 3)).save(out, "JPEG")
    data = out.getvalue()
    assert read_header(data).plain
    start = data.index(b"\xff\xda")
    apart = data[:start] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + data[start + 14 :]
    assert not read_header(apart).plain


def test_scans_of_a_preview_or_of_what_follows_do_not_count():
    data = progressive(3000, 4000)
    preview = b"\xff\xda" * 200
    segment = b"\xff\xe1" + struct.pack(">H", len(preview) + 2) + preview
    scan = data.rindex(b"\xff\xda")
    assert read_header(data[:scan] + segment + data[scan:] + preview).width == 4000
    hidden = segment.replace(preview, b"\xff\xd9" * 200)  # an end within a segment is none
    with pytest.raises(ImageError, match="scans"):
        read_header(data[:scan] + hidden + with_scans(data, 100)[scan:])


def test_texts_that_inflate_do_not_enter_the_bulk_path(photo, png, chunk):
    pixels = photo(9, 9, 1)
    text = chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(8_000_000)))
    data = png(pixels, before=text * 12)
    assert not read_header(data).plain
    assert read_header(png(pixels, before=chunk(b"iCCP", bytes(3000)))).plain
    start = time.monotonic()
    (group,) = Decoder(Target(shape=(9, 9, 1))).decode(records(data)).groups
    np.testing.assert_array_equal(group.pixels[0], pixels)
    assert time.monotonic() - start < 2  # 90 s with TensorFlow's decoder


@pytest.mark.parametrize("kind", [ImageCodec.PNG, ImageCodec.JPEG])
@pytest.mark.parametrize("shape", [(9, 9, 1), (9, 9, 3)])
def test_a_chunk_is_filled_with_a_blank_image(photo, encode, monkeypatch, kind, shape):
    seen = []
    real = decode_bulk._run
    monkeypatch.setattr(decode_bulk, "_run", lambda graph, chunk: seen.append(chunk) or real(graph, chunk))
    data = encode(photo(*shape), kind)
    files = np.array([data, None], object)[:1]
    good, pixels = decode_bulk.BulkDecoder(Target(shape=shape)).decode(kind, files)
    assert (list(good), pixels.shape) == ([0], (1, *shape))
    (chunk,) = seen
    assert list(chunk).count(data) == 1
    (other,) = {*chunk} - {data}
    assert not np.asarray(Image.open(io.BytesIO(other))).any()
