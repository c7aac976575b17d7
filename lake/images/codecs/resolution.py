"""Pixels per length: in JFIF (T.871), PNG (pHYs) and TIFF (XResolution, YResolution, ResolutionUnit)."""

import struct
from typing import NamedTuple

from lake.images.codecs.tiff_directory import LONG, RATIONAL, SHORT, Directory, Values

_X, _Y, _UNIT = 282, 283, 296
_INCH, _CENTIMETRE, _METRE = 0.0254, 0.01, 1.0  # metres
_OF_TIFF = {2: _INCH, 3: _CENTIMETRE}
_OF_JFIF = {1: _INCH, 2: _CENTIMETRE}
_MOST = 1 << 16  # what a JFIF cannot hold
_MOST_PHYS = 1 << 31
_PARTS = 10_000  # of a pixel, in the fractions that are written


class Resolution(NamedTuple):
    """Pixels across and down per unit of so many metres."""

    x: float
    y: float
    unit: float

    def turned(self, swapped: bool) -> "Resolution":
        """The same where the sides may have been swapped."""
        return Resolution(self.y, self.x, self.unit) if swapped else self

    def phys(self) -> bytes:
        """The content of a pHYs chunk; empty if it cannot be said there."""
        x, y = round(self.x / self.unit), round(self.y / self.unit)
        return struct.pack(">IIB", x, y, 1) if min(x, y) > 0 and max(x, y) < _MOST_PHYS else b""

    def jfif(self) -> bytes:
        """Units and densities in a JFIF header; empty if they cannot be said there."""
        unit = self.unit if self.unit in _OF_JFIF.values() else _INCH
        x, y = (round(value / self.unit * unit) for value in (self.x, self.y))
        code = next(code for code, metres in _OF_JFIF.items() if metres == unit)
        return struct.pack(">BHH", code, x, y) if min(x, y) > 0 and max(x, y) < _MOST else b""

    def tags(self) -> dict[int, Values]:
        """Type and values of the tags of a little-endian TIFF; empty if it cannot be said there."""
        unit = self.unit if self.unit in _OF_TIFF.values() else _CENTIMETRE
        parts = [round(value / self.unit * unit * _PARTS) for value in (self.x, self.y)]
        if not min(parts) > 0 or max(parts) >= 1 << 32:
            return {}
        code = next(code for code, metres in _OF_TIFF.items() if metres == unit)
        x, y = ((RATIONAL, struct.pack("<II", part, _PARTS)) for part in parts)
        return {_X: x, _Y: y, _UNIT: (SHORT, struct.pack("<H", code))}


def of_phys(content: bytes) -> Resolution | None:
    """The resolution in a pHYs chunk; None if it says a shape of pixels alone."""
    if len(content) != 9:
        return None
    x, y, unit = struct.unpack(">IIB", content)
    return Resolution(x, y, _METRE) if unit == 1 and x and y else None


def of_jfif(data: bytes) -> Resolution | None:
    """The resolution in the header of a JPEG; None if it has none, or says a shape of pixels alone."""
    if data[2:4] != b"\xff\xe0" or data[6:11] != b"JFIF\x00" or len(data) < 18:
        return None
    unit, x, y = struct.unpack_from(">BHH", data, 13)
    return Resolution(x, y, _OF_JFIF[unit]) if unit in _OF_JFIF and x and y else None


def of_directory(tags: Directory) -> Resolution | None:
    """The resolution of a page; None if it has none, or says a shape of pixels alone."""
    unit = tags.value(_UNIT, 2) if _UNIT not in tags.entries or tags.entries[_UNIT].kind in (SHORT, LONG) else 0
    x, y = tags.fraction(_X), tags.fraction(_Y)
    return Resolution(x, y, _OF_TIFF[unit]) if unit in _OF_TIFF and x and y else None


def with_density(data: bytes, resolution: Resolution | None) -> bytes:
    """A JPEG that begins with a JFIF header, and says a resolution there."""
    density = resolution.jfif() if resolution else b""
    return data[:13] + density + data[18:] if density and data[6:11] == b"JFIF\x00" else data
