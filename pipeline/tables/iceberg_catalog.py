"""Catalogs of Iceberg tables: one within the output, one in a SQLite file, or one of pyiceberg's own configuration."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lake.core.errors import HeldError, LatentlakeError, UsageError
from lake.core.retry import Backoff
from lake.storage.location import is_local, local_path
from lake.storage.redact import clean
from pipeline.tables.table import TableSpec, is_path

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
    """
    try:
        catalog = _open(spec, output, write=write)
    except (HeldError, UsageError):
        raise
    except Exception as error:  # of any client of any catalog
        raise UsageError(f"{said(spec)}: {why(error)}; see py.iceberg.apache.org/configuration") from error
    try:
        yield catalog
    finally:
        if catalog is not None:
            catalog.close()


def _open(spec: TableSpec, output: str, *, write: bool) -> "Catalog | None":
    from pyiceberg.catalog import load_catalog

    if spec.catalog and not is_path(spec.catalog):
        return load_catalog(spec.catalog)
    if not spec.catalog and not is_local(output):
        raise UsageError(
            f"--table iceberg: {output} is in a store, and the catalog within an output is for a disk; name one with "
            "--catalog"
        )
    file = local_path(spec.catalog).absolute() if spec.catalog else folder(output) / _FILE
    if not write and not file.exists():
        return None
    from pyiceberg.catalog.sql import SqlCatalog

    file.parent.mkdir(parents=True, exist_ok=True)
    return SqlCatalog("latentlake", uri=f"sqlite:///{file}", warehouse=str(file.parent))


def loaded(catalog: "Catalog | None", spec: TableSpec) -> "Table | None":
    """Load a table; None if there is none.

    Raises:
      UsageError: it is there, and cannot be loaded.
    """
    from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

    try:
        return None if catalog is None else catalog.load_table(spec.name)
    except (NoSuchTableError, NoSuchNamespaceError):
        return None
    except FileNotFoundError as error:
        raise UsageError(
            f"{said(spec)}: {why(error)}: the table's metadata are gone, as where an output was moved; drop the table "
            "from the catalog, which of an output of its own is to remove _iceberg/ and _table.json"
        ) from error
    except Exception as error:
        raise UsageError(f"{said(spec)}: {why(error)}") from error


def said(spec: TableSpec) -> str:
    """A table, for the text of an error."""
    return f"table {spec}"


def why(error: BaseException) -> str:
    """What an error of a catalog says, in one line, without what may be secret."""
    return f"{type(error).__name__}: {clean(str(error))}"


def commit_policy(error: Exception) -> Backoff | None:
    """How a commit is tried again: the table is read again, and what is there already is not added twice."""
    from pyiceberg.exceptions import CommitFailedException, RESTError, ValidationException
    from sqlalchemy.exc import OperationalError

    unreachable: tuple[type[Exception], ...] = (RESTError, OperationalError, ConnectionError, TimeoutError)
    if isinstance(error, (CommitFailedException, ValidationException)):
        return _CONFLICT
    return _UNREACHABLE if isinstance(error, unreachable) else None


@contextmanager
def named_errors(spec: TableSpec) -> Iterator[None]:
    """Say of an error of a catalog or of pyiceberg which table it is of, and what is left to do."""
    try:
        yield
    except LatentlakeError:
        raise
    except Exception as error:
        raise LatentlakeError(
            f"{said(spec)} was not updated: {why(error)}; the output's files are there: run the job again, which "
            "publishes them"
        ) from error
