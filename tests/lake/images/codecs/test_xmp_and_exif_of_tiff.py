"""XMP, and EXIF in TIFF, that written images take along, read back by Pillow and tifffile."""

import io
import struct
from xml.etree import ElementTree

import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image, ImageOps

from lake.images import decode_one, geometry
from lake.images.codecs import tiff_split
from lake.images.encoder import ImageEncoder, ImageFormat
from lake.images.header import read_header

KINDS = ("PNG", "JPEG", "WEBP", "TIFF")
OUT = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp", "TIFF": "tiff"}
TURN = "{http://ns.adobe.com/tiff/1.0/}Orientation"
MAKER, SIDES, NOTE, LENS, DETAILS, PLACE = 271, {40962: 30, 40963: 20}, 37500, 42036, 34665, 34853


def packet(orientation=None, more=b""):
    """XMP with a title, sides of a camera's picture, and an orientation."""
    turn = b' tiff:Orientation="%d"' % orientation if orientation else b""
    return (
        b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        b' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"'
        b' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Label="K\xc3\xb6ln" tiff:ImageWidth="4000"'
        + turn
        + b"><exif:PixelYDimension>3000</exif:PixelYDimension>"
        + more
        + b'</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )


def written(pixels, kind, xmp, **options):
    out = io.BytesIO()
    if kind == "PNG":
        from PIL.PngImagePlugin import PngInfo

        texts = PngInfo()
        texts.add_itxt("XML:com.adobe.xmp", xmp.decode())
        Image.fromarray(pixels).save(out, kind, pnginfo=texts, **options)
    elif kind == "TIFF":
        Image.fromarray(pixels).save(out, kind, tiffinfo={700: xmp}, **options)
    elif kind == "HEIF":
        pillow_heif.from_pillow(Image.fromarray(pixels)).save(out, xmp=xmp, quality=-1)
    else:
        Image.fromarray(pixels).save(out, kind, xmp=xmp, **options)
    return out.getvalue()


def again(data, to, *, upright=True, resize=None):
    """The image of a file, written as a job that changes nothing would."""
    header = read_header(data)
    pixels = geometry.turned(decode_one.decode_stored(data, header), header.orientation if upright else 1)
    return ImageEncoder(ImageFormat(to), 90, upright=upright).encode(pixels[:resize], data).data


def xmp_of(data):
    """The packet as Pillow finds it."""
    with Image.open(io.BytesIO(data)) as image:
        if image.format != "TIFF":  # which is turned when it is loaded, and then says so
            image.load()
        found = image.info.get("xmp", b"")
    return found.encode() if isinstance(found, str) else found


def said(xmp):
    """What an XML parser reads in a packet, by name without its namespace."""
    (described,) = ElementTree.fromstring(xmp).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    told = {**described.attrib, **{child.tag: child.text for child in described}}
    return {name.rpartition("}")[2]: value for name, value in told.items()}


@pytest.mark.parametrize("to", KINDS)
@pytest.mark.parametrize("kind", [*KINDS, "AVIF", "HEIF"])
def test_xmp_goes_along_and_says_the_sides_of_the_pixels(photo, kind, to):
    made = xmp_of(again(written(photo(20, 30), kind, packet()), OUT[to]))
    assert said(made) == {"about": "", "Label": "Köln", "ImageWidth": "30", "PixelYDimension": "20"}
    assert made == packet().replace(b"4000", b"30").replace(b"3000", b"20")


@pytest.mark.parametrize("to", KINDS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_viewers_show_an_image_that_xmp_turns_as_before(photo, kind, to, orientation):
    quality = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    data = written(photo(16, 24), kind, packet(orientation), **quality)
    assert read_header(data).orientation == orientation
    with Image.open(io.BytesIO(data)) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image)).astype(int)
    for upright in (True, False):
        made = again(data, OUT[to], upright=upright)
        assert said(xmp_of(made))["Orientation"] == ("1" if upright else str(orientation))
        assert read_header(made).orientation == (1 if upright else orientation)
        with Image.open(io.BytesIO(made)) as image:
            shown = np.asarray(ImageOps.exif_transpose(image)).astype(int)
        assert shown.shape == wanted.shape
        assert np.abs(shown - wanted).mean() < 15  # lossy twice; one that is turned otherwise differs by 60


