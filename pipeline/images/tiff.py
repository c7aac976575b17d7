"""TIFF by its first directory (TIFF 6.0, Adobe, 1992)."""

import struct
from dataclasses import dataclass

import numpy as np

from pipeline.images.base import Format, Header, ImageError
from pipeline.records import Array, Reason

_WIDTH, _LENGTH, _BITS, _PHOTOMETRIC, _STRIPS, _ORIENTATION, _SAMPLES = 256, 257, 258, 262, 273, 274, 277
_STRIP_BYTES, _TILE_WIDTH, _TILE_LENGTH, _TILES, _TILE_BYTES, _EXTRA, _KIND = 279, 322, 323, 324, 325, 338, 339
_COMPRESSION, _PLANES, _PREDICTOR, _PROFILE = 259, 284, 317, 34675
# Fill order, strips, planes, fax options, predictor, colour map, JPEG tables, YCbCr coding:
_PIXELS = {_WIDTH, _LENGTH, _BITS, _PHOTOMETRIC, _STRIPS, _SAMPLES, _STRIP_BYTES, _TILE_WIDTH, _TILE_LENGTH, _TILES}
_PIXELS |= {_TILE_BYTES, _EXTRA, _KIND, _COMPRESSION, 266, 278, 284, 292, 293, 317, 320, 347, 529, 530, 531, 532}
_SINGLE = _PIXELS - {_BITS, _STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES, _EXTRA, _KIND, 320, 347, 529, 530, 532}
_COMPRESSIONS = {1, 3, 4, 5, 7, 8, 32773, 32946}  # none, fax, LZW, JPEG, Deflate, PackBits, Deflate's old number
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_INTEGERS = {1: "B", 3: "H", 4: "I"}
_CHANNELS = {0: 1, 1: 1, 2: 3, 3: 3, 5: 4, 6: 3}  # by photometric interpretation: grey, RGB, palette, CMYK, YCbCr
_MOST_VALUES = 1 << 20  # of one tag: no image on the allow-list of sizes has more strips
_UNSIGNED, _FLOAT, _UNDEFINED = 1, 3, 4
_YCBCR, _JPEG = 6, 7
_WIDE_SAMPLES = {1: (1, 2), 2: (3, 4)}  # by photometric interpretation: grey and RGB, each with or without alpha
_PREDICTED = {5, 8, 32946}  # compressions that a predictor goes with: LZW, Deflate
_HORIZONTAL, _FLOATING = 2, 3  # predictors
_PREMULTIPLIED = 1  # kind of an extra sample


