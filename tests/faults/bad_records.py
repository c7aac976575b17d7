"""Bad images, good ones that are easily taken for bad, and keys that would do harm as anything but data."""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import tifffile
from PIL import Image

from lake.core.records import Reason, Stage
from tests.faults.fussy import WHITE as FAILS
from tests.faults.pictures import SIGNATURE, chunk, png
from tests.lake.images.test_header import BOMBS

MOST = 512 << 10  # --max-record-bytes
SIDE = 8  # of the images that the model takes
Pixels = np.ndarray


class Bad(NamedTuple):
    """What must come of a record: a reject of this reason and stage, whose detail matches ``says`` as a whole."""

    reason: Reason
    says: str
    stage: Stage = Stage.DECODE


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record, and what must come of it: ``bad``, or a result of ``pixels``.

    name: unique in a shard.
    key: as the source has it; None: it has none, and its number stands for it.
    data: the image file, or the bytes of float32 numbers; of a bad one what its reject must have.
    raw: the record as its container writes it; None: made of key and data.
    pixels: what the model must be given, floating ``[H, W]``, ``[H, W, C]`` or ``[d]``, white 1; no decoder made it.
    suffix, folder: of a file that holds the image.
    several: it holds further images.
    """

    name: str
    key: str | None = None
    data: bytes | None = None
    raw: Any = None
    pixels: Pixels | None = None
    bad: Bad | None = None
    suffix: str = "png"
    folder: str = "a"
    several: bool = False

    @property
    def label(self) -> int:
        """A number that tells it from its neighbours."""
        return zlib.crc32(self.name.encode()) % 1000


TWICE = "twice"
_PATHS = ("../../escape", "/etc/passwd", "a/../../b", "..", "%2e%2e%2fescape", "C:\\x", "CON", "~")
_COMMANDS = ("-rf", "a; rm b", "$(b)", "\x1b[2J", "line\nfeed\r", "nul\0byte", " ", "", "n" * 300)
_SCRIPTS = (
    "\u202egnp.exe",
    "\u05e9\u05dc\u05d5\u05dd",
    "\u00e9",
    "e\u0301",
    "e\u0323\u0301\u0301",
    "\ufeffbom",
    "\U0001f986",
)
KEYS = (*_PATHS, TWICE, TWICE, *_SCRIPTS, *_COMMANDS)


def draw(seed: int, *shape: int, most: int = 200) -> Pixels:
    """Any pixels, uint8: not so bright that the mirror would be dazzled."""
    return np.random.default_rng(seed).integers(0, most, shape or (SIDE, SIDE), np.uint8)


def saved(image: Image.Image | Pixels, format: str, **options: Any) -> bytes:
    """An image as a file, by Pillow."""
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, format, **options)
    return out.getvalue()


def tiff(pixels: Pixels, **options: Any) -> bytes:
    """A TIFF of any pixels, by tifffile."""
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, metadata=None, **options)
    return out.getvalue()


# ---- images that are rejected


@cache
def bad_images() -> tuple[Record, ...]:
    """For a model of grey images of 8 x 8 pixels, each with its fault."""
    return (*_no_images(), *_cut(), *_large(), *_of_other_kinds(), *_not_finite(), *_in_counts(), *_for_the_model())


def _bad(name: str, data: bytes, reason: Reason, says: str, stage: Stage = Stage.DECODE, suffix: str = "png") -> Record:
    return Record(name=name, data=data, bad=Bad(reason, says, stage), suffix=suffix)


def _no_images() -> Iterator[Record]:
    yield _bad("empty", b"", Reason.EMPTY_IMAGE, "no bytes")
    says = r"not PNG, JPEG, .+ or JPEG XL: begins with b.+"
    texts = {
        "html": (b"<!DOCTYPE html><html><body>404</body></html>", "jpg"),
        "text": (b"see http://example.org/image.jpg\n", "jpg"),
        "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(x) run\n", "png"),
        "pdf": (b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n", "png"),
        "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", "png"),
        "ico": (b"\x00\x00\x01\x00\x01\x00" + saved(draw(0), "PNG"), "png"),
        "spaces": (b" " * 40 + saved(draw(0), "PNG"), "png"),
        "only a signature's half": (SIGNATURE[:4], "png"),
    }
    for name, (data, suffix) in texts.items():
        yield _bad(name, data, Reason.UNKNOWN_FORMAT, says, suffix=suffix)


def _cut() -> Iterator[Record]:
    grey, frames = draw(1), [Image.fromarray(draw(seed)) for seed in (2, 3)]
    whole = {
        "PNG": saved(grey, "PNG"),
        "JPEG": saved(grey, "JPEG"),
        "WebP": saved(grey, "WEBP", lossless=True),
        "GIF": saved(grey, "GIF"),
        "BMP": saved(grey, "BMP"),
        "TIFF": tiff(grey, compression="zlib"),
        "animated PNG": saved(frames[0], "PNG", save_all=True, append_images=frames[1:]),
    }
    for name, data in whole.items():
        for what, end in (("cut", len(data) - 20), ("of a header's half", 24)):
            yield _bad(f"{name} {what}", data[:end], Reason.CORRUPT_IMAGE, rf"{name.split()[-1]}.*: .+")
    at = whole["PNG"].index(b"IDAT") + 8
    flipped = whole["PNG"][:at] + bytes([whole["PNG"][at] ^ 1]) + whole["PNG"][at + 1 :]
    yield _bad("PNG with a flipped bit", flipped, Reason.CORRUPT_IMAGE, r"PNG.*: .+")


def _large() -> Iterator[Record]:
    says = r"\w+ claims [0-9x]+ pixels, more than the 134217728 that are allowed"
    for name, data in BOMBS.items():
        yield _bad(f"bomb {name}", data, Reason.TOO_MANY_PIXELS, says)
    yield _bad("bomb that decodes", black(20_000, 10_000), Reason.TOO_MANY_PIXELS, says)
    size = "pixels \\(height x width\\), the model takes 8x8; --resize changes sizes"
    yield _bad("honest giant", black(12_000, 10_000), Reason.WRONG_SIZE, f"10000x12000 {size}")
    for shape in ((9, 8), (8, 9), (1, 1)):
        data = saved(draw(4, *shape), "PNG")
        yield _bad(f"PNG of {shape}", data, Reason.WRONG_SIZE, f"{shape[0]}x{shape[1]} {size}")
    yield _bad("JPEG of (16, 8)", saved(draw(4, 16, 8), "JPEG"), Reason.WRONG_SIZE, f"16x8 {size}")


def _of_other_kinds() -> Iterator[Record]:
    says = "in colour, the model takes grey; --color convert makes it grey"
    rgb = Image.fromarray(draw(5, SIDE, SIDE, 3))
    colour = {
        "PNG RGB": saved(rgb, "PNG"),
        "PNG RGBA": saved(rgb.convert("RGBA"), "PNG"),
        "PNG palette": saved(rgb.quantize(16), "PNG"),
        "PNG 16 bits RGB": png(draw(6, SIDE, SIDE, 3).astype(np.uint16) * 257),
        "JPEG RGB": saved(rgb, "JPEG"),
        "JPEG CMYK": saved(rgb.convert("CMYK"), "JPEG"),
        "TIFF CMYK": saved(rgb.convert("CMYK"), "TIFF"),
        "WebP": saved(rgb, "WEBP", lossless=True),
        "GIF animated": saved(rgb, "GIF", save_all=True, append_images=[rgb.rotate(90)]),
    }
    for name, data in colour.items():
        yield replace(_bad(f"in colour: {name}", data, Reason.WRONG_CHANNELS, says), several="animated" in name)
    jpeg = saved(draw(7), "JPEG")
    for name, marker, bits in (("lossless", 0xC3, 8), ("12 bits", 0xC1, 12)):
        data = jpeg.replace(b"\xff\xc0\x00\x0b\x08", bytes((0xFF, marker, 0, 11, bits)), 1)
        yield _bad(f"JPEG {name}", data, Reason.UNSUPPORTED_IMAGE, r"JPEG .+")
    lab = tiff(draw(8, SIDE, SIDE, 3), photometric="cielab")
    yield _bad("TIFF of Lab", lab, Reason.UNSUPPORTED_IMAGE, "TIFF: photometric interpretation 8")
    numbers = tiff(draw(8).astype(np.complex64))
    yield _bad("TIFF of complex numbers", numbers, Reason.UNSUPPORTED_IMAGE, r"TIFF: 1 samples of 64 bits.+")


def _not_finite() -> Iterator[Record]:
    for name, value in (("NaN", np.nan), ("infinite", np.inf), ("-infinite", -np.inf)):
        pixels = (draw(9) / 255).astype(np.float32)
        pixels[3, 5] = value
        yield _bad(f"TIFF {name}", tiff(pixels), Reason.NON_FINITE_INPUT, "NaN or infinite pixels", suffix="tif")


def _in_counts() -> Iterator[Record]:
    says = r"floating pixels where white is 1, with values up to \d+: set --white 4095"
    yield _bad("TIFF in counts", tiff(draw(9) * np.float32(12)), Reason.WRONG_SCALE, says, suffix="tif")


def _for_the_model() -> Iterator[Record]:
    white = np.full((SIDE, SIDE), 255, np.uint8)
    yield _bad("fails", saved(white, "PNG"), Reason.MODEL_FAILED, FAILS, Stage.MODEL)
    says = "the model's output has NaN or infinite values"
    yield _bad("dazzles", saved(white - 1, "PNG"), Reason.NON_FINITE_LATENT, says, Stage.MODEL)


@cache
def black(width: int, height: int) -> bytes:
    """A PNG that decodes, all black and small only as a file: one piece of a deflate stream again and again."""
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = pack.compress(bytes((1 + width) * 100)) + pack.flush(zlib.Z_FULL_FLUSH)
    count = (1 + width) * height
    adler = struct.pack(">HH", count % 65521, 1)  # of so many zeros (RFC 1950)
    rows = b"\x78\xda" + piece * (height // 100) + pack.flush() + adler
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@cache
def oversized() -> bytes:
    """A good image of more bytes than a record may have."""
    whole = png(draw(10)[..., None], more=chunk(b"tEXt", b"Comment\x00" + b"x" * MOST))
    assert len(whole) > MOST
    return whole


# ---- images that are good


@cache
def good_images() -> tuple[Record, ...]:
    """Of 8 x 8 grey pixels, in every guise that a grey model takes; among them plain ones."""
    return (*_guises(), *(_good(f"plain {seed}", saved(draw(seed), "PNG"), draw(seed)) for seed in range(100, 170)))


def _good(name: str, data: bytes, pixels: Pixels, suffix: str = "png") -> Record:
    white = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1.0
    return Record(name=name, data=data, pixels=pixels / white, suffix=suffix)


def _guises() -> Iterator[Record]:
    grey, other = draw(20), Image.fromarray(draw(21))
    wide = np.random.default_rng(22).integers(0, 60_000, (SIDE, SIDE), np.uint16)
    real = (draw(23) / 211).astype(np.float32)
    bits = draw(24) > 100
    image = Image.fromarray(grey)
    yield _good("PNG named .jpg", saved(grey, "PNG"), grey, "jpg")
    yield _good("PNG 16 bits", png(wide[..., None]), wide)
    yield _good("TIFF 16 bits", tiff(wide), wide, "tif")
    yield _good("TIFF of floats", tiff(real), real, "tif")
    yield _good("TIFF big-endian", tiff(wide, byteorder=">"), wide, "tif")
    yield _good("PNG 1 bit", saved(Image.fromarray(bits), "PNG"), bits * np.uint8(255))
    yield _good("PNG interlaced", png(grey[..., None], interlaced=True), grey)
    yield _good("PNG with alpha", png(np.stack([grey, draw(25)], -1)), grey)
    two = {"save_all": True, "append_images": [other]}
    for name, format, suffix in (("PNG animated", "PNG", "png"), ("GIF animated", "GIF", "gif")):
        yield replace(_good(name, saved(image, format, **two), grey, suffix), several=True)
    yield _good("PNG upside down", saved(image, "PNG", exif=exif(3)), grey[::-1, ::-1])
    yield replace(_good("TIFF of two pages", saved(image, "TIFF", **two), grey, "tif"), several=True)
    yield _good("PNG with bytes behind it", saved(grey, "PNG") + b"<html>", grey)
    for level in (0, 77, 200):  # plain enough for JPEG to keep
        flat = np.full((SIDE, SIDE), level, np.uint8)
        yield _good(f"JPEG of {level}", saved(flat, "JPEG", quality=100), flat, "jpg")


def exif(orientation: int) -> bytes:
    """An EXIF block whose only tag is the orientation (CIPA DC-008)."""
    return b"Exif\x00\x00MM\x00*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)


def mixed(good: Sequence[Record], bad: Sequence[Record], keys: Sequence[str]) -> list[Record]:
    """Good and bad ones in turn, a bad one first and last. Each key is a good one's and a bad one's."""
    assert len(good) >= len(bad) - 1
    pairs = [_pair(*pair, at, keys) for at, pair in enumerate(zip(good, bad[:-1], strict=False))]
    last = bad[-1] if bad[-1].raw is not None else replace(bad[-1], key="last")
    return [record for one, other in pairs for record in (other, one)] + [last]


def _pair(good: Record, bad: Record, at: int, keys: Sequence[str]) -> tuple[Record, Record]:
    key = keys[at] if at < len(keys) else f"{at:04d}"
    folders = (f"{at}a", f"{at}b") if key == TWICE else ("a", "b") if at % 2 else ("b", "a")
    one, other = replace(good, key=key, folder=folders[0]), replace(bad, folder=folders[1])
    return one, other if bad.raw is not None else replace(other, key=key)
