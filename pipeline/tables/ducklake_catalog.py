"""Catalogs of DuckLake: one within the output, one in a SQLite file, or one that a secret of DuckDB names."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake.core.choices import quoted
from lake.core.errors import UsageError
from lake.core.retry import Backoff
from lake.storage.location import local_path
from pipeline.tables.table import TableSpec, is_path
from pipeline.tables.table_errors import said, why

if TYPE_CHECKING:
    from types import ModuleType

    from duckdb import DuckDBPyConnection

LAKE = "lake"  # what a catalog is called on a connection
_FILE = "catalog.db"
_NAME = re.compile(r"\w+", re.ASCII)
_NONE = "creating a new DuckLake is explicitly disabled"
_LOCKED = "database is locked"
_PATIENCE = 10_000  # ms that a reader waits for the commit of another
_EXTENSIONS = ("ducklake", "sqlite_scanner")
_POSTGRES = "postgres_scanner"  # of a catalog that a secret leads to
# A job downloads nothing.
_QUIET: Any = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
_CONFLICT = Backoff(first=0.1, most=5.0, attempts=12)  # another writer was first, or a reader was there


class MovedError(Exception):
    """Somebody has committed to a catalog since it was read."""


def import_duckdb() -> "ModuleType":
    """Import DuckDB.

    Raises:
      UsageError: it is not installed.
    """
    try:
        import duckdb
    except ImportError as error:
        raise UsageError(
            "--table ducklake needs DuckDB, which is not installed; pip install 'latentlake[ducklake]', also on workers"
        ) from error
    return duckdb


class BusyError(UsageError):
    """Another program holds a catalog for longer than this one waits."""


@contextmanager
def named_lock(spec: TableSpec) -> Iterator[None]:
    """Say of a catalog that another program holds which table it is of.

    Raises:
      BusyError: one does.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        if _LOCKED not in str(error):
            raise
        raise BusyError(
            f"{said(spec)}: {why(error)}; another program is writing to its catalog: run this again when it is done"
        ) from error


def connect() -> "DuckDBPyConnection":
    """Open a DuckDB in memory that knows DuckLake.

    Raises:
      UsageError: DuckDB or one of its extensions is not installed.
    """
    duckdb: Any = import_duckdb()
    connection: DuckDBPyConnection = duckdb.connect(config=_QUIET)
    for name in _EXTENSIONS:
        try:
            _load(connection, name)
        except duckdb.Error as error:
            connection.close()
            raise UsageError(
                f"--table ducklake needs the extension {name} of DuckDB, which DuckDB {duckdb.__version__} does not "
                "find; pip install 'latentlake[ducklake]', also on workers"
            ) from error
    # DuckLake's own loop adds the same files to a new head, without a look at what that has, or at the lease.
    connection.execute("SET ducklake_max_retry_count = 0")
    return connection


def _load(connection: "DuckDBPyConnection", name: str) -> None:
    connection.load_extension(_shipped(name, import_duckdb().__version__) or name)


def _shipped(name: str, version: str) -> str | None:
    """The file of an extension that was installed by pip for this DuckDB; None if DuckDB must look for its own."""
    package = find_spec(f"duckdb_extension_{name}")
    for folder in () if package is None else package.submodule_search_locations or ():
        file = Path(folder) / "extensions" / f"v{version}" / f"{name}.duckdb_extension"
        if file.exists():
            return str(file)
    return None


def attach(connection: "DuckDBPyConnection", spec: TableSpec, output: str, *, write: bool = False) -> bool:
    """Attach the catalog of a table, as ``LAKE``.

    Args:
      connection: as of ``connect``.
      spec: the table.
      output: URI of the output, on a disk.
      write: make the catalog if it is not in its SQLite file.

    Returns:
      Whether there is one.

    Raises:
      UsageError: it cannot be opened.
    """
    import duckdb

    address = _address(spec, output, write=write)
    if address is None:
        return False
    if _is_secret(spec):
        with suppress(duckdb.Error):  # where it is needed, the catalog says so
            _load(connection, _POSTGRES)
    try:
        connection.execute(address)
    except (duckdb.Error, RuntimeError) as error:
        if ducklake_policy(error) is not None:
            raise
        if not write and _NONE in str(error):
            return False
        remedy = "; pip install 'latentlake[ducklake-postgres]', also on workers" if _POSTGRES in str(error) else ""
        raise UsageError(f"{said(spec)}: {why(error)}{remedy}") from None  # whose text may have a password
    return True


def _is_secret(spec: TableSpec) -> bool:
    return bool(spec.catalog) and not is_path(spec.catalog)


def _address(spec: TableSpec, output: str, *, write: bool) -> str | None:
    if _is_secret(spec):
        if not _NAME.fullmatch(spec.catalog):  # an address may hold a password, which the output would keep
            raise UsageError(
                f"--table ducklake: --catalog {quoted(spec.catalog)} is no name of a secret of DuckDB; CREATE "
                "PERSISTENT SECRET NAME (TYPE ducklake, …)"
            )
        made = "" if write else " (CREATE_IF_NOT_EXISTS false)"
        return f"ATTACH {_text(f'ducklake:{spec.catalog}')} AS {LAKE}{made}"
    file = Path(spec.catalog) if spec.catalog else local_path(output).absolute() / "_ducklake" / _FILE
    there = _is_catalog(file)
    if not there and not write:
        return None
    file.parent.mkdir(parents=True, exist_ok=True)
    data = "" if there else f", DATA_PATH {_text(f'{file}.files/')}"
    return f"ATTACH {_text(f'ducklake:sqlite:{file}')} AS {LAKE} (META_BUSY_TIMEOUT {_PATIENCE}{data})"


def _is_catalog(file: Path) -> bool:
    if not file.exists():
        return False
    with closing(sqlite3.connect(file)) as connection:
        try:
            tables = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'ducklake_metadata'")
            return bool(tables.fetchone()[0])
        except sqlite3.DatabaseError as error:
            if ducklake_policy(error) is not None:
                raise
            raise UsageError(f"--table ducklake: {file}: {why(error)}; name another --catalog") from error


def _text(value: str) -> str:
    """A text in SQL.

    >>> _text("it's")
    "'it''s'"
    """
    return "'" + value.replace("'", "''") + "'"


def ducklake_policy(error: BaseException) -> Backoff | None:
    """How a commit is tried again: the table is read again, and what is there already is not added twice."""
    named = {kind.__name__ for kind in type(error).__mro__}  # DuckDB may not be installed where this is asked
    moved = isinstance(error, MovedError) or "TransactionException" in named
    moved = moved or ("Failed to initialize" in str(error) and "already exists" in str(error))  # somebody else made it
    return _CONFLICT if moved or _LOCKED in str(error) else None
