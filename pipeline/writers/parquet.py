"""Parquet files with other images in them, or of new rows."""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, count
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.readers.base import Columns
from pipeline.readers.blocks import Blocks
from pipeline.readers.parquet import schema_of
from pipeline.receipts import Output
from pipeline.records import Array, Unit
from pipeline.verbs.base import table_rows
from pipeline.writers.base import Create, ImageFile, Results
from pipeline.writers.latents import carried_fields, identity_fields
from pipeline.writers.table import TableWriter

_IMAGE = pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))  # as datasets keeps images
_OWN = b"latentlake."  # what this project says in a footer
_FEATURES = b"huggingface"  # what datasets says in a footer
_BLOCK_ROWS, _BLOCK_BYTES = 256, 16 << 20
_STEP = 16  # images at most by which a page is too large: readers hold a page at a time


class Rendered(NamedTuple):
    """Rows of the file, and the bytes of each one's image."""

    rows: pa.RecordBatch
    sizes: Array


class ParquetFormat:
    """Again: the same columns in their order and of their types, with the new files in the image column.

    A struct's other children, ``path`` too, stay as they are. A column of vectors, which the image was made of, gives
    its place to ``image: struct<bytes, path>`` (``image_1``, ... where that is taken), with the key as path. The
    schema's metadata stay, but for what this project says of the file.

    Anew: ``key``, ``shard``, ``index``, ``image: struct<bytes, path>`` with the key as path, and the carried columns;
    one with one of these names is called ``source_<name>``.

    New structs are declared as images in the ``huggingface`` metadata, so that ``datasets`` decodes them. zstd, page
    checksums, row groups of about 16 MiB (one block of rows more at most), whose edges depend on the rows alone.
    """

    pixels = False

    def __init__(self, columns: Columns, again: bool, metadata: Callable[[Unit], Mapping[str, str]]) -> None:
        self._columns, self._again, self._metadata = columns, again, metadata
        fields = [*identity_fields(), _IMAGE, *carried_fields(columns.carry, [_IMAGE.name])]
        self._schema = pa.schema(fields, metadata=_declared({}, None, _IMAGE.name))

    def render(self, results: Results) -> Rendered:
        """The rows of some results."""
        files = [image.data for image in results.images if isinstance(image, ImageFile)]
        rows = self._replaced(results, files) if self._again else self._made(results, files)
        return Rendered(rows, np.array(list(map(len, files)), np.int64))

    def begin(self, unit: Unit, create: Create) -> "ParquetWriter":
        """Begin ``<shard>``, or ``<unit>.parquet``; it is created with the first batch."""
        name = unit.shards[0].path if self._again else f"{unit.id}.parquet"

        def opened(schema: pa.Schema | None) -> TableWriter:
            schema = self._without_rows(unit) if schema is None else schema
            said = {key: value for key, value in (schema.metadata or {}).items() if not key.startswith(_OWN)}
            said |= {key.encode(): value.encode() for key, value in self._metadata(unit).items()}
            simple = self._simple(schema)
            return TableWriter(create(name), name, schema, said, simple, simple, _STEP)

        return ParquetWriter(opened)

    def _made(self, results: Results, files: Sequence[bytes]) -> pa.RecordBatch:
        images = _images(files, _picked(results.records.key, results.positions))
        return table_rows(results.records, results.positions, [images], self._schema)

    def _replaced(self, results: Results, files: Sequence[bytes]) -> pa.RecordBatch:
        source = results.records.source
        assert isinstance(source, pa.RecordBatch)
        at, schema = self._written(source.schema)
        columns = _rows(source, results.positions).columns
        if self._columns.numeric:
            columns[at] = _images(files, _picked(results.records.key, results.positions))
        else:
            columns[at] = _with_files(columns[at], files)
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    def _written(self, schema: pa.Schema) -> tuple[int, pa.Schema]:
        """Where the image stands among an input's columns, and the schema that is written for it."""
        at = schema.get_field_index(self._columns.image)
        if not self._columns.numeric:
            return at, schema
        taken = {*schema.names[:at], *schema.names[at + 1 :]}
        names = chain([_IMAGE.name], (f"{_IMAGE.name}_{number}" for number in count(1)))
        name = next(name for name in names if name not in taken)
        said = _declared(schema.metadata or {}, self._columns.image, name)
        return at, schema.set(at, _IMAGE.with_name(name)).with_metadata(said)

    def _without_rows(self, unit: Unit) -> pa.Schema:
        """The schema of a file that no batch was written to."""
        return self._written(schema_of(unit.shards[0]))[1] if self._again else self._schema

    def _simple(self, schema: pa.Schema) -> list[str]:
        """Columns that repeat, or that a query may ask for: none that are nested, and no image files."""
        image = self._columns.image if self._again else None
        return [field.name for field in schema if not pa.types.is_nested(field.type) and field.name != image]