@dataclass(frozen=True, slots=True, kw_only=True)
class _Directory:
    """Raw entries of 12 bytes by tag, of a file of the byte order ``order``."""

    data: bytes
    order: str
    entries: dict[int, bytes]

    def values(self, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
        """Integers of a tag."""
        if tag not in self.entries:
            return default
        _, kind, count, start = struct.unpack(self.order + "HHII", self.entries[tag])
        if kind not in _INTEGERS:
            raise _corrupt(f"tag {tag} of type {kind}")
        inline = _SIZES[kind] * count <= 4
        source = self.entries[tag] if inline else self.data
        return struct.unpack_from(f"{self.order}{count}{_INTEGERS[kind]}", source, 8 if inline else start)

    def check(self, tag: int) -> None:
        """Type, number and place of a tag's values.

        Raises:
          ImageError: CORRUPT_IMAGE.
        """
        _, kind, count, start = struct.unpack(self.order + "HHII", self.entries[tag])
        if kind not in _SIZES or not 0 < count <= (1 if tag in _SINGLE else _MOST_VALUES):
            raise _corrupt(f"tag {tag} of type {kind} with {count} values")
        size = _SIZES[kind] * count
        if size > 4 and start + size > len(self.data):
            raise _corrupt(f"the {count} values of tag {tag} reach beyond the file's {len(self.data)} bytes")

    def value(self, tag: int, default: int) -> int:
        """The first integer of a tag."""
        return self.values(tag, (default,))[0]


def header(data: bytes) -> Header:
    """Read from the first directory; further pages do not count.

    Raises:
      ImageError: CORRUPT_IMAGE, also where strips or tiles reach beyond the file; UNSUPPORTED_IMAGE for BigTIFF and
        for samples that are not 1, 2, 4, 8, 16-bit or float32; of the last two also for JPEG, premultiplied alpha,
        planes, and the floating predictor of several samples or in big-endian files.
    """
    tags = _directory(data)
    width, height = tags.value(_WIDTH, 0), tags.value(_LENGTH, 0)
    samples, bits = tags.value(_SAMPLES, 1), tags.values(_BITS, (1,))
    photometric, kind = tags.value(_PHOTOMETRIC, 1), tags.value(_KIND, _UNSIGNED)
    _check_kind(samples, bits, photometric, kind)
    compression = tags.value(_COMPRESSION, 1)
    if compression not in _COMPRESSIONS or (photometric == _YCBCR and compression != _JPEG):
        raise _unsupported(f"compression {compression} of photometric interpretation {photometric}")
    if bits[0] > 8:
        _check_wide(tags, samples, photometric)
    tile = _check_tile(tags)
    _check_parts(tags, width, height, samples, tile)
    channels = _CHANNELS[photometric]
    turn = tags.value(_ORIENTATION, 1)
    return Header(
        format=Format.TIFF,
        width=width,
        height=height,
        channels=channels,
        depth=bits[0],
        alpha=samples > (1 if photometric == 3 else channels),
        palette=photometric == 3,
        orientation=turn if 1 <= turn <= 8 else 1,
        canvas=tile[0] * tile[1],
    )


def essence(data: bytes) -> bytes:
    """The same image with one new directory that holds only the tags that make pixels.

    Without EXIF, profiles, further pages and orientation (which Pillow would apply by itself). Offsets stay valid,
    since the new directory goes to the end. Of 16 and 32-bit samples, of which Pillow reads not all and not all well,
    the bytes become the pixels of a wider 8-bit grey image; ``pixels`` turns what is decoded back.

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    tags = _directory(data)
    size = _flattened(tags)
    entries = tags.entries if size == 1 else _flat(tags, size)
    kept = [entries[tag] for tag in sorted(entries) if tag in _PIXELS]
    padding = b"\x00" * (len(data) % 2)  # a directory begins on a word boundary
    start = struct.pack(tags.order + "I", len(data) + len(padding))
    count = struct.pack(tags.order + "H", len(kept))
    return b"".join((data[:4], start, data[8:], padding, count, *kept, b"\x00\x00\x00\x00"))


def flattened(data: bytes) -> int:
    """How many pixels ``essence`` makes of one: its bytes, or 1 where it leaves the samples as they are."""
    return _flattened(_directory(data))


def pixels(data: bytes, flat: Array) -> Array:
    """Pixels ``[H, W, K]`` uint16 or float32 of the bytes ``[H, W * K * size]`` that a flattened image decodes to."""
    tags = _directory(data)
    dtype = np.dtype(tags.order + {16: "u2", 32: "f4"}[tags.value(_BITS, 1)])
    stored = flat.view(dtype).reshape(len(flat), -1, tags.value(_SAMPLES, 1))
    native = stored.astype(dtype.newbyteorder("="), copy=False)
    if tags.value(_PREDICTOR, 1) == _HORIZONTAL and tags.value(_COMPRESSION, 1) in _PREDICTED:
        return _added(native, tags.value(_TILE_WIDTH, 1) if _TILES in tags.entries else native.shape[1])
    return native


def _added(pixels: Array, width: int) -> Array:
    """The sums of horizontal differences, which begin anew with each strip or tile of this width."""
    added = pixels.copy()
    words = added.view(f"u{added.dtype.itemsize}")
    for left in range(0, words.shape[1], width):
        part = words[:, left : left + width]
        np.cumsum(part, axis=1, dtype=words.dtype, out=part)
    return added


def profile(data: bytes) -> bytes:
    """The ICC profile; empty where there is none.

    Raises:
      ImageError: CORRUPT_IMAGE.
    """
    tags = _directory(data)
    if _PROFILE not in tags.entries:
        return b""
    _, _, size, start = struct.unpack(tags.order + "HHII", tags.entries[_PROFILE])
    return data[start : start + size]


def _flattened(tags: _Directory) -> int:
    bits = tags.value(_BITS, 1)
    return 1 if bits <= 8 or tags.value(_PREDICTOR, 1) == _FLOATING else tags.value(_SAMPLES, 1) * bits // 8


def _flat(tags: _Directory, size: int) -> dict[int, bytes]:
    """The entries of an 8-bit grey image whose rows are the bytes of this one's, ``size`` for each pixel."""
    dropped = {_SAMPLES, _EXTRA, _PREDICTOR, _KIND}
    entries = {tag: row for tag, row in tags.entries.items() if tag not in dropped}
    for tag in entries.keys() & {_WIDTH, _TILE_WIDTH}:
        entries[tag] = struct.pack(tags.order + "HHII", tag, 4, 1, size * tags.value(tag, 0))
    new = {_BITS: 8, _PHOTOMETRIC: 1}
    return entries | {tag: struct.pack(tags.order + "HHIHxx", tag, 3, 1, value) for tag, value in new.items()}


def _corrupt(problem: str) -> ImageError:
    return ImageError(Reason.CORRUPT_IMAGE, f"TIFF: {problem}")


def _unsupported(problem: str) -> ImageError:
    return ImageError(Reason.UNSUPPORTED_IMAGE, f"TIFF: {problem}")


def _directory(data: bytes) -> _Directory:
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 8:
        raise _corrupt("cut off in its header")
    version, start = struct.unpack_from(order + "HI", data, 2)
    if version == 43:
        raise _unsupported("BigTIFF is not read")
    if start + 2 > len(data):
        raise _corrupt(f"directory at byte {start} of {len(data)}")
    (count,) = struct.unpack_from(order + "H", data, start)
    end = start + 2 + 12 * count
    if end > len(data):
        raise _corrupt(f"directory of {count} entries reaches beyond the file's {len(data)} bytes")
    rows = [data[at : at + 12] for at in range(start + 2, end, 12)]
    entries = {struct.unpack_from(order + "H", row)[0]: row for row in rows}
    tags = _Directory(data=data, order=order, entries=entries)
    for tag in entries.keys() & (_PIXELS | {_ORIENTATION}):
        tags.check(tag)
    return tags


def _check_kind(samples: int, bits: tuple[int, ...], photometric: int, kind: int) -> None:
    if photometric not in _CHANNELS:
        raise _unsupported(f"photometric interpretation {photometric}")
    if len(set(bits)) != 1 or len(bits) not in (1, samples):
        raise _unsupported(f"samples of {bits[:8]} bits")
    kinds = {_UNSIGNED: (1, 2, 4, 8, 16), _UNDEFINED: (1, 2, 4, 8, 16), _FLOAT: (32,)}
    wide = bits[0] > 8 and samples not in _WIDE_SAMPLES.get(photometric, ())
    if bits[0] not in kinds.get(kind, ()) or wide:
        raise _unsupported(f"{samples} samples of {bits[0]} bits, sample format {kind}, photometric {photometric}")


def _check_wide(tags: _Directory, samples: int, photometric: int) -> None:
    """Of 16 and 32 bits: what ``essence`` can flatten, or Pillow reads well."""
    planes, predictor, compression = (tags.value(tag, 1) for tag in (_PLANES, _PREDICTOR, _COMPRESSION))
    floating = predictor == _FLOATING and samples == 1 and tags.order == "<"
    if compression == _JPEG or not (floating or predictor in (1, _HORIZONTAL)) or (planes != 1 and samples > 1):
        layout = f"planes {planes}, predictor {predictor}, compression {compression}"
        raise _unsupported(f"{samples} samples of {tags.value(_BITS, 1)} bits with {layout}")
    if samples > _CHANNELS[photometric] and tags.value(_EXTRA, 0) == _PREMULTIPLIED:
        raise _unsupported(f"{samples} samples of which the last is premultiplied alpha")


def _check_tile(tags: _Directory) -> tuple[int, int]:
    """Size of a tile; (0, 0) for strips."""
    if _TILES not in tags.entries:
        return 0, 0
    tile = tags.value(_TILE_WIDTH, 0), tags.value(_TILE_LENGTH, 0)
    if not all(tile):
        raise _corrupt(f"tiles of {tile[0]}x{tile[1]} pixels")
    return tile


def _check_parts(tags: _Directory, width: int, height: int, samples: int, tile: tuple[int, int]) -> None:
    """Strips or tiles: not absurdly many, and all inside the file."""
    most = samples * (-(-width // tile[0]) * -(-height // tile[1]) if all(tile) else height)
    place, size = (_TILES, _TILE_BYTES) if all(tile) else (_STRIPS, _STRIP_BYTES)
    starts = tags.values(place, ())
    sizes = tags.values(size, ())
    if not 0 < len(starts) <= most:
        raise _corrupt(f"{len(starts)} strips or tiles for {width}x{height} pixels of {samples} samples")
    if len(sizes) not in (0, len(starts)):
        raise _corrupt(f"{len(starts)} strips or tiles with {len(sizes)} sizes")
    if any(start + size > len(tags.data) for start, size in zip(starts, sizes, strict=False)):
        raise _corrupt(f"strips or tiles reach beyond the file's {len(tags.data)} bytes")
