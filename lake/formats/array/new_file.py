"""The images of a unit as a new ``.npz`` file, with keys and carried columns."""

from collections.abc import Iterator
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pyarrow as pa

from lake.core.errors import ShardError
from lake.core.records import OutputFile, Unit
from lake.formats.array.pixel_files import LEVEL, REMEDY, PixelFiles, Rendered
from lake.formats.array.spool import TableSpool
from lake.formats.common import npy
from lake.formats.writer import Create


class NewFile(PixelFiles):
    """A unit's images as a new ``.npz`` file."""

    def __init__(self, unit: Unit, create: Create, schema: pa.Schema) -> None:
        super().__init__(unit, create)
        self._table = TableSpool(schema)
        self._spools.callback(self._table.close)

    def write(self, rendered: Rendered | None) -> None:
        if rendered is not None:
            self._add(rendered)
            self._table.append(rendered.table)

    def publish(self) -> tuple[OutputFile, ...]:
        name = f"{self._unit.id}.npz"
        with ZipFile(self._open(name), "w", compresslevel=LEVEL) as archive:
            images = self._images or self._spool(np.empty((0, 0, 0, 1), np.uint8))
            _put(archive, "images", images.dtype, (images.rows, *images.shape), images.chunks())
            archive.compression = ZIP_DEFLATED  # for the columns, whose text is padded; images stay stored
            for column in self._columns():
                _put(archive, *column)
        return self._publish(name)

    def _columns(self) -> Iterator[tuple[str, np.dtype, tuple[int, ...], Iterator[bytes]]]:
        try:
            yield from self._table.columns()
        except ValueError as error:
            raise ShardError(self._where, f"{error}; leave it from --carry, or {REMEDY}") from error


def _put(archive: ZipFile, name: str, dtype: np.dtype, shape: tuple[int, ...], chunks: Iterator[bytes]) -> None:
    # ZIP64 must be chosen before the member's size is known.
    with archive.open(f"{name}.npy", "w", force_zip64=True) as out:
        out.write(npy.npy_header(dtype, shape))
        for chunk in chunks:
            out.write(chunk)
