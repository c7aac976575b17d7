"""Writers of a unit's outputs. Each writes objects through sinks that become visible whole or never.

One file per format of image datasets, one line of ``_FORMATS`` each.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from pipeline.readers.base import Columns
from pipeline.records import Unit

if TYPE_CHECKING:
    from pipeline.writers.base import DatasetFormat

# the same names as the readers'
_FORMATS = {
    "parquet": ("pipeline.writers.parquet", "ParquetFormat"),
    "webdataset": ("pipeline.writers.tar", "TarFormat"),
    "array": ("pipeline.writers.array", "ArrayFormat"),
    "folder": ("pipeline.writers.folder", "FolderFormat"),
    "tfrecord": ("pipeline.writers.tfrecord", "TFRecordFormat"),
}


def dataset_format(
    name: str, columns: Columns, again: bool, metadata: Callable[[Unit], Mapping[str, str]]
) -> "DatasetFormat":
    """The format of an image dataset.

    Args:
      name: one of ``pipeline.readers.FORMATS``.
      columns: what is read of the input.
      again: the input's shards are written again; else records are written anew.
      metadata: what a file of Parquet written anew says of itself.
    """
    module, cls = _FORMATS[name]
    kind = getattr(import_module(module), cls)
    made: DatasetFormat = kind(columns, again, metadata) if name == "parquet" else kind(columns, again)
    return made
