"""Readers of shards. One file per format, one line of ``_READERS`` each."""

from functools import cache
from importlib import import_module

from pipeline.readers.base import Columns, Reader, Request

__all__ = ["FORMATS", "Columns", "Reader", "Request", "reader_for"]

# format -> module and class, imported when the first shard of that format appears; told apart in this order
_READERS = {
    "parquet": ("pipeline.readers.parquet", "ParquetReader"),
    "webdataset": ("pipeline.readers.webdataset", "WebDatasetReader"),
    "array": ("pipeline.readers.array", "ArrayReader"),
    "folder": ("pipeline.readers.folder", "FolderReader"),
    "tfrecord": ("pipeline.readers.tfrecord", "TFRecordReader"),
}
FORMATS = tuple(_READERS)


@cache
def reader_for(name: str) -> Reader:
    """The reader of one of ``FORMATS``."""
    module, cls = _READERS[name]
    reader: Reader = getattr(import_module(module), cls)()
    return reader
