"""Small valid images of every format on the allow-list, in the kinds that its decoders have code of their own for."""

import io
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import imagecodecs
import numpy as np
import pillow_heif
import tifffile
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOUR = (28, 28, 1), (32, 32, 3)  # of the models that the mutants are decoded for
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_EXIF = b"Exif\x00\x00MM\x00*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)
_STRIPS = {"TIFF 1 group4": ("1", "group4"), "TIFF 1 group3": ("1", "group3"), "TIFF RGB jpeg": ("RGB", "jpeg")}
_STRIPS |= {"TIFF L packbits": ("L", "packbits"), "TIFF RGB lzw": ("RGB", "tiff_lzw"), "TIFF CMYK": ("CMYK", "raw")}
_STRIPS |= {
    "TIFF P deflate": ("P", "tiff_adobe_deflate"),
    "TIFF LA": ("LA", "raw"),
    "TIFF RGBA lzw": ("RGBA", "tiff_lzw"),
}


@cache
def pictures() -> dict[str, bytes]:
    """Files by what they are; their names begin with the format."""
    return dict([*_pngs(), *_jpegs(), *_webps(), *_tiffs(), *_bmps(), *_gifs(), *_others()])


def chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG chunk with its CRC."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _pixels(height: int, width: int, channels: int, dtype: Any = np.uint8) -> np.ndarray:
    """Smooth pictures with a little noise, always the same."""
    down, across, channel = np.mgrid[:height, :width, :channels]
    wave = np.sin(down / (3 + channel)) * np.cos(across / 4) * 100 + 128
    noise = np.random.default_rng(height * width).normal(0, 6, wave.shape)
    pixels: np.ndarray = np.clip(wave + noise, 0, 255) * (np.iinfo(dtype).max // 255)
    return pixels.astype(dtype)


def _image(mode: str, shape: tuple[int, int, int] = COLOUR) -> Image.Image:
    height, width, channels = shape
    direct = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}.get(mode)
    pixels = _pixels(height, width, direct or channels)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return image if direct else image.convert(mode)


