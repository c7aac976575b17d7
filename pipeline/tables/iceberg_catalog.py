"""Catalogs of Iceberg tables: one within the output, one in a SQLite file, or one of pyiceberg's own configuration."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lake.core.errors import HeldError, UsageError, VerifyError
from lake.core.retry import Backoff
from lake.storage import StoreOptions, configured
from lake.storage.location import is_local, local_path
from pipeline.tables.table import TableSpec, is_path
from pipeline.tables.table_errors import said, why

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

_FILE = "catalog.db"
_CONFLICT = Backoff(first=0.1, most=5.0, attempts=12)  # another writer was first
_UNREACHABLE = Backoff(first=0.5, most=8.0, attempts=4)


def folder(output: str) -> Path:
    """The directory of the catalog within an output, and of its table's metadata.

    Args:
      output: URI of the output, on a disk.
    """
    return local_path(output).absolute() / "_iceberg"


@contextmanager
def opened_catalog(spec: TableSpec, output: str, *, write: bool = False) -> "Iterator[Catalog | None]":
    """Open the catalog of a table.

    Args:
      spec: the table.
      output: URI of the output.
      write: make the SQLite file if it is not there.

    Yields:
      The catalog; None where its SQLite file is not there.

    Raises:
      UsageError: it is not configured, or cannot be reached.
      VerifyError: that within the output is damaged.
    """
    try:
        catalog = _open(spec, output, write=write)
    except (HeldError, UsageError):
        raise
    except Exception as error:  # of any client of any catalog
        if not spec.catalog and isinstance(error, sqlite3.DatabaseError) and commit_policy(error) is None:
            raise unreadable(spec, error, str(folder(output) / _FILE)) from error
        raise UsageError(f"{said(spec)}: {why(error)}; see py.iceberg.apache.org/configuration") from error
    try:
        yield catalog
    finally:
        if catalog is not None:
            catalog.close()


def _open(spec: TableSpec, output: str, *, write: bool) -> "Catalog | None":
    if spec.catalog and not is_path(spec.catalog):
        from pyiceberg.catalog import load_catalog

        return load_catalog(spec.catalog, **_unsaid(spec.catalog, store_properties(configured())))
    if not spec.catalog and not is_local(output):
        raise UsageError(
            f"--table iceberg: {output} is in a store, and the catalog within an output is for a disk; name one with "
            "--catalog"
        )
    file = local_path(spec.catalog).absolute() if spec.catalog else folder(output) / _FILE
    if not write and not file.exists():
        return None
    from pipeline.tables.sqlite_catalog import SqliteCatalog

    file.parent.mkdir(parents=True, exist_ok=True)
    return SqliteCatalog("latentlake", file)


def store_properties(options: StoreOptions) -> dict[str, str]:
    """How pyiceberg reaches the stores of a job, where a table's metadata are. Credentials both find for themselves.

    Args:
      options: of the job.

    >>> store_properties(StoreOptions(s3_endpoint="http://minio:9000"))["s3.endpoint"]
    'http://minio:9000'
    """
    region = os.environ.get("AWS_DEFAULT_REGION", "us-east-1")  # pyiceberg would ask Amazon for that of the bucket
    s3 = {"s3.endpoint": options.s3_endpoint, "s3.region": region} if options.s3_endpoint else {}
    gcs = {"gcs.service.host": options.gcs_endpoint} if options.gcs_endpoint else {}
    return {**s3, **gcs, **({"s3.anonymous": "true"} if options.anonymous else {})}


def _unsaid(catalog: str, properties: dict[str, str]) -> dict[str, str]:
    """Leave out what the configuration of a catalog says itself, which may be of another server than the job's."""
    from pyiceberg.utils.config import Config

    said_there = Config().get_catalog_config(catalog) or {}
    return {name: value for name, value in properties.items() if name not in said_there}


def loaded(catalog: "Catalog | None", spec: TableSpec) -> "Table | None":
    """Load a table; None if there is none.

    Raises:
      UsageError: the catalog does not answer.
      VerifyError: it is there, and cannot be read.
    """
    from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

    try:
        return None if catalog is None else catalog.load_table(spec.name)
    except (NoSuchTableError, NoSuchNamespaceError):
        return None
    except Exception as error:
        if commit_policy(error) is not None:
            raise UsageError(f"{said(spec)}: {why(error)}") from error
        raise unreadable(spec, error) from error


def unreadable(spec: TableSpec, error: Exception, file: str = "") -> VerifyError:
    """The error of a table whose metadata are gone or damaged: it says what can be done.

    Args:
      spec: the table.
      error: of the reader.
      file: of the metadata, unless the error names it.
    """
    own = "remove _iceberg/ and run the job again, which makes the table anew"
    shared = f"where it stays so, drop the table from its catalog and {own.partition(' and ')[2]}"
    text = f"{said(spec)} cannot be read: {file + ': ' if file else ''}{why(error)}"
    return VerifyError(f"{text}; {shared if spec.catalog else own}")


def commit_policy(error: Exception) -> Backoff | None:
    """How a commit is tried again: the table is read again, and what is there already is not added twice."""
    from pyiceberg.exceptions import CommitFailedException, RESTError, ValidationException

    if isinstance(error, (CommitFailedException, ValidationException)):
        return _CONFLICT
    # of sqlite3, and of SQLAlchemy, which is there only where a catalog uses it
    operational = "OperationalError" in {kind.__name__ for kind in type(error).__mro__}
    return _UNREACHABLE if operational or isinstance(error, (RESTError, ConnectionError, TimeoutError)) else None
