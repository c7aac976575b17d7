"""A catalog of Iceberg tables in a SQLite file, as ``SqlCatalog`` of pyiceberg and ``JdbcCatalog`` of Iceberg know it.

pyiceberg's own needs SQLAlchemy, whose import takes more of a processor than pyiceberg's, for three statements.
"""

import sqlite3
from pathlib import Path

import pyarrow as pa
from pyiceberg.catalog import Catalog, MetastoreCatalog
from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, TableAlreadyExistsError, ValidationError
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.locations import load_location_provider
from pyiceberg.table.metadata import new_table_metadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER, SortOrder
from pyiceberg.table.update import TableRequirement, TableUpdate
from pyiceberg.typedef import EMPTY_DICT, Identifier, Properties

_TABLES = """
CREATE TABLE IF NOT EXISTS iceberg_tables (
    catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, table_name VARCHAR(255) NOT NULL,
    metadata_location VARCHAR(1000), previous_metadata_location VARCHAR(1000), iceberg_type VARCHAR(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name)
);
CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
    catalog_name VARCHAR(255) NOT NULL, namespace VARCHAR(255) NOT NULL, property_key VARCHAR(255) NOT NULL,
    property_value VARCHAR(1000) NOT NULL, PRIMARY KEY (catalog_name, namespace, property_key)
);
"""
_KEY = ("catalog_name", "table_namespace", "table_name")
_THIS = " AND ".join(f"{column} = ?" for column in _KEY)


class SqliteCatalog(NoopCatalog, MetastoreCatalog):
    """Loads, creates and commits tables; whatever else there is of a catalog raises ``NotImplementedError``.

    Args:
      name: of the catalog, which its rows say.
      file: the SQLite file; it is made where it is not there. Tables without a location go beside it.
    """

    def __init__(self, name: str, file: Path) -> None:
        super().__init__(name, warehouse=str(file.parent))
        self._connection = sqlite3.connect(file, isolation_level=None)  # each statement is a transaction
        self._connection.executescript(_TABLES)

    def load_namespace_properties(self, namespace: str | Identifier) -> dict[str, str]:
        entries = "property_key, property_value FROM iceberg_namespace_properties"
        said = f"SELECT {entries} WHERE catalog_name = ? AND namespace = ?"
        return dict(self._connection.execute(said, (self.name, self.namespace_to_string(namespace))))

    def create_namespace_if_not_exists(self, namespace: str | Identifier, properties: Properties = EMPTY_DICT) -> None:
        new = "INSERT OR IGNORE INTO iceberg_namespace_properties VALUES (?, ?, ?, ?)"
        for key, value in (properties or {"exists": "true"}).items():
            self._connection.execute(new, (self.name, self.namespace_to_string(namespace), key, value))

    def create_table(
        self,
        identifier: str | Identifier,
        schema: Schema | pa.Schema,
        location: str | None = None,
        partition_spec: PartitionSpec = UNPARTITIONED_PARTITION_SPEC,
        sort_order: SortOrder = UNSORTED_SORT_ORDER,
        properties: Properties = EMPTY_DICT,
    ) -> Table:
        _, namespace, name = self._row(identifier)
        place = self._resolve_table_location(location, namespace, name)
        file = load_location_provider(place, properties).new_table_metadata_file_location()
        columns = self._convert_schema_if_needed(schema)
        metadata = new_table_metadata(columns, partition_spec, sort_order, place, properties)
        self._write_metadata(metadata, self._load_file_io(location=file), file)
        new = f"INSERT INTO iceberg_tables ({', '.join(_KEY)}, metadata_location) VALUES (?, ?, ?, ?)"
        try:
            self._connection.execute(new, (*self._row(identifier), file))
        except sqlite3.IntegrityError as error:
            raise TableAlreadyExistsError(f"table {namespace}.{name} is there already") from error
        return self.load_table(identifier)

    def load_table(self, identifier: str | Identifier) -> Table:
        row = self._row(identifier)
        found = self._connection.execute(f"SELECT metadata_location FROM iceberg_tables WHERE {_THIS}", row).fetchone()
        if found is None:
            raise NoSuchTableError(f"there is no table {row[1]}.{row[2]}")
        (file,) = found
        try:
            metadata = FromInputFile.table_metadata(self._load_file_io(location=file).new_input(file))
        except (ValueError, ValidationError) as error:  # they do not name the file
            raise ValueError(f"{file} is damaged") from error
        io = self._load_file_io(metadata.properties, file)
        return Table((*self.identifier_to_tuple(row[1]), row[2]), metadata, file, io, self)

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        current = self.load_table(table.name())
        staged = self._update_and_stage_table(current, table.name(), requirements, updates)
        if staged.metadata != current.metadata:
            self._write_metadata(staged.metadata, staged.io, staged.metadata_location)
            self._swap(table, current.metadata_location, staged.metadata_location)
        return CommitTableResponse.model_construct(metadata=staged.metadata, metadata_location=staged.metadata_location)

    def _swap(self, table: Table, before: str, after: str) -> None:
        swap = f"UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = ? WHERE {_THIS}"
        row = (after, before, *self._row(table.name()), before)
        if self._connection.execute(f"{swap} AND metadata_location = ?", row).rowcount != 1:
            raise CommitFailedException(f"table {'.'.join(table.name())} has been changed by another process")

    def _row(self, identifier: str | Identifier) -> tuple[str, str, str]:
        """The key of a table in the SQLite file."""
        namespace = Catalog.namespace_to_string(Catalog.namespace_from(identifier))
        return self.name, namespace, Catalog.table_name_from(identifier)

    def close(self) -> None:
        self._connection.close()
