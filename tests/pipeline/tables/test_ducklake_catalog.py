"""Catalogs of DuckLake, where DuckDB has no extension; with it, ``tests/engines/test_ducklake.py``."""

import sys
from pathlib import Path

import pytest

from lake.core.errors import UsageError
from pipeline.tables import ducklake_catalog
from pipeline.tables.table import TableSpec, open_table


def test_an_extension_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where DuckDB looks for those that INSTALL has fetched
    monkeypatch.setattr(ducklake_catalog, "_shipped", lambda *_: None)
    with pytest.raises(
        UsageError, match=r"the extension ducklake of DuckDB, which DuckDB \S+ does not find; pip install"
    ):
        open_table(TableSpec(kind="ducklake"), str(tmp_path)).current()


def test_duckdb_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(UsageError, match=r"needs DuckDB, which is not installed; pip install 'latentlake\[ducklake\]'"):
        open_table(TableSpec(kind="ducklake"), str(tmp_path))
