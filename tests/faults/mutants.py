"""Damaged and forged images, one for each number: what random damage makes of valid files, and what a forger would.

``mutant(seed)`` gives the same file wherever the encoders behind ``pictures`` do. Half of the mutants know nothing of
formats: flipped bits, overwritten, missing, inserted and repeated bytes, extreme numbers, two files spliced. The others
are made by the rules of the format and lie where a decoder believes: PNG chunks with right CRCs, JPEG segments, TIFF
directories, blocks of GIF, chunks of WebP, headers of BMP.
"""

import random
import struct
import zlib

from tests.faults.mutations import (
    EXTREMES,
    OF_BYTES,
    Dice,
    Mutation,
    Order,
    extreme_number,
    over,
    place,
)
from tests.faults.pictures import SIGNATURE, chunk, pictures

_MOST = 1 << 22  # bytes of a mutant
_SIDES = (0, 1, 2, 27, 28, 29, 31, 32, 33, 64, 255, 2047, 16383, 16384, 65535)


def mutant(seed: int) -> tuple[str, bytes]:
    """What the file was made from and how, and the file; from 1 to 3 mutations one after the other."""
    dice = random.Random(seed)
    name = dice.choice(list(pictures()))
    data, steps = pictures()[name], [name]
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        kinds = OF_BYTES if dice.random() < 0.5 else _OF_FORMAT[name.split()[0]]
        mutation = dice.choice(kinds)
        steps.append(mutation.__name__.strip("_"))
        data = mutation(dice, data)[:_MOST]
    return " ".join(steps), data


# ---- PNG


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Type and content of each chunk, as far as there are whole ones."""
    found, position = [], len(SIGNATURE)
    while position + 12 <= len(data):
        size = int.from_bytes(data[position : position + 4])
        found.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + size]))
        position += 12 + size
    return found


def _png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return SIGNATURE + b"".join(chunk(kind, content) for kind, content in chunks)


def png_header(dice: Dice, data: bytes) -> bytes:
    chunks = png_chunks(data)
    if chunks and len(head := chunks[0][1]) == 13:
        at = dice.randrange(7)
        new = dice.choice(_SIDES).to_bytes(4) if at < 2 else bytes((dice.choice((0, 1, 2, 3, 4, 6, 8, 16, 255)),))
        chunks[0] = b"IHDR", over(head, (0, 4, 8, 9, 10, 11, 12)[at], new)
    return _png(chunks)


def png_content(dice: Dice, data: bytes) -> bytes:
    """Any damage inside a chunk, under a right CRC."""
    chunks = png_chunks(data)
    if chunks:
        at = dice.randrange(len(chunks))
        chunks[at] = chunks[at][0], dice.choice(OF_BYTES)(dice, chunks[at][1])
    return _png(chunks)


def png_order(dice: Dice, data: bytes) -> bytes:
    chunks = png_chunks(data)
    strange = [
        (b"PLTE", dice.randbytes(dice.choice((0, 3, 5, 768, 771)))),
        (b"tRNS", dice.randbytes(dice.randrange(9))),
    ]
    strange += [(b"acTL", struct.pack(">II", dice.choice(EXTREMES), 0)), (b"ABCD", b""), (b"IEND", b""), (b"IDAT", b"")]
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(chunks) + 1)
        some = [dice.choice((*chunks, *strange))] * dice.choice((0, 1, 1, 1, 50))
        chunks[at : at + dice.randrange(2)] = some
    return _png(chunks)


def png_rows(dice: Dice, data: bytes) -> bytes:
    """Damage to the rows before they are compressed: wrong filters, missing and more bytes; or a small bomb."""
    chunks = png_chunks(data)
    packed = b"".join(content for kind, content in chunks if kind == b"IDAT")
    rows = zlib.decompressobj().decompress(packed, 1 << 20) if packed[:1] == b"\x78" and _inflates(packed) else b""
    rows = bytes(1 << 22) if dice.random() < 0.05 else dice.choice(OF_BYTES)(dice, rows)
    others = [(kind, content) for kind, content in chunks if kind not in (b"IDAT", b"IEND")]
    return _png([*others, (b"IDAT", zlib.compress(rows, dice.choice((0, 1, 9)))), (b"IEND", b"")])


def _inflates(packed: bytes) -> bool:
    try:
        zlib.decompressobj().decompress(packed, 1 << 20)
    except zlib.error:
        return False
    return True


# ---- JPEG


def jpeg_segments(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Marker and content of each segment up to the first scan, and what follows."""
    found, position = [], 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker, size = data[position + 1], int.from_bytes(data[position + 2 : position + 4])
        found.append((marker, data[position + 4 : position + 2 + size]))
        position += 2 + max(size, 2)
        if marker == 0xDA:
            break
    return found, data[position:]


