"""Image datasets as Parquet: shards rewritten with other images, or new files."""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, count
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from lake.core.records import Array, OutputFile, Unit
from lake.formats.common.identity_columns import carried_fields, identity_fields, table_rows
from lake.formats.common.parquet_table import TableEncoding, TableWriter, visible
from lake.formats.common.rebatch import Blocks
from lake.formats.parquet.reader import schema_of
from lake.formats.reader import RecordSchema
from lake.formats.writer import Create, DatasetWriter, Results, UnitWriter
from lake.images.types import ImageFile

_IMAGE = pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))  # as Hugging Face datasets
_OWN = b"latentlake."  # prefix of this project's footer metadata
_FEATURES = b"huggingface"  # key of the footer metadata of Hugging Face datasets
_BLOCK_ROWS, _BLOCK_BYTES = 256, 16 << 20
_STEP = 16  # a page exceeds its size by at most this many images; readers hold a page in memory


class RenderedRows(NamedTuple):
    """Rows of the output file.

    Attributes:
      rows: ``m`` rows.
      sizes: bytes of each row's image, int64 ``[m]``.
    """

    rows: pa.RecordBatch
    sizes: Array


class ParquetDatasetWriter(DatasetWriter):
    """Writes image datasets as Parquet.

    A rewritten shard has the same columns in the same order and of the same types, with the new files in the image
    column. A struct's other children, such as ``path``, stay as they are. If images were made of a column of vectors,
    ``image: struct<bytes, path>`` takes its place (``image_1``, ... if the name is taken), with the key as path. The
    schema's metadata stays, except for this project's own.

    A new file has ``key``, ``shard``, ``index``, ``image: struct<bytes, path>`` with the key as path, and the carried
    columns. A carried column with one of these names becomes ``source_<name>``.

    New structs are declared as images in the ``huggingface`` metadata, so that ``datasets`` decodes them. Files have
    zstd compression, page checksums, and row groups of about 16 MiB (at most one block of rows more). The edges of row
    groups depend on the rows alone.
    """

    def __init__(
        self, columns: RecordSchema, rewrite: bool, metadata: Callable[[Unit], Mapping[str, str]] = lambda _: {}
    ) -> None:
        super().__init__(columns, rewrite, metadata)
        fields = [*identity_fields(), _IMAGE, *carried_fields(columns.carry, [_IMAGE.name])]
        self._schema = pa.schema(fields, metadata=_with_image_feature({}, None, _IMAGE.name))

    def render(self, results: Results) -> RenderedRows:
        """The rows of some results."""
        files = [image.data for image in results.images if isinstance(image, ImageFile)]
        rows = self._rewritten_rows(results, files) if self._rewrite else self._new_rows(results, files)
        return RenderedRows(rows, np.array(list(map(len, files)), np.int64))

    def begin(self, unit: Unit, create: Create) -> "ParquetUnitWriter":
        """Start ``<shard>``, or ``<unit>.parquet``. The file is created with the first batch."""
        name = unit.shards[0].path if self._rewrite else f"{visible(unit.id)}.parquet"

        def opened(schema: pa.Schema | None) -> TableWriter:
            schema = self._without_rows(unit) if schema is None else schema
            said = {key: value for key, value in (schema.metadata or {}).items() if not key.startswith(_OWN)}
            said |= {key.encode(): value.encode() for key, value in self._metadata(unit).items()}
            simple = self._simple(schema)
            return TableWriter(create(name), name, schema, said, TableEncoding(dictionary=tuple(simple)), simple, _STEP)

        return ParquetUnitWriter(opened)

    def _new_rows(self, results: Results, files: Sequence[bytes]) -> pa.RecordBatch:
        images = _images(files, _picked(results.records.key, results.positions))
        return table_rows(results.records, results.positions, [images], self._schema)

    def _rewritten_rows(self, results: Results, files: Sequence[bytes]) -> pa.RecordBatch:
        source = results.records.source
        assert isinstance(source, pa.RecordBatch)
        at, schema = self._output_schema(source.schema)
        columns = _rows(source, results.positions).columns
        if self._columns.numeric:
            columns[at] = _images(files, _picked(results.records.key, results.positions))
        else:
            columns[at] = _with_files(columns[at], files)
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    def _output_schema(self, schema: pa.Schema) -> tuple[int, pa.Schema]:
        """The image's position among an input's columns, and the schema that is written for it."""
        at = schema.get_field_index(self._columns.image)
        if not self._columns.numeric:
            return at, schema
        taken = {*schema.names[:at], *schema.names[at + 1 :]}
        names = chain([_IMAGE.name], (f"{_IMAGE.name}_{number}" for number in count(1)))
        name = next(name for name in names if name not in taken)
        said = _with_image_feature(schema.metadata or {}, self._columns.image, name)
        return at, schema.set(at, _IMAGE.with_name(name)).with_metadata(said)

    def _without_rows(self, unit: Unit) -> pa.Schema:
        """The schema of a file without rows."""
        return self._output_schema(schema_of(unit.shards[0]))[1] if self._rewrite else self._schema

    def _simple(self, schema: pa.Schema) -> list[str]:
        """Columns that repeat or that a query may filter on: those that are neither nested nor image files."""
        image = self._columns.image if self._rewrite else None
        return [field.name for field in schema if not pa.types.is_nested(field.type) and field.name != image]


