"""Where an orientation may stand, and what it does: as ``ImageOps.exif_transpose`` of Pillow turns the image."""

import io
import struct
import warnings
import zlib

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from lake.core.records import Records
from lake.images.decoder import Decoder
from lake.images.header import read_header
from lake.images.native_decoder import NativeDecoder
from lake.images.types import Resize, Target

LAYOUTS = {1: "B", 3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I", 16: "Q"}


def exif(kind, value, order="<", count=1):
    """An EXIF block whose only tag is the orientation, of a type."""
    numbers = (*([value] if len(LAYOUTS[kind]) == 1 else [value * 3, 3]),) * count
    raw = struct.pack(order + LAYOUTS[kind] * count, *numbers)
    field = raw.ljust(4, b"\x00") if len(raw) <= 4 else struct.pack(order + "I", 26)
    head = (b"II\x2a\x00" if order == "<" else b"MM\x00\x2a") + struct.pack(order + "IHHHI", 8, 1, 274, kind, count)
    return b"Exif\x00\x00" + head + field + bytes(4) + (raw if len(raw) > 4 else b"")


def packet(orientation, element=False):
    said = f"><tiff:Orientation>{orientation}</tiff:Orientation>" if element else f' tiff:Orientation="{orientation}">'
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/"{said}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


def raw_profile(block):
    return f"\nexif\n{len(block):8d}\n{block.hex()}\n"


def with_chunk(data, chunk, place=33):
    return data[:place] + chunk + data[place:]


def turned(data):
    """The pixels as Pillow turns them, and the same for an image of this project's two decoders."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def assert_like_pillow(data, turns=True):
    wanted = turned(data)
    assert (wanted.shape[:2] == (12, 8)) == turns, "the test's own file"
    records = Records(shard="s", index=np.arange(1), key=pa.array(["k"]), payload=pa.array([data]), carried={})
    faults = {}
    (group,) = NativeDecoder(Target(shape=(None, None, 3))).groups(records, faults)
    np.testing.assert_array_equal(group.pixels[0], wanted)
    (group,) = Decoder(Target(shape=wanted.shape)).decode(records).groups
    np.testing.assert_array_equal(group.pixels[0], wanted)
    assert Decoder(Target(shape=(12, 8, 3), resize=Resize.STRETCH)).decode(records).faults == {}


@pytest.fixture
def picture(photo):
    return Image.fromarray(photo(8, 12))


@pytest.fixture
def save(picture):
    def make(format, **options):
        out = io.BytesIO()
        picture.save(out, format, **({"lossless": True} if format == "WEBP" else {}) | options)
        return out.getvalue()

    return make


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_exif_of_every_type(save, format, kind, order):
    assert_like_pillow(save(format, exif=exif(kind, 6, order)), turns=kind != 1)


@pytest.mark.parametrize("orientation", range(10))
def test_every_value(save, orientation):
    for data in (
        save("JPEG", exif=exif(4, orientation)),
        save("JPEG", xmp=packet(orientation)),
        save("JPEG", exif=exif(3, 6, count=2)),
    ):
        assert read_header(data).orientation in range(1, 9)
        assert_like_pillow(data, turns=turned(data).shape[:2] == (12, 8))


@pytest.mark.parametrize("kind", [3, 4, 8, 9])
def test_a_tag_of_tiff(save, kind):
    data = bytearray(save("TIFF", tiffinfo={274: 6}))
    at = data.index(struct.pack("<HHI", 274, 3, 1))
    struct.pack_into("<HHII", data, at, 274, kind, 1, 6)
    assert_like_pillow(bytes(data))


@pytest.mark.parametrize("element", [False, True])
@pytest.mark.parametrize("format", ["JPEG", "WEBP", "TIFF"])
def test_xmp_alone(save, format, element):
    options = {"tiffinfo": {700: packet(6, element)}} if format == "TIFF" else {"xmp": packet(6, element)}
    assert_like_pillow(save(format, **options))


@pytest.mark.parametrize("kind", ["iTXt", "packed iTXt", "tEXt", "zTXt", "raw tEXt", "raw zTXt", "raw iTXt", "late"])
def test_texts_of_png(save, chunk, kind):
    text = raw_profile(exif(3, 6)) if kind.startswith("raw") else packet(6).decode()
    keyword = "Raw profile type exif" if kind.startswith("raw") else "XML:com.adobe.xmp"
    if kind == "late":
        made = chunk(b"iTXt", keyword.encode() + bytes(5) + text.encode())
        data = save("PNG")
        data = with_chunk(data, made, len(data) - 12)
    else:
        info = PngImagePlugin.PngInfo()
        add = info.add_itxt if "iTXt" in kind else info.add_text
        add(keyword, text, zip=kind.startswith("packed") or "zTXt" in kind)
        data = save("PNG", pnginfo=info)
    assert_like_pillow(data)


def test_exif_comes_before_xmp(save):
    assert_like_pillow(save("JPEG", exif=exif(3, 1), xmp=packet(6)), turns=False)
    assert_like_pillow(save("JPEG", exif=exif(3, 0), xmp=packet(6)), turns=False)
    no_tag = exif(3, 6).replace(struct.pack("<H", 274), struct.pack("<H", 305))
    assert_like_pillow(save("JPEG", exif=no_tag, xmp=packet(6)))


def test_the_last_text_under_a_keyword_counts(save, chunk):
    texts = [chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + packet(orientation)) for orientation in (3, 6)]
    assert_like_pillow(with_chunk(save("PNG"), b"".join(texts)))


@pytest.mark.parametrize("text", [b"", b"\n\n\nno digits", b"\nexif\n 9\nabc"])
def test_a_damaged_profile_says_nothing(save, chunk, text):
    data = with_chunk(save("PNG"), chunk(b"tEXt", b"Raw profile type exif\x00" + text))
    assert read_header(data).orientation == 1


def test_a_text_is_inflated_to_a_limit(save, chunk):
    bomb = zlib.compress(b" " * (64 << 20) + packet(6))
    data = with_chunk(save("PNG"), chunk(b"zTXt", b"XML:com.adobe.xmp\x00\x00" + bomb))
    assert read_header(data).orientation == 1
    assert read_header(with_chunk(save("PNG"), chunk(b"zTXt", b"XML:com.adobe.xmp\x00\x00bad"))).orientation == 1