class ParquetWriter:
    """One file. Rows are put together to blocks first, so that its bytes do not tell where batches ended."""

    def __init__(self, open: Callable[[pa.Schema | None], TableWriter]) -> None:
        self._open = open
        self._table: TableWriter | None = None
        self._blocks = Blocks(_BLOCK_ROWS, _BLOCK_BYTES)

    def write(self, rendered: Rendered) -> None:
        """Append rows."""
        self._table = self._table or self._open(rendered.rows.schema)
        for block in self._blocks.add(rendered.rows, rendered.sizes):
            self._table.write(block)

    def publish(self) -> tuple[Output, ...]:
        """Make the file visible, also without rows."""
        self._table = self._table or self._open(None)
        for block in self._blocks.rest():
            self._table.write(block)
        return (self._table.publish(),)

    def abort(self) -> None:
        """Drop the file."""
        if self._table is not None:
            self._table.abort()


def _rows(batch: pa.RecordBatch, positions: Array) -> pa.RecordBatch:
    """The rows at ``positions``, ascending: slices, since Arrow cannot take from columns of every type."""
    runs = np.split(positions, np.flatnonzero(np.diff(positions) != 1) + 1)
    slices = [batch.slice(int(run[0]) if len(run) else 0, len(run)) for run in runs]
    return slices[0] if len(slices) == 1 else pa.concat_batches(slices)


def _picked(keys: pa.Array, positions: Array) -> pa.Array:
    return keys if len(positions) == len(keys) else keys.take(pa.array(positions))


def _images(files: Sequence[bytes], paths: pa.Array) -> pa.Array:
    return pa.StructArray.from_arrays([pa.array(files, pa.binary()), paths], fields=list(_IMAGE.type))


def _with_files(column: pa.Array, files: Sequence[bytes]) -> pa.Array:
    """An image column of any type with other files in it."""
    if pa.types.is_struct(column.type):
        fields = list(column.type)
        children = [_of_type(f.type, files) if f.name == "bytes" else column.field(f.name) for f in fields]
        return pa.StructArray.from_arrays(children, fields=fields)
    return _of_type(column.type, files)


def _of_type(kind: pa.DataType, files: Sequence[bytes]) -> pa.Array:
    plain = pa.array(files, pa.binary())
    return (plain.dictionary_encode() if pa.types.is_dictionary(kind) else plain).cast(kind)


def _declared(said: Mapping[bytes, bytes], old: str | None, new: str) -> dict[bytes, bytes]:
    """A schema's metadata that say to ``datasets``: column ``new``, which may have been ``old``, is of images."""
    try:
        known = json.loads(said.get(_FEATURES, b"{}"))
        features = {name: value for name, value in known["info"]["features"].items() if name != old}
    except (ValueError, TypeError, KeyError, AttributeError):  # none, or of a form that datasets does not read
        known, features = {"info": {}}, {}
    known["info"]["features"] = features | {new: {"_type": "Image"}}
    return {**said, _FEATURES: json.dumps(known).encode()}
