"""Images made from known arrays, by encoders that this project does not use for reading."""

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image

from lake.core.records import Fault, Records

Picture = NDArray[Any]
Encode = Callable[..., bytes]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def photo(rng: np.random.Generator) -> Callable[..., Picture]:
    """Smooth random pictures uint8 [H, W, C]: they compress as photographs do."""

    def make(height: int, width: int, channels: int = 3) -> Picture:
        coarse = rng.integers(0, 256, (height // 4 + 2, width // 4 + 2, channels), np.uint8)
        planes = [Image.fromarray(coarse[..., c]).resize((width, height)) for c in range(channels)]
        return np.stack([np.asarray(plane) for plane in planes], axis=-1)

    return make


@pytest.fixture
def encode() -> Encode:
    """An array, or a Pillow image, as a file."""

    def make(picture: Any, format: str, mode: str | None = None, **options: Any) -> bytes:
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(_flat(picture))
        out = io.BytesIO()
        (image.convert(mode) if mode else image).save(out, format, **options)
        return out.getvalue()

    return make


def _flat(picture: Picture) -> Picture:
    return picture[..., 0] if picture.shape[2:] == (1,) else picture


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.fixture
def chunk() -> Callable[[bytes, bytes], bytes]:
    """A PNG chunk with its CRC."""
    return _chunk


@pytest.fixture
def png() -> Encode:
    """A PNG written by hand, without filters: uint8 or uint16 [H, W, C] with C 1 to 4."""

    def make(pixels: Picture, *, before: bytes = b"", after: bytes = b"", idats: int = 1) -> bytes:
        height, width, channels = pixels.shape
        rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1)
        data = zlib.compress(b"".join(b"\x00" + row.tobytes() for row in rows))
        color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
        head = struct.pack(">IIBBBBB", width, height, 8 * pixels.dtype.itemsize, color, 0, 0, 0)
        step = -(-len(data) // idats)
        parts = [_chunk(b"IDAT", data[start : start + step]) for start in range(0, len(data), step)]
        body = _chunk(b"IHDR", head) + before + b"".join(parts) + after
        return b"\x89PNG\r\n\x1a\n" + body + _chunk(b"IEND", b"")

    return make


@pytest.fixture
def exif() -> Callable[[int], bytes]:
    """An EXIF block, with its prefix, whose only tag is the orientation."""

    def make(orientation: int) -> bytes:
        return b"Exif\x00\x00MM\x00*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)

    return make


@pytest.fixture
def records() -> Callable[..., Records]:
    """Records with this payload: files (None for null), or an array."""

    def make(payload: Sequence[bytes | None] | Picture, faults: dict[int, Fault] | None = None, large: bool = False):
        kind = pa.large_binary() if large else pa.binary()
        column = payload if isinstance(payload, np.ndarray) else pa.array(payload, kind)
        index = np.arange(len(payload))
        return Records(
            shard="a", index=index, key=pa.array([""] * len(index)), payload=column, carried={}, faults=faults or {}
        )

    return make
