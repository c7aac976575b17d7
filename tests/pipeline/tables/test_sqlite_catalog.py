"""The catalog in a SQLite file, beside pyiceberg's own on the same file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

sql = pytest.importorskip("pyiceberg.catalog.sql")

from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, TableAlreadyExistsError  # noqa: E402

from pipeline.tables.sqlite_catalog import SqliteCatalog  # noqa: E402

ROWS = pa.table({"x": pa.array([1, 2], pa.int64())})


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[SqliteCatalog]:
    catalog = SqliteCatalog("latentlake", tmp_path / "lake.db")
    yield catalog
    catalog.close()


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Any]:
    catalog = sql.SqlCatalog("latentlake", uri=f"sqlite:///{tmp_path / 'lake.db'}", warehouse=str(tmp_path))
    yield catalog
    catalog.close()


def test_each_reads_what_the_other_has_written(ours: SqliteCatalog, theirs: Any, tmp_path: Path) -> None:
    ours.create_namespace_if_not_exists("a.b")
    ours.create_namespace_if_not_exists("a.b")
    assert theirs.list_namespaces("a") == [("a", "b")] and theirs.load_namespace_properties("a.b") == {"exists": "true"}
    made = ours.create_table("a.b.t", ROWS.schema, properties={"owner": "me"})
    assert made.location() == f"{tmp_path}/a.b/t"
    made.append(ROWS)
    found = theirs.load_table("a.b.t")
    assert (found.name(), found.properties["owner"]) == (("a", "b", "t"), "me")
    assert found.scan().to_arrow() == ROWS
    found.append(ROWS)
    made.refresh()
    assert made.scan().to_arrow().num_rows == 4
    theirs.create_table("a.b.u", ROWS.schema).append(ROWS)
    assert ours.load_table("a.b.u").scan().to_arrow() == ROWS
    assert theirs.list_tables("a.b") == [("a", "b", "t"), ("a", "b", "u")]


def test_errors_are_those_of_pyiceberg(ours: SqliteCatalog) -> None:
    ours.create_namespace_if_not_exists("a")
    made = ours.create_table("a.t", ROWS.schema)
    with pytest.raises(TableAlreadyExistsError, match=r"a\.t"):
        ours.create_table("a.t", ROWS.schema)
    with pytest.raises(NoSuchTableError, match=r"a\.u"):
        ours.load_table("a.u")
    ours._swap(made, made.metadata_location, "there")
    with pytest.raises(CommitFailedException, match=r"a\.t has been changed by another process"):
        ours._swap(made, made.metadata_location, "elsewhere")