class ParquetUnitWriter(UnitWriter):
    """Writes one file. Rows are collected into blocks first, so that its bytes do not depend on where batches end.

    Args:
      open: opens the table for a schema; for None, if the unit has no rows.
    """

    def __init__(self, open: Callable[[pa.Schema | None], TableWriter]) -> None:
        self._open = open
        self._table: TableWriter | None = None
        self._blocks = Blocks(_BLOCK_ROWS, _BLOCK_BYTES)

    def write(self, rendered: RenderedRows) -> None:
        """Append rows."""
        self._table = self._table or self._open(rendered.rows.schema)
        for block in self._blocks.add(rendered.rows, rendered.sizes):
            self._table.write(block)

    def publish(self) -> tuple[OutputFile, ...]:
        """Make the file visible, even without rows."""
        self._table = self._table or self._open(None)
        for block in self._blocks.rest():
            self._table.write(block)
        return (self._table.publish(),)

    def abort(self) -> None:
        """Discard the file."""
        if self._table is not None:
            self._table.abort()


def _rows(batch: pa.RecordBatch, positions: Array) -> pa.RecordBatch:
    """The rows at ``positions``, ascending. They are slices, since Arrow cannot take from columns of every type."""
    runs = np.split(positions, np.flatnonzero(np.diff(positions) != 1) + 1)
    slices = [batch.slice(int(run[0]) if len(run) else 0, len(run)) for run in runs]
    return slices[0] if len(slices) == 1 else pa.concat_batches(slices)


def _picked(keys: pa.Array, positions: Array) -> pa.Array:
    return keys if len(positions) == len(keys) else keys.take(pa.array(positions))


def _images(files: Sequence[bytes], paths: pa.Array) -> pa.Array:
    return pa.StructArray.from_arrays([pa.array(files, pa.binary()), paths], fields=list(_IMAGE.type))


def _with_files(column: pa.Array, files: Sequence[bytes]) -> pa.Array:
    """An image column of any type, with other files in it."""
    if pa.types.is_struct(column.type):
        fields = list(column.type)
        children = [_of_type(f.type, files) if f.name == "bytes" else column.field(f.name) for f in fields]
        return pa.StructArray.from_arrays(children, fields=fields)
    return _of_type(column.type, files)


def _of_type(kind: pa.DataType, files: Sequence[bytes]) -> pa.Array:
    plain = pa.array(files, pa.binary())
    return (plain.dictionary_encode() if pa.types.is_dictionary(kind) else plain).cast(kind)


def _with_image_feature(said: Mapping[bytes, bytes], old: str | None, new: str) -> dict[bytes, bytes]:
    """Metadata that declares column ``new`` (formerly ``old``) as images to Hugging Face ``datasets``."""
    try:
        known = json.loads(said.get(_FEATURES, b"{}"))
        features = {name: value for name, value in known["info"]["features"].items() if name != old}
    except (ValueError, TypeError, KeyError, AttributeError):  # no metadata, or in a form that datasets cannot read
        known, features = {"info": {}}, {}
    known["info"]["features"] = features | {new: {"_type": "Image"}}
    return {**said, _FEATURES: json.dumps(known).encode()}