def _jpeg(segments: list[tuple[int, bytes]], rest: bytes, lie: int = 0) -> bytes:
    """Put together again; the length of the last segment but for ``lie``."""
    parts = [bytes((255, marker)) + (len(content) + 2 & 65535).to_bytes(2) + content for marker, content in segments]
    if parts and lie:
        size = max(int.from_bytes(parts[-1][2:4]) + lie, 0) & 65535
        parts[-1] = over(parts[-1], 2, size.to_bytes(2))
    return b"\xff\xd8" + b"".join(parts) + rest


def jpeg_frame(dice: Dice, data: bytes) -> bytes:
    """Another process, size, number of components, sampling or table of the frame."""
    segments, rest = jpeg_segments(data)
    frames = [at for at, (marker, content) in enumerate(segments) if 0xC0 <= marker <= 0xC2 and len(content) > 8]
    if frames:
        marker, content = segments[frames[0]]
        at = dice.choice((0, 1, 3, 5, *range(6, len(content))))
        new = dice.choice(_SIDES).to_bytes(2) if at in (1, 3) else bytes((dice.choice((0, 1, 3, 4, 17, 34, 65, 255)),))
        marker = dice.choice((marker, marker, 0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC9, 0xCA))
        segments[frames[0]] = marker, over(content, at, new)
    return _jpeg(segments, rest)


def jpeg_content(dice: Dice, data: bytes) -> bytes:
    """Damage inside a segment of the right length: tables, frame or scan header."""
    segments, rest = jpeg_segments(data)
    if segments:
        at = dice.randrange(len(segments))
        segments[at] = segments[at][0], dice.choice(OF_BYTES)(dice, segments[at][1])[:60000]
    return _jpeg(segments, rest)


def jpeg_order(dice: Dice, data: bytes) -> bytes:
    """Segments repeated, dropped, moved, hidden in others, between others; a second frame."""
    segments, rest = jpeg_segments(data)
    hidden = _jpeg(segments, b"")[2:][:60000]
    frame = (0xC0, struct.pack(">BHHB", 8, dice.choice(_SIDES), dice.choice(_SIDES), 1) + b"\x01\x11\x00")
    strange = [
        (dice.randrange(256), dice.randbytes(dice.randrange(30))),
        frame,
        (0, hidden),
        (0xE1, hidden),
        (0xFE, b""),
    ]
    strange += [(0xDD, b"\x00\x01"), (0xEE, b"Adobe\x00\x64\x00\x00\x00\x00" + bytes((dice.randrange(4),)))]
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(segments) + 1)
        segments[at : at + dice.randrange(2)] = [dice.choice((*segments, *strange))] * dice.choice((0, 1, 1, 1, 9))
    return _jpeg(segments, rest, dice.choice((0, 0, 0, -1, 1, -8, 255)))