def _saved(image: Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def _pngs() -> Iterator[tuple[str, bytes]]:
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        shape = GREY if mode in ("1", "L", "I;16") else COLOUR
        image = Image.fromarray(_pixels(28, 28, 1, np.uint16)[..., 0]) if mode == "I;16" else _image(mode, shape)
        yield f"PNG {mode}", _saved(image, "PNG")
    yield "PNG L larger", _saved(_image("L", (41, 50, 1)), "PNG", transparency=128)
    yield "PNG P transparent", _saved(_image("P"), "PNG", transparency=bytes(range(0, 250, 10)), bits=4)
    frames = [_image("RGB"), _image("RGB").rotate(90)]
    yield "PNG animated", _saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    more = chunk(b"tEXt", b"Title\x00x") + chunk(b"eXIf", _EXIF[6:]) + chunk(b"gAMA", bytes(4))
    for channels in (1, 2, 3, 4):
        yield f"PNG 16 bits of {channels}", png(_pixels(20, 19, channels, np.uint16), idats=2)
        yield f"PNG interlaced of {channels}", png(_pixels(*COLOUR[:2], channels), interlaced=True, more=more)


def png(pixels: np.ndarray, *, idats: int = 1, interlaced: bool = False, more: bytes = b"") -> bytes:
    """A PNG of uint8 or uint16 ``[H, W, C]``, without filters."""
    height, width, channels = pixels.shape
    passes = [pixels[y::down, x::across] for x, y, across, down in _ADAM7] if interlaced else [pixels]
    rows = [b"\x00" + row.astype(row.dtype.newbyteorder(">")).tobytes() for part in passes if part.size for row in part]
    data = zlib.compress(b"".join(rows))
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", width, height, 8 * pixels.dtype.itemsize, color, 0, 0, interlaced)
    step = -(-len(data) // idats)
    parts = [chunk(b"IDAT", data[start : start + step]) for start in range(0, len(data), step)]
    return SIGNATURE + chunk(b"IHDR", head) + more + b"".join(parts) + chunk(b"IEND", b"")


def _jpegs() -> Iterator[tuple[str, bytes]]:
    for subsampling in (0, 1, 2):
        yield f"JPEG RGB {subsampling}", _saved(_image("RGB"), "JPEG", subsampling=subsampling)
    yield "JPEG L", _saved(_image("L", GREY), "JPEG")
    yield "JPEG restarts", _saved(_image("RGB"), "JPEG", restart_marker_blocks=1, optimize=True)
    yield "JPEG CMYK", _saved(_image("CMYK"), "JPEG")
    yield "JPEG keep RGB", _saved(_image("RGB"), "JPEG", keep_rgb=True)
    for mode in ("L", "RGB", "CMYK"):
        yield f"JPEG {mode} progressive", _saved(_image(mode, (37, 30, 3)), "JPEG", progressive=True)
    yield "JPEG EXIF", _saved(_image("RGB", (40, 24, 3)), "JPEG", exif=_EXIF, comment=b"a comment")


def _webps() -> Iterator[tuple[str, bytes]]:
    for mode in ("RGB", "RGBA"):
        yield f"WebP {mode}", _saved(_image(mode), "WEBP", exif=_EXIF)
        yield f"WebP {mode} plain", _saved(_image(mode), "WEBP", quality=30)
        yield f"WebP {mode} lossless", _saved(_image(mode, (25, 33, 3)), "WEBP", lossless=True)
    frames = [_image("RGB"), _image("RGB").rotate(90)]
    for lossless in (False, True):
        yield (
            f"WebP animated {lossless}",
            _saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=lossless),
        )


def _tiffs() -> Iterator[tuple[str, bytes]]:
    for name, (mode, compression) in _STRIPS.items():
        yield name, _saved(_image(mode), "TIFF", compression=compression)
    yield "TIFF YCbCr", _saved(_image("YCbCr"), "TIFF", compression="jpeg")
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "strips": {"rowsperstrip": 8},
        "tiles": {"tile": (16, 16), "compression": "zlib"},
    }
    for dtype in (np.uint8, np.uint16, np.float32):
        for channels in (1, 3):
            for order, (kind, options) in zip("<><", kinds.items(), strict=True):
                yield f"TIFF {np.dtype(dtype)} of {channels} {kind}", _tiff(dtype, channels, order, options)
            if dtype is not np.float32:
                options = {"compression": "zlib", "predictor": 2}
                yield f"TIFF {np.dtype(dtype)} of {channels} predicted", _tiff(dtype, channels, ">", options)

    yield from _other_tiffs()


def _other_tiffs() -> Iterator[tuple[str, bytes]]:
    """TIFF as scientific programs write it."""
    kinds: dict[str, tuple[Any, int, dict[str, Any]]] = {
        "big": (np.uint8, 3, {"bigtiff": True, "tile": (16, 16), "compression": "lzw"}),
        "big planes": (np.uint16, 3, {"bigtiff": True, "planarconfig": "separate"}),
        "bands": (np.uint8, 5, {"compression": "zstd", "predictor": True}),
        "bands in tiles": (np.uint16, 6, {"compression": "lzw", "predictor": True, "tile": (16, 16)}),
        "signed": (np.int16, 1, {"compression": "packbits", "rowsperstrip": 5}),
        "wide": (np.uint32, 3, {"compression": "lzma", "predictor": True}),
        "floating": (np.float32, 3, {"compression": "zlib", "predictor": True, "byteorder": ">"}),
        "double": (np.float64, 1, {"compression": "zstd", "predictor": True, "tile": (16, 16)}),
        "half": (np.float16, 2, {"compression": "lzw", "planarconfig": "separate"}),
    }
    for name, (dtype, channels, options) in kinds.items():
        pixels = _of_type(_pixels(*COLOUR[:2], channels, np.uint8), dtype)
        apart = options.get("planarconfig") == "separate"
        pixels = np.ascontiguousarray(np.moveaxis(pixels, 2, 0)) if apart else pixels.squeeze()
        out = io.BytesIO()
        tifffile.imwrite(out, pixels, metadata=None, **{"photometric": "minisblack"} | _chunky(channels) | options)
        yield f"TIFF other {name}", out.getvalue()


