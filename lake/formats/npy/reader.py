"""Read folders of ``.npy`` files (NEP 1) with one image or vector each, as ``folder`` reads image files."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa

from lake.core.records import RawBatch, Records, Shard, Unit
from lake.formats.common.npy import MAGIC
from lake.formats.folder.reader import FolderReader
from lake.formats.reader import BATCH_BYTES, ColumnSelection, RecordSchema
from lake.formats.webdataset.npy_vectors import images, vectors


class NpyReader(FolderReader):
    """A record is a file: an image ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]``, or a vector ``[d]``."""

    suffixes = (".npy",)
    companions = ()
    sidecars = ()

    def recognises(self, name: str, head: bytes) -> bool:
        """By suffix or magic number. Arrays have the same; ``lake.inputs.one_image`` tells them apart by the model."""
        return name.lower().endswith(self.suffixes) or head.startswith(MAGIC)

    def settle(self, shard: Shard, selection: ColumnSelection) -> RecordSchema:
        """Check the selection. No file is looked at, since files have no columns."""
        columns = super().settle(shard, replace(selection, numeric=False))
        return replace(columns, numeric=selection.numeric, length=selection.length, layout=selection.layout)

    def read(  # type: ignore[override]
        self, unit: Unit, columns: RecordSchema, size: int, room: int = BATCH_BYTES
    ) -> Iterator[RawBatch]:
        """Records of the unit's files in order.

        Raises:
          UnreadableError: a file is gone, unreadable, or of another size than when it was listed.
        """
        for files in super().read(unit, columns, size, room):
            yield NpyBatch(files=files, columns=columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class NpyBatch:
    """Files that are read and not parsed.

    Attributes:
      files: whose payload are the files.
      columns: what is read of each record.
    """

    files: Records
    columns: RecordSchema

    def __len__(self) -> int:
        return len(self.files)

    def records(self) -> Records:
        data, faults = pa.array(self.files.payload).to_pylist(), dict(self.files.faults)
        if self.columns.numeric:
            return replace(self.files, payload=vectors(data, self.columns.length or 0, faults), faults=faults)
        payload = pa.array(images(data, faults, self.columns.layout), pa.binary())
        return replace(self.files, payload=payload, faults=faults)
