"""Images of records of an output: those that the job wrote, or those that it read."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from lake.core.errors import InputError, LatentlakeError, UsageError
from lake.core.records import Array, Fault, Records, Shard, Unit
from lake.formats import FORMATS
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.images.native_decoder import NativeDecoder
from lake.images.types import Color, Pages, Target
from lake.inputs.columns import settle_shard
from lake.storage import store_for
from pipeline.explore.committed import Committed, row_at
from pipeline.explore.similar import first_rows
from pipeline.job.source import find_source
from pipeline.options.job_options import JobOptions
from pipeline.options.kept_options import options_from_json
from pipeline.output.layout import IMAGES
from pipeline.output.receipts import Receipt
from pipeline.worker.verbs import VERBS

if TYPE_CHECKING:
    from PIL.Image import Image

_BATCH = 64  # records


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
    source = _Written(committed) if _writes(committed) else _Read(committed)
    return {key: source.image(rows, int(row)) for key, row in zip(keys, found, strict=True)}


def first_images(committed: Committed, count: int) -> "list[tuple[str, Image]]":
    """Key and image of the first records, as far as there are any: fewer where an image is gone."""
    receipts = [receipt for receipt, file in committed.tables if file.rows]
    if not receipts:
        return []
    source = _Written(committed) if _writes(committed) else _Read(committed)
    part = replace(committed, receipts=receipts[:1])
    rows = part.column_table(("key", "shard", "index")).slice(0, count)
    return [(rows.column("key")[row].as_py(), source.image(rows, row)) for row in range(len(rows))]


class _Read:
    """Images of the input."""

    def __init__(self, committed: Committed) -> None:
        from model.bundle import Bundle

        model = committed.layout.model(committed.job["options"]["model_digest"])
        options = options_from_json(committed.job["settings"], committed.layout.output, model)
        spec = Bundle.open(model).spec
        if spec.numeric or VERBS[options.verb].takes_latents:
            raise UsageError(f"{committed.layout.output} was made of numbers, and has no images to show")
        source = find_source(options, Bundle.open(model), dict(committed.job))
        self._output, self._options, self._source = committed.layout.output, options, source
        self._shards = {
            shard.path: (format, shard) for format, shards in source.found.by_format.items() for shard in shards
        }

    def image(self, rows: pa.Table, row: int) -> "Image":
        """The image of a row of the tables."""
        wanted = row_at(rows, row)
        if wanted["shard"] not in self._shards:
            raise InputError(f"{wanted['shard']!r} is no longer in the input of {self._output}")
        format, shard = self._shards[wanted["shard"]]
        columns = replace(self._source.columns.of(format), whole=False)
        for records, position in _at(format, shard, columns, wanted["index"]):
            if records.key[position].as_py() != wanted["key"]:
                break
            return _picture(records, position, self._options)
        raise InputError(f"{wanted['shard']}: record {wanted['index']} is not {wanted['key']!r}; the input has changed")


class _Written:
    """Images of the output. Those of a unit are in the order of the rows of its table."""

    def __init__(self, committed: Committed) -> None:
        model = committed.layout.model(committed.job["options"]["model_digest"])
        self._options = options_from_json(committed.job["settings"], committed.layout.output, model)
        self._committed = committed
        self._edges = np.cumsum([0, *(file.rows for _, file in committed.tables)])

    def image(self, rows: pa.Table, row: int) -> "Image":
        """The image of a row of the tables."""
        at = int(np.searchsorted(self._edges, row, "right")) - 1
        receipt, _ = self._committed.tables[at]
        left = row - int(self._edges[at])
        for name, count in self._files(receipt):
            if left < count:
                return self._open(name, left)
            left -= count
        raise LatentlakeError(f"unit {receipt.unit} has no image for {row_at(rows, row)['key']!r}; verify the output")

    def _files(self, receipt: Receipt) -> Iterator[tuple[str, int]]:
        for file in receipt.outputs:
            if file.name.startswith(f"{IMAGES}/") and file.rows:
                yield file.name, file.rows

    def _open(self, name: str, index: int) -> "Image":
        uri = self._committed.layout.at(name)
        if (stat := store_for(uri).stat(uri)) is None:
            raise LatentlakeError(f"{uri}: missing; repair it with 'latentlake verify --repair'")
        shard = Shard(uri=uri, path=name, size=stat.size, identity=stat.identity)
        format = next(name for name, known in FORMATS.items() if known.writer_class and _has(name, shard))
        columns = settle_shard(format, shard, ColumnSelection(carry=()))
        for records, position in _at(format, shard, columns, index):
            return _picture(records, position, self._options)
        raise LatentlakeError(f"{uri}: fewer than {index + 1} images; verify the output")


def _writes(committed: Committed) -> bool:
    return "images" in committed.job["options"]


def _has(format: str, shard: Shard) -> bool:
    return FORMATS[format].reader.recognises(shard.path, b"")


def _at(format: str, shard: Shard, columns: RecordSchema, index: int) -> Iterator[tuple[Records, int]]:
    """Yield the batch that has a record, and its position there; nothing if there is none."""
    unit = Unit(id="", format=format, shards=(shard,))
    start = 0
    for raw in FORMATS[format].reader.read(unit, columns, _BATCH):
        start += len(raw)
        if start <= index:
            continue
        records = raw.records()
        for position in np.flatnonzero(records.index == index).tolist():
            yield records, position
        return


def _picture(records: Records, position: int, options: JobOptions) -> "Image":
    one = records.take(np.array([position]))
    target = Target(
        shape=(None, None, 3),
        orientation=options.orientation,
        color=Color.CONVERT,
        max_pixels=options.max_pixels,
        pages=Pages.FIRST,
        white=float(options.white),
    )
    faults = dict[int, Fault]()
    for group in NativeDecoder(target).groups(one, faults):
        return _eight_bits(group.pixels[0])
    raise InputError(f"{records.key[position].as_py()!r}: {faults[0].detail}")


def _eight_bits(pixels: Array) -> "Image":
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
