"""Image datasets as arrays: shards rewritten with other pixels, or new ``.npz`` files.

A rewritten shard is of the same kind: ``.npy``, ``.npz`` with all its members in their order, or IDX with MNIST's
labels beside it; compressed as it was. Its images are row-major and uint8, uint16 or float32 (float64 and float16
become float32). Images ``[n, H, W]`` stay without a channel axis; images made of vectors have one. Channels come first
where they do in the input. Every other array that has one row for each image loses the rows of rejects, and everything
else is copied.

A new file is ``<unit>.npz`` with ``images`` ``[n, H, W, K]``, ``keys``, and the carried columns in the types that
``TableSpool`` gives them. In both cases one array holds images of one shape and type.
"""

from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
import pyarrow as pa

from lake.core.errors import InputError
from lake.core.records import Array, Unit, pick
from lake.formats.array.new_file import NewFile
from lake.formats.array.pixel_files import REMEDY, Rendered, differs
from lake.formats.array.rewritten_files import RewrittenFiles
from lake.formats.array.spool import check_type
from lake.formats.common.identity_columns import carried_fields
from lake.formats.reader import RecordSchema
from lake.formats.writer import Create, DatasetWriter, Results
from lake.images.types import PixelLayout


class ArrayDatasetWriter(DatasetWriter):
    """Writes image datasets as arrays.

    Raises:
      InputError: a carried column cannot become an array.
    """

    pixels = True

    def __init__(
        self, columns: RecordSchema, rewrite: bool, metadata: Callable[[Unit], Mapping[str, str]] = lambda _: {}
    ) -> None:
        super().__init__(columns, rewrite, metadata)
        carried = () if rewrite else carried_fields(columns.carry, ("images", "keys"))
        for field in carried:
            try:
                check_type(field.type)
            except ValueError as error:
                raise InputError(f"column {field.name!r} {error}; leave it from --carry, or {REMEDY}") from error
        self._schema = pa.schema([pa.field("keys", pa.string()), *carried])
        self._first = rewrite and columns.layout == PixelLayout.CHW

    def render(self, results: Results) -> Rendered | None:
        """Stack the pixels into one array, with what is written beside them; None if there are no images."""
        if not len(results.positions):
            return None
        keys, positions = results.records.key, results.positions
        images = _stacked(results)
        if self._first:
            images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        source = cast(Mapping[str, Array], results.records.source or {})
        return Rendered(
            images=images,
            key=str(keys[int(positions[0])]),
            rows={name: rows[positions] for name, rows in source.items()} if self._rewrite else {},
            table=None if self._rewrite else self._table(results),
        )

    def begin(self, unit: Unit, create: Create) -> RewrittenFiles | NewFile:
        """Start a unit's files. Nothing is created until the number of images is known."""
        return (
            RewrittenFiles(unit, create, self._columns.image, channels_first=self._first)
            if self._rewrite
            else NewFile(unit, create, self._schema)
        )

    def _table(self, results: Results) -> pa.RecordBatch:
        records = results.records
        columns = [pick(column, results.positions) for column in (records.key, *records.carried.values())]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)


def _stacked(results: Results) -> Array:
    first = cast(Array, results.images[0])
    for position, image in zip(results.positions.tolist(), cast("list[Array]", results.images), strict=True):
        if (image.shape, image.dtype) != (first.shape, first.dtype):
            shard, keys = results.records.shard, results.records.key
            raise differs(shard if isinstance(shard, str) else shard[position], str(keys[position]), image, first)
    return np.ascontiguousarray(np.stack(cast("list[Array]", results.images)), first.dtype.newbyteorder("<"))
