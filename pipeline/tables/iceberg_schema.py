"""What of an output's rows an Iceberg table has: columns as Iceberg knows them, and partitions of the directories."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lake.core.errors import UsageError
from pipeline.tables.files import directory_values

if TYPE_CHECKING:
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table import Transaction
    from pyiceberg.typedef import Record

# pyiceberg takes these, and other readers of the table take the numbers in the files for others, or for none.
_MISREAD = (pa.float16(), pa.uint32(), pa.uint64())
_WAYS_ON = {
    "latent": "write latents as another type, such as --latent-type float32 or bfloat16",
}


def table_schema(schema: pa.Schema) -> pa.Schema:
    """The columns of a table for rows of some schema, each of which may be missing in a later file.

    Args:
      schema: of the rows.

    Raises:
      UsageError: Iceberg has no type for a column.

    >>> table_schema(pa.schema([pa.field("latent", pa.list_(pa.float32(), 8), nullable=False)]))
    latent: list<item: float>
      child 0, item: float
    """
    return pa.schema([pa.field(field.name, _known(field.name, field.type)) for field in schema])


def _known(column: str, kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _known(column, kind.value_type)
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_known(column, kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _known(column, field.type)) for field in kind])
    if kind in _MISREAD or not _is_known(kind):
        way = next((text for name, text in _WAYS_ON.items() if column.startswith(name)), "leave it out with --carry")
        raise UsageError(f"--table iceberg: column {column!r} is {kind}, which Iceberg does not have; {way}")
    return kind


def _is_known(kind: pa.DataType) -> bool:
    from pyiceberg.io.pyarrow import pyarrow_to_schema
    from pyiceberg.table.name_mapping import NameMapping

    try:
        pyarrow_to_schema(pa.schema([("x", kind)]), NameMapping.model_validate([{"field-id": 1, "names": ["x"]}]))
    except (TypeError, ValueError):
        return kind in (pa.map_(pa.string(), pa.string()),)
    return True


def check_partitions(spec: "PartitionSpec", schema: "Schema", keys: Iterable[str], table: str) -> None:
    """Check that a table's partitions follow from the directories of files.

    Args:
      spec: of the table.
      schema: of the table.
      keys: what ``directory_keys`` gives of the files.
      table: what the table is called in an error.

    Raises:
      UsageError: one does not.
    """
    from pyiceberg.transforms import IdentityTransform, VoidTransform

    for field in spec.fields:
        if isinstance(field.transform, VoidTransform):
            continue
        column = schema.find_column_name(field.source_id)
        if not isinstance(field.transform, IdentityTransform) or column not in {*keys}:
            raise UsageError(
                f"{table} is partitioned by {field.transform}({column}), and no directory of the files says that; name "
                "another table"
            )


def evolve(transaction: "Transaction", schema: pa.Schema, keys: Iterable[str]) -> None:
    """Bring a table to the columns of some files and to their partitions, in the transaction that adds the files.

    Args:
      transaction: of the table.
      schema: of the files, as of ``table_schema``.
      keys: what ``directory_keys`` gives of them.
    """
    from pyiceberg.table import TableProperties
    from pyiceberg.types import StringType

    keys, known = [*keys], transaction.table_metadata.schema()
    if _columns(known) & {*schema.names} != {*schema.names} or not {*keys} <= _columns(known):
        with transaction.update_schema() as update:
            update.union_by_name(schema)
            for key in keys:
                if key not in _columns(known) and key not in schema.names:
                    update.add_column(key, StringType())
    parts = {field.name for field in transaction.table_metadata.spec().fields}
    if not {*keys} <= parts:
        with transaction.update_spec() as spec:
            for key in keys:
                if key not in parts:
                    spec.add_identity(key)
    mapping = transaction.table_metadata.schema().name_mapping.model_dump_json()
    if transaction.table_metadata.properties.get(TableProperties.DEFAULT_NAME_MAPPING) is None:
        transaction.set_properties({TableProperties.DEFAULT_NAME_MAPPING: mapping})


def _columns(schema: "Schema") -> set[str]:
    return {field.name for field in schema.fields}


def partition_of(name: str, spec: "PartitionSpec", schema: "Schema") -> "Record":
    """The partition that a file is of.

    Args:
      name: of the file, relative to the output.
      spec: of the table.
      schema: of the table.
    """
    from pyiceberg.conversions import partition_to_py
    from pyiceberg.typedef import Record

    values = directory_values(name)

    def parsed() -> Iterator[Any]:
        for field in spec.fields:
            text = values.get(schema.find_column_name(field.source_id) or "")
            kind = schema.find_type(field.source_id)
            yield None if text is None else partition_to_py(kind, text)  # type: ignore[arg-type]

    return Record(*parsed())
