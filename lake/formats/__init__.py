"""Shard formats: a folder with ``reader.py`` and ``writer.py`` for each, and one line of ``FORMATS``.

A format that is only read has no writer.

>>> list(FORMATS)
['parquet', 'webdataset', 'array', 'folder', 'tfrecord', 'arrow', 'npy', 'csv', 'mds', 'arrayrecord']
>>> FORMATS["webdataset"].reader.suffixes
('.tar', '.tar.gz', '.tgz', '.tar.bz2', '.tbz2', '.tar.xz', '.txz', '.tar.zst', '.tzst')
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lake.core.records import Unit
    from lake.formats.reader import Reader, RecordSchema
    from lake.formats.writer import DatasetWriter

__all__ = ["FORMATS", "MIXED", "Format"]

MIXED = "mixed"  # as ``--format``: shards of every format, in one job


@dataclass(frozen=True, slots=True)
class Format:
    """One shard format, under the name that ``--format`` and ``--output-format`` take.

    Whatever distinguishes a format is asked of this object: its suffixes and other rules are attributes of its reader
    and its writer. Both are imported on first use, so a format's library is loaded only if a shard has that format.

    Attributes:
      name: of the format, and of its folder in ``lake/formats``.
      reader_class: name of the ``lake.formats.reader.Reader`` in the folder's ``reader.py``.
      writer_class: name of the ``lake.formats.writer.DatasetWriter`` in the folder's ``writer.py``; None for a format
        that is only read.
    """

    name: str
    reader_class: str
    writer_class: str | None = None

    @property
    def reader(self) -> "Reader":
        """The reader of the format's shards."""
        return _reader(self)

    @property
    def writer_type(self) -> "type[DatasetWriter]":
        """The class that writes image datasets in the format.

        Raises:
          ValueError: the format is only read.
        """
        if self.writer_class is None:
            raise ValueError(f"{self.name} shards are not written")
        kind: type[DatasetWriter] = getattr(import_module(f"{__name__}.{self.name}.writer"), self.writer_class)
        return kind

    def writer(
        self, columns: "RecordSchema", rewrite: bool, metadata: "Callable[[Unit], Mapping[str, str]]"
    ) -> "DatasetWriter":
        """Make a writer of image datasets in the format.

        Args:
          columns: what is read of each input record.
          rewrite: write the input's shards with other images; else write new records.
          metadata: what an output file says about itself, if the format has a place for it.
        """
        return self.writer_type(columns, rewrite, metadata)


# The order matters: a file has the first format whose reader recognises it.
FORMATS = {
    known.name: known
    for known in (
        Format("parquet", "ParquetReader", "ParquetDatasetWriter"),
        Format("webdataset", "WebDatasetReader", "WebDatasetWriter"),
        Format("array", "ArrayReader", "ArrayDatasetWriter"),
        Format("folder", "FolderReader", "FolderDatasetWriter"),
        Format("tfrecord", "TFRecordReader", "TFRecordDatasetWriter"),
        Format("arrow", "ArrowReader"),
        Format("npy", "NpyReader"),
        Format("csv", "CsvReader"),
        Format("mds", "MdsReader"),
        Format("arrayrecord", "ArrayRecordReader"),
    )
}


@cache
def _reader(known: Format) -> "Reader":
    reader: Reader = getattr(import_module(f"{__name__}.{known.name}.reader"), known.reader_class)()
    return reader