def _of_type(pixels: np.ndarray, dtype: Any) -> np.ndarray:
    """Pixels of a type; white is 1 in floating ones."""
    return (pixels / 256).astype(dtype) if np.issubdtype(dtype, np.floating) else pixels.astype(dtype)


def _chunky(channels: int) -> dict[str, Any]:
    return {"planarconfig": "contig"} if channels > 1 else {}


def _tiff(dtype: Any, channels: int, order: str, options: dict[str, Any]) -> bytes:
    pixels = _of_type(_pixels(*COLOUR[:2], channels, np.uint16 if dtype is np.uint16 else np.uint8), dtype)
    out = io.BytesIO()
    rgb = channels == 3
    options = {"byteorder": order, "photometric": "rgb" if rgb else "minisblack", **options}
    options |= {"planarconfig": "contig"} if rgb else {}
    tifffile.imwrite(out, pixels if rgb else pixels[..., 0], metadata=None, **options)
    return out.getvalue()


def _bmps() -> Iterator[tuple[str, bytes]]:
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield f"BMP {mode}", _saved(_image(mode), "BMP")
    rows = _pixels(28, 28, 1).tobytes()
    start = 14 + 40 + 1024
    palette = bytes(level for grey in range(256) for level in (grey, grey, grey, 0))
    for name, coding, data in (("BMP from the top", 0, rows), ("BMP runs", 1, _runs(rows, 28))):
        sides = struct.pack("<ii", 28, 28 if coding else -28)
        head = b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + struct.pack("<I", 40) + sides
        yield name, head + struct.pack("<HHIIiiII", 1, 8, coding, len(data), 0, 0, 256, 0) + palette + data


def _runs(rows: bytes, width: int) -> bytes:
    """RLE8: every pixel a run, or a row as it is; with the end of each line and of the image."""
    parts = []
    for start in range(0, len(rows), width):
        row = rows[start : start + width]
        absolute = bytes((0, width)) + row + b"\x00" * (width % 2)
        parts.append(absolute if start % (2 * width) else b"".join(bytes((1, level)) for level in row))
    return b"\x00\x00".join(parts) + b"\x00\x01"


def _others() -> Iterator[tuple[str, bytes]]:
    image = _image("RGB")
    yield "AVIF RGB", _saved(image, "AVIF")
    yield "JPEG-2000 RGB", _saved(image, "JPEG2000")
    yield "JPEG-2000 L codestream", _saved(_image("L", GREY), "JPEG2000", no_jp2=True, tile_size=(16, 16))
    yield "JPEG-XL RGB", imagecodecs.jpegxl_encode(np.asarray(image))
    out = io.BytesIO()
    pillow_heif.from_pillow(image).save(out)
    yield "HEIC RGB", out.getvalue()
    wide = np.asarray(image).astype(np.uint16) * 16
    yield "JPEG-XL 12 bits", imagecodecs.jpegxl_encode(wide, lossless=True, bitspersample=12)
    yield "JPEG-2000 12 bits", imagecodecs.jpeg2k_encode(wide, level=0, reversible=True, bitspersample=12)
    yield "AVIF 12 bits", imagecodecs.avif_encode(wide, level=100, bitspersample=12, speed=9)
    out, size = io.BytesIO(), (image.width, image.height)
    pillow_heif.from_bytes("RGB;16", size, (wide * 16).tobytes()).save(out)
    yield "HEIC 10 bits", out.getvalue()


def _gifs() -> Iterator[tuple[str, bytes]]:
    frames = [_image("P"), _image("P").rotate(90)]
    yield "GIF", _saved(_image("L", GREY), "GIF")
    yield "GIF not interlaced", _saved(frames[0], "GIF", interlace=0, comment=b"a comment")
    yield "GIF transparent", _saved(frames[0], "GIF", transparency=3)
    yield "GIF animated", _saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=10, loop=0)
