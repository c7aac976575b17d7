"""Latents as ArrayRecord files of tf.train.Example, each with a description beside it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pyarrow as pa

from lake.core import sealed_json
from lake.core.records import Array, OutputFile
from lake.core.temporary import temporary_space
from lake.formats.arrayrecord.library import array_record_module, descriptor_path, temporary_file_written
from lake.formats.arrayrecord.names import DESCRIPTION_SUFFIX, RECORDS_SUFFIX, SHAPE, feature
from lake.formats.common.latent_rows import LatentRows
from lake.formats.common.vector_storage import FIRST
from lake.formats.tfrecord.encode import encode_entry, encode_example, encode_feature
from lake.formats.tfrecord.features import lists
from lake.formats.writer import Create, UnitWriter

# A record is a chunk of its own, as Grain asks for. Bytes of compressed ones would depend on the version of zstd, which
# takes little off latents (decision 50).
_OPTIONS = "group_size:1,uncompressed,max_parallelism:1"
_CHUNK = 1 << 20  # bytes that are copied at a time


class ArrayRecordWriter(UnitWriter):
    """Writes the latents of one unit as ``<unit>.arrayrecord``, and what it says about itself as ``<unit>.json``.

    A record is a serialized tf.train.Example. Its features:

    - of each column of latents the numbers, in row-major order: ``float32`` as floats, other types as one value of
      bytes, little-endian; and as ``<column>/shape`` their height, width and channels, or the shape that all have,
    - ``latent/type``, ``latent/scaling_factor`` and whatever else is said of how latents were made, without scales,
    - all other columns, as ``lake.formats.tfrecord.features`` converts them,
    - ``stamps``, since nothing else in the file can say what made it.

    The library writes to paths alone. So the records go to a temporary file without a name, which nothing outlives, and
    are copied to the sink when the unit ends. A unit without results has no files.

    Args:
      name: path of the files relative to the output's, without a suffix.
      create: opens the sink of a file.
      table: what the rows are.
      metadata: what the description says.
      stamps: text by the name of a feature, which every record has.
    """

    def __init__(
        self,
        name: str,
        create: Create,
        table: LatentRows,
        metadata: Mapping[str, str],
        stamps: Mapping[str, str] | None = None,
    ) -> None:
        self._name, self._create, self._table, self._metadata = name, create, table, metadata
        said = {feature(FIRST, what): value for what, value in table.said.items()}
        self._same = {name: _said_entry(name, value) for name, value in {**said, **(stamps or {})}.items()}
        self._file: Any = None
        self._writer: Any = None
        self._rows = 0

    def write(self, rows: pa.RecordBatch) -> None:
        """Append the rows of the next batch."""
        for data in self._examples(rows):
            writer = self._opened()
            with temporary_file_written():
                writer.write(data)
            self._rows += 1

    def publish(self) -> tuple[OutputFile, ...]:
        """Make the records visible, then their description."""
        if self._writer is None:
            return ()
        with temporary_file_written():
            self._writer.close()
        self._file.seek(0)
        records = self._put(RECORDS_SUFFIX, iter(lambda: self._file.read(_CHUNK), b""), self._rows)
        self.abort()
        return records, self._put(DESCRIPTION_SUFFIX, [sealed_json.dumps(self._metadata)], 0)

    def abort(self) -> None:
        """Drop the temporary file."""
        self._writer = None
        if self._file is not None:
            self._file.close()

    def _opened(self) -> Any:
        if self._writer is None:
            with temporary_space():
                self._file = TemporaryFile()  # noqa: SIM115 (closed by publish and abort)
            with temporary_file_written():
                self._writer = array_record_module().ArrayRecordWriter(descriptor_path(self._file), _OPTIONS)
        return self._writer

    def _put(self, suffix: str, parts: Iterator[bytes] | Sequence[bytes], rows: int) -> OutputFile:
        path = f"{self._name}{suffix}"
        with self._create(path) as sink:
            for part in parts:
                sink.write(part)
        return OutputFile(name=path, size=sink.size, rows=rows, crc32c=sink.crc32c)

    def _own(self, name: str) -> str:
        """The feature of a column. One with the name of a feature that says how latents are stored makes way."""
        is_taken = name in self._same or name.partition("/")[0] in self._table.names
        return f"source_{name}" if is_taken else name

    def _examples(self, rows: pa.RecordBatch) -> Iterator[bytes]:
        names = [field.name for field in self._table.others]
        others = [(self._own(name), *lists(_plain(rows.column(name)))) for name in names]
        for row, (latents, shape) in enumerate(self._table.latents(rows)):
            entries = dict(self._same)
            for name, kind, values in others:
                if (found := values[row]) is not None:
                    entries[name] = encode_entry(name, encode_feature(kind, found))
            for name, array in zip(self._table.names, latents, strict=True):
                entries[name] = encode_entry(name, _feature(array))
                sides = self._table.shapes.get(name, shape)
                entries[feature(name, SHAPE)] = _shape_entry(name, tuple(sides))
            yield encode_example(entries)


# The latents of a file have few shapes.
@lru_cache(maxsize=1 << 10)
def _shape_entry(column: str, sides: tuple[int, ...]) -> bytes:
    return encode_entry(feature(column, SHAPE), encode_feature("int64_list", sides))


def _feature(array: Array) -> bytes:
    if array.dtype == np.float32:
        return encode_feature("float_list", array)
    return encode_feature("bytes_list", [array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()])


def _said_entry(name: str, value: str | float) -> bytes:
    """The entry of one value."""
    if isinstance(value, str):
        return encode_entry(name, encode_feature("bytes_list", [value.encode()]))
    kind = "float_list" if isinstance(value, float) else "int64_list"
    return encode_entry(name, encode_feature(kind, [value]))


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