@pytest.mark.parametrize("to", KINDS)
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_viewers_show_a_tiff_as_before(photo, to, orientation):
    out = io.BytesIO()
    Image.fromarray(photo(16, 24)).save(out, "TIFF", tiffinfo={274: orientation})
    with Image.open(io.BytesIO(out.getvalue())) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image)).astype(int)
    for upright in (True, False):
        made = again(out.getvalue(), OUT[to], upright=upright)
        assert read_header(made).orientation == (1 if upright else orientation)
        with Image.open(io.BytesIO(made)) as image:
            shown = np.asarray(ImageOps.exif_transpose(image)).astype(int)
        assert shown.shape == wanted.shape
        assert np.abs(shown - wanted).mean() < 15


def test_xmp_after_the_pixels_of_a_small_png_goes_along(photo):
    data = written(photo(20, 30), "PNG", packet(6))
    start = data.index(b"iTXt") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4])
    later = data[:start] + data[end:-12] + data[start:end] + data[-12:]
    assert later[37:41] == b"IDAT"
    assert said(xmp_of(again(later, "png")))["Orientation"] == "1"


@pytest.mark.parametrize("kind", KINDS)
def test_a_preview_in_xmp_is_gone(photo, kind):
    preview = b"<xmp:Thumbnails><rdf:Alt>/9j/4AAQ</rdf:Alt></xmp:Thumbnails>"
    made = xmp_of(again(written(photo(20, 30), kind, packet(more=preview)), "same"))
    assert said(made)["Label"] == "Köln"
    assert b"Thumbnails" not in made


@pytest.mark.parametrize("bad", [b"\xff\xfe<\x00x\x00", b"\x80", b"a\x00b", b"x" * (1 << 20)])
def test_xmp_that_is_no_text_is_left_out(photo, bad):
    out = io.BytesIO()
    Image.fromarray(photo(20, 30)).save(out, "TIFF", tiffinfo={700: bad})
    for to in OUT.values():
        assert not xmp_of(again(out.getvalue(), to))


def test_what_a_jpeg_cannot_hold_is_left_out_there_alone(photo):
    out = io.BytesIO()
    long = packet(more=b"<xmp:Nickname>" + 70_000 * b"x" + b"</xmp:Nickname>")
    Image.fromarray(photo(20, 30)).save(out, "TIFF", tiffinfo={700: long})
    for to in OUT.values():
        assert len(xmp_of(again(out.getvalue(), to))) > 70_000 or to == "jpeg"


def with_exif(pixels, *, order="<", orientation=None, big=False):
    """A TIFF with a maker, and directories of details and of a place, whose entries tifffile holds the place of."""
    stand_ins = {65000: (DETAILS, details(order)), 65001: (PLACE, place(order))}
    extra = [(MAKER, "s", None, "Maker", True), *((tag, "I", 1, 7, True) for tag in stand_ins)]
    extra += [(274, "H", 1, orientation, True)] if orientation else []
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, byteorder=order, bigtiff=big, photometric="rgb", metadata=None, extratags=extra)
    data = bytearray(out.getvalue())
    for stand_in, (tag, entries) in stand_ins.items():
        at = data.index(struct.pack(order + "HH", stand_in, 4))
        data += bytes(len(data) % 2)
        struct.pack_into(order + "H", data, at, tag)
        struct.pack_into(order + "I", data, at + (12 if big else 8), len(data))
        data += directory(entries, len(data), order, big)
    return bytes(data)


def details(order):
    note = [(NOTE, 7, 9, b"at 0x1234"), (LENS, 2, 7, b"A lens\0")]
    return [(33434, 5, 1, struct.pack(order + "II", 1, 250)), *note] + [
        (tag, 4, 1, struct.pack(order + "I", value)) for tag, value in ((40962, 4000), (40963, 3000))
    ]


def place(order):
    return [(1, 2, 2, b"N\0"), (2, 5, 3, struct.pack(order + "6I", 52, 1, 31, 1, 25, 2))]


