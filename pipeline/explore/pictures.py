"""Images of records of an output: those that the job wrote, or those that it read."""

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lake.core.errors import InputError
from lake.core.records import Array, Fault, Records
from lake.images.native_decoder import NativeDecoder
from lake.images.types import Color, Pages, Target
from pipeline.explore.committed import Committed, row_at
from pipeline.explore.image_places import ReadImages, WrittenImages, changed_input, find_records, writes_images
from pipeline.explore.similar import first_rows
from pipeline.options.job_options import JobOptions

if TYPE_CHECKING:
    from PIL.Image import Image


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
    rows = committed.column_table(("key", "shard", "index"))
    found = first_rows(rows.column("key"), keys)
    return dict(zip(keys, _images_at(committed, rows, found.tolist()), strict=True))


def first_images(committed: Committed, count: int) -> "list[tuple[str, Image]]":
    """Key and image of the first records, as far as there are any: fewer where an image is gone."""
    receipts = [receipt for receipt, file in committed.tables if file.rows]
    if not receipts:
        return []
    part = replace(committed, receipts=receipts[:1])
    rows = part.column_table(("key", "shard", "index")).slice(0, count)
    return list(zip(rows.column("key").to_pylist(), _images_at(part, rows, range(len(rows))), strict=True))


def _images_at(committed: Committed, rows: pa.Table, positions: Sequence[int]) -> "list[Image]":
    """The images of some rows of the tables."""
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
    return [_picture(records[number], options) for number in range(len(wanted))]


def _picture(record: Records, options: JobOptions) -> "Image":
    target = Target(
        shape=(None, None, 3),
        orientation=options.orientation,
        color=Color.CONVERT,
        max_pixels=options.max_pixels,
        pages=Pages.FIRST,
        white=float(options.white),
    )
    faults = dict[int, Fault]()
    for group in NativeDecoder(target).groups(record, faults):
        return image_of_pixels(group.pixels[0])
    raise InputError(f"{record.key[0].as_py()!r}: {faults[0].detail}")


def image_of_pixels(pixels: Array) -> "Image":
    """An image of Pillow in 8 bits.

    Args:
      pixels: ``[H, W, K]`` of dtype uint8, uint16 or float32 (white is 1); of more than four bands the first is shown.
    """
    from PIL import Image

    if pixels.dtype == np.uint16:
        pixels = pixels >> 8
    elif pixels.dtype != np.uint8:
        pixels = np.clip(np.nan_to_num(pixels) * 255, 0, 255).round()
    pixels = pixels.astype(np.uint8)
    shown = {1: 1, 2: 2, 3: 3, 4: 4}.get(pixels.shape[2], 1)  # of more bands the first one
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if shown == 1 else pixels[..., :shown]))


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