def jpeg_scan(dice: Dice, data: bytes) -> bytes:
    """Markers inside a scan, scans repeated, and the end missing."""
    segments, rest = jpeg_segments(data)
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(rest) + 1)
        marker = bytes((255, dice.choice((0, 255, 0xD0, 0xD7, 0xD8, 0xD9, 0xDA, 0xC0, 0xC4, 0xDB, 0xDD, 1, 0x80))))
        rest = rest[:at] + marker * dice.choice((1, 1, 300)) + rest[at:]
    scan = bytes((255, 0xDA)) + b"\x00\x08\x01\x01\x00\x00\x3f\x00" + rest[: dice.randrange(len(rest) + 1)]
    return _jpeg(segments, rest + scan * min(dice.choice((0, 0, 1, 2000)), _MOST // max(len(scan), 1) + 1))


# ---- TIFF


def tiff_entry(dice: Dice, data: bytes) -> bytes:
    """Another tag, type, number or value of an entry of the directory."""
    order = "<" if data[:2] == b"II" else ">"
    entries = tiff_entries(data)
    if not entries:
        return extreme_number(dice, data)
    if data[2:4] in (b"\x2b\x00", b"\x00\x2b"):
        return big_tiff_entry(dice, data, order, dice.choice(entries))
    at = dice.choice(entries)
    field = dice.randrange(4)
    small = struct.pack(order + "H", dice.choice((*range(14), 256, 257, 258, 259, 262, 277, 284, 317, 322, 339)))
    large = struct.pack(order + "I", dice.choice((*EXTREMES, *_SIDES, 3, 4, 5, 6, 16, len(data))))
    short = struct.pack(order + "H", dice.choice((*range(10), 16, 32, 64, 32773, 32946, 34712, *_SIDES)))
    return over(data, *((at, small), (at + 2, small), (at + 4, large), (at + 8, dice.choice((large, short))))[field])


def big_tiff_entry(dice: Dice, data: bytes, order: str, at: int) -> bytes:
    """Another tag, type, number or value of an entry of a BigTIFF."""
    small = struct.pack(order + "H", dice.choice((*range(19), 256, 257, 258, 259, 262, 277, 284, 317, 322, 339)))
    large = struct.pack(order + "Q", dice.choice((*EXTREMES, *_SIDES, 3, 8, 1 << 33, (1 << 64) - 1, len(data))))
    return over(data, *dice.choice(((at, small), (at + 2, small), (at + 4, large), (at + 12, large))))


def tiff_entries(data: bytes) -> list[int]:
    """Where the entries of the first directory begin."""
    order: Order = "little" if data[:2] == b"II" else "big"
    if data[2:4] in (b"\x2b\x00", b"\x00\x2b"):
        start = int.from_bytes(data[8:16], order)
        count = int.from_bytes(data[start : start + 8], order)
        return list(range(start + 8, min(start + 8 + 20 * count, len(data) - 19), 20))
    start = int.from_bytes(data[4:8], order)
    count = int.from_bytes(data[start : start + 2], order)
    return [at for at in range(start + 2, start + 2 + 12 * count, 12) if at + 12 <= len(data)]


def tiff_directory(dice: Dice, data: bytes) -> bytes:
    """Another place or length of the directory, or entries changed for each other."""
    order: Order = "little" if data[:2] == b"II" else "big"
    entries = tiff_entries(data)
    if entries and dice.random() < 0.5:
        one, other = dice.choice(entries), dice.choice(entries)
        return over(over(data, one, data[other : other + 12]), other, data[one : one + 12])
    if entries and dice.random() < 0.5:
        return over(data, entries[0] - 2, dice.choice((0, 1, len(entries) + 1, 255, 65535)).to_bytes(2, order))
    return over(
        data, 4, dice.choice((0, 2, 8, len(data) - 6, len(data), dice.randrange(len(data) + 1))).to_bytes(4, order)
    )


# ---- WebP, GIF, BMP


def webp_chunks(dice: Dice, data: bytes) -> bytes:
    """Chunks repeated, dropped, of another name or damaged inside, in a container of the right length."""
    found, position = [], 12
    while position + 8 <= len(data):
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        found.append((data[position : position + 4], data[position + 8 : position + 8 + size]))
        position += 8 + size + size % 2
    for at in sorted(dice.sample(range(len(found)), min(dice.randint(1, 3), len(found))), reverse=True):
        name, content = found[at]
        damaged = dice.choice(OF_BYTES)(dice, content)
        other = dice.choice((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
        found[at : at + 1] = dice.choice(([], [(name, damaged)], [(other, content)], [(name, content)] * 3))
    body = b"".join(n + struct.pack("<I", len(c)) + c + b"\x00" * (len(c) % 2) for n, c in found)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def webp_canvas(dice: Dice, data: bytes) -> bytes:
    """Another size, or other flags, where the extended header, a frame or the bitstream has them."""
    marks = [(b"VP8X", 8, (8, 12, 15)), (b"ANMF", 8, (8, 11, 14, 17, 23)), (b"VP8 ", 8, (14, 16)), (b"VP8L", 8, (9,))]
    found = [(data.find(mark), fields) for mark, _, fields in marks if data.find(mark) >= 0]
    if not found:
        return extreme_number(dice, data)
    start, fields = dice.choice(found)
    return over(data, start + dice.choice(fields), dice.choice((*_SIDES, 1 << 20)).to_bytes(3, "little"))


def gif_fields(dice: Dice, data: bytes) -> bytes:
    """Screen, flags, place and size of a frame, the width of its codes, lengths of blocks."""
    frame = data.find(b"\x2c", 13)
    sizes = [(6, 2), (8, 2), (10, 1), *((frame + at, 2) for at in (1, 3, 5, 7)), (frame + 9, 1), (frame + 10, 1)]
    at, size = dice.choice([*sizes, (data.find(b"\x21\xf9") + 3, 1), (frame + 11, 1), (place(dice, data), 1)])
    new = (
        dice.choice(_SIDES).to_bytes(2, "little")
        if size == 2
        else bytes((dice.choice((0, 1, 2, 7, 8, 9, 12, 13, 255)),))
    )
    return over(data, max(at, 0), new)


def bmp_fields(dice: Dice, data: bytes) -> bytes:
    """Any field of the two headers."""
    at, size = dice.choice(
        ((2, 4), (10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 4), (34, 4), (46, 4), (50, 4))
    )
    value = dice.choice((*EXTREMES, *_SIDES, -1, -28, -32, 3, 4, 12, 16, 24, 40, 52, 56, 64, 108, 124))
    return over(data, at, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))


_OF_FORMAT: dict[str, tuple[Mutation, ...]] = {
    "PNG": (png_header, png_content, png_order, png_rows),
    "JPEG": (jpeg_frame, jpeg_content, jpeg_order, jpeg_scan),
    "TIFF": (tiff_entry, tiff_entry, tiff_directory),
    "WebP": (webp_chunks, webp_canvas),
    "GIF": (gif_fields,),
    "BMP": (bmp_fields,),
    **dict.fromkeys(("AVIF", "HEIC", "JPEG-2000", "JPEG-XL"), OF_BYTES),
}