def directory(entries, start, order, big):
    """A directory that begins at a byte of its file, and the long values after it."""
    word, room = ("Q", 8) if big else ("I", 4)
    number = struct.pack(order + ("Q" if big else "H"), len(entries))
    at = start + len(number) + (4 + 2 * room) * len(entries) + room
    rows, rest = b"", b""
    for tag, kind, count, values in entries:
        field = values.ljust(room, b"\0") if len(values) <= room else struct.pack(order + word, at + len(rest))
        rows += struct.pack(order + "HH" + word, tag, kind, count) + field
        rest += values + bytes(len(values) % 2) if len(values) > room else b""
    return number + rows + bytes(room) + rest


def check(data):
    with Image.open(io.BytesIO(data)) as image:
        exif = image.getexif()
        details = dict(exif.get_ifd(DETAILS))
        assert exif[MAKER] == "Maker"
        assert details.pop(33434) == 1 / 250
        assert details.pop(LENS) == "A lens"
        note = details.pop(NOTE, None)
        assert details == SIDES
        assert exif.get_ifd(PLACE)[1] == "N"
        assert [float(part) for part in exif.get_ifd(PLACE)[2]] == [52.0, 31.0, 12.5]
        return exif.get(274), note


@pytest.mark.parametrize("to", KINDS)
@pytest.mark.parametrize("form", [{}, {"big": True}, {"order": ">"}])
def test_exif_of_a_tiff_goes_along_without_the_makers_note(photo, form, to):
    assert check(again(with_exif(photo(20, 30), **form), OUT[to])) == (None, None)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_exif_of_other_formats_goes_to_tiff(photo, kind):
    out = io.BytesIO()
    with Image.open(io.BytesIO(with_exif(photo(20, 30), orientation=3))) as image:
        Image.fromarray(photo(20, 30)).save(out, kind, exif=image.getexif().tobytes())
    assert check(again(out.getvalue(), "tiff")) == (1, None)
    assert check(again(out.getvalue(), "tiff", upright=False)) == (3, None)


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_of_each_page_goes_along(photo, order):
    pixels = photo(20, 30)
    (page,) = tiff_split.split(with_exif(pixels, order=order))
    stored = decode_one.decode_stored(page, read_header(page))
    np.testing.assert_array_equal(stored, pixels)
    made = ImageEncoder(ImageFormat.TIFF, 90).encode_pages([stored, stored], [page, page]).data
    assert check(made) == (None, None)
    with Image.open(io.BytesIO(made)) as image:
        image.seek(1)
        assert image.getexif().get_ifd(DETAILS)[LENS] == "A lens"


def test_a_tiff_without_exif_says_no_more_than_before(rng):
    out = io.BytesIO()
    tifffile.imwrite(out, rng.integers(0, 65536, (20, 30), np.uint16), software="a microscope", datetime=True)
    with tifffile.TiffFile(io.BytesIO(again(out.getvalue(), "same"))) as file:
        assert {305, 306}.isdisjoint(tag.code for tag in file.pages[0].tags)


def test_damaged_exif_of_a_tiff_is_left_out_or_harmless(rng, photo):
    pixels = photo(20, 30)
    data = with_exif(pixels)
    start = data.index(struct.pack("<HHI", DETAILS, 4, 1)) + 8
    for number in range(200):
        damaged = bytearray(data)
        place = int.from_bytes(data[start : start + 4], "little")
        for at in rng.integers(0, 80, 1 + number % 4):
            damaged[place + at] = rng.integers(256)
        if number % 5 == 0:
            struct.pack_into("<I", damaged, start, int(rng.integers(0, 1 << 32)))
        made = again(bytes(damaged), ("tiff", "png")[number % 2])
        assert len(made) < 20_000
        np.testing.assert_array_equal(decode_one.decode_stored(made, read_header(made)), pixels)
        with Image.open(io.BytesIO(made)) as image:
            image.load()


def test_overlapping_values_do_not_multiply_a_file(photo):
    data = with_exif(photo(200, 300))
    start = data.index(struct.pack("<HHI", DETAILS, 4, 1)) + 8
    rows = b"".join(struct.pack("<HHII", 50000 + n, 7, 150_000, 8) for n in range(1000))
    data = bytearray(data + bytes(len(data) % 2))
    struct.pack_into("<I", data, start, len(data))
    data += struct.pack("<H", 1000) + rows + bytes(4)
    assert len(again(bytes(data), "tiff")) < 400_000
