"""Images of records of an output: those that the job wrote, or those that it read."""

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lake.core.errors import InputError, UsageError
from lake.core.records import Array, Fault, Records
from lake.images.native_decoder import NativeDecoder
from lake.images.types import Alpha, Color, Group, Pages, Target
from pipeline.explore.committed import Committed, row_at
from pipeline.explore.image_places import ReadImages, WrittenImages, changed_input, find_records, writes_images
from pipeline.explore.similar import first_rows
from pipeline.options.job_options import JobOptions

if TYPE_CHECKING:
    from PIL.Image import Image

_DARK, _BRIGHTEST = 4, 256  # least and largest gain of images that are shown brighter
_LOOKED_AT = 512  # pixels of a side by which this is told


def images_of(committed: Committed, keys: Sequence[str]) -> "dict[str, Image]":
    """The images of some records: what the job made of them if it wrote images, else what it read.

    Args:
      committed: the output.
      keys: of the records; of a key that several records have, the first is meant.

    Returns:
      By key, in 8 bits, grey or RGB, with alpha if they have some.

    Raises:
      InputError: no record has one of the keys, or the input is not where it was, or has changed.
      UsageError: there are no images: the job made none, of vectors or of latents.
    """
    if committed.rows and not committed.tables:
        raise UsageError(
            f"{committed.layout.output} has images without a table of their keys; open its directory images"
        )
    rows = committed.column_table(("key", "shard", "index"))
    found = first_rows(rows.column("key"), keys)
    return dict(zip(keys, _images_at(committed, rows, found.tolist()), strict=True))


def first_images(committed: Committed, count: int) -> "list[tuple[str, Image]]":
    """Key and image of the first records, to be seen, as far as there are any: fewer where an image is gone."""
    receipts = [receipt for receipt, file in committed.tables if file.rows]
    if not receipts:
        return []
    part = replace(committed, receipts=receipts[:1])
    rows = part.column_table(("key", "shard", "index")).slice(0, count)
    images = _images_at(part, rows, range(len(rows)), seen=True)
    return list(zip(rows.column("key").to_pylist(), images, strict=True))


def _images_at(committed: Committed, rows: pa.Table, positions: Sequence[int], *, seen: bool = False) -> "list[Image]":
    """The images of some rows of the tables; brighter where they are to be seen and use little of their range."""
    wanted = [row_at(rows, position) for position in positions]
    if writes_images(committed):
        written = WrittenImages(committed)
        edges = np.cumsum([0, *(file.rows for _, file in committed.tables)])
        tables = (np.searchsorted(edges, positions, "right") - 1).tolist()
        receipts = [committed.tables[table][0] for table in tables]
        starts = [int(edges[table]) for table in tables]
        found = [
            written.place(receipt, at - start, row["shard"], row["index"])
            for receipt, at, start, row in zip(receipts, positions, starts, wanted, strict=True)
        ]
        places, options = dict(enumerate(found)), written.options
    else:
        read = ReadImages(committed)
        places, options = read.places([(row["shard"], row["index"], row["key"]) for row in wanted]), read.options
    numbers = list(places)
    records = {numbers[at]: batch for at, batch in find_records([places[number] for number in numbers])}
    for number, row in enumerate(wanted):
        if number not in records:
            raise changed_input(committed.layout.output, row["shard"], row["index"], row["key"])
    return [_picture(records[number], options, seen) for number in range(len(wanted))]


def _picture(record: Records, options: JobOptions, seen: bool) -> "Image":
    target = Target(
        shape=(None, None, 3),
        orientation=options.orientation,
        color=Color.CONVERT,
        max_pixels=options.max_pixels,
        pages=Pages.FIRST,
        white=float(options.white),
        alpha=options.alpha or Alpha.AUTO,
    )
    faults = dict[int, Fault]()
    for group in NativeDecoder(target).groups(record, faults):
        pixels = first_to_see(group)
        return image_of_pixels(pixels, gain_to_see(pixels) if seen else 1)
    raise InputError(f"{record.key[0].as_py()!r}: {faults[0].detail}")


def first_to_see(group: Group) -> Array:
    """The first image of a group ``[H, W, K]``, without a last channel of data in alpha's place.

    Args:
      group: with one image or more.
    """
    pixels = np.asarray(group.pixels[0])
    return pixels[..., :-1] if group.bands and pixels.shape[2] in (2, 4) else pixels


def image_of_pixels(pixels: Array, gain: int = 1) -> "Image":
    """An image of Pillow in 8 bits.

    Args:
      pixels: ``[H, W, K]`` of dtype uint8, uint16 or float32 (white is 1); of more than four bands the first is shown.
      gain: how many times as bright; 1 for those of 8 bits.
    """
    from PIL import Image

    if pixels.dtype == np.uint16:
        pixels = np.minimum(pixels, 65535 // gain) * np.uint16(gain) >> 8
    elif pixels.dtype != np.uint8:
        pixels = np.clip(np.nan_to_num(pixels) * (255 * gain), 0, 255).round()
    pixels = pixels.astype(np.uint8)
    shown = {1: 1, 2: 2, 3: 3, 4: 4}.get(pixels.shape[2], 1)  # of more bands the first one
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if shown == 1 else pixels[..., :shown]))


def gain_to_see(pixels: Array) -> int:
    """How many times as bright an image is to be shown: a power of two, 1 where it uses a fourth of its range or more.

    What cameras count fills little of 16 bits, and 8 of them would show black.

    Args:
      pixels: as of ``image_of_pixels``.

    >>> [gain_to_see(np.full((8, 8, 1), most, np.uint16)) for most in (0, 200, 4095, 9000, 40_000)]
    [1, 256, 16, 4, 1]
    """
    if pixels.dtype == np.uint8:
        return 1
    some = pixels[:: -(-pixels.shape[0] // _LOOKED_AT), :: -(-pixels.shape[1] // _LOOKED_AT), :3]
    white = 65535 if pixels.dtype == np.uint16 else 1
    # A few hot pixels do not count.
    most = float(np.percentile(np.nan_to_num(some), 99.9)) / white
    gain = int(min(1 / most, _BRIGHTEST)) if most > 0 else 1
    return 1 << gain.bit_length() - 1 if gain >= _DARK else 1


def thumbnail(image: "Image", side: int) -> bytes:
    """A small PNG of an image.

    Args:
      image: the image.
      side: most pixels of its longer side.
    """
    small = image.copy()
    small.thumbnail((side, side))
    out = BytesIO()
    small.save(out, "png")
    return out.getvalue()
