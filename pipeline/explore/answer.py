"""What the answers to questions about an output have in common: a table, which other libraries read."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    import pandas as pd


class TableAnswer:
    """An answer with a ``table``. It is read as one: ``polars.DataFrame(answer)``, ``duckdb.sql("FROM answer")``."""

    __slots__ = ()
    table: pa.Table

    def to_pandas(self) -> "pd.DataFrame":
        """The table as a data frame of pandas, which must be installed."""
        return self.table.to_pandas()

    def to_pylist(self) -> list[dict[str, Any]]:
        """The rows of the table, each as a dict."""
        rows: list[dict[str, Any]] = self.table.to_pylist()
        return rows

    def __len__(self) -> int:
        return len(self.table)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The table, for libraries that read Arrow by its PyCapsule interface."""
        return self.table.__arrow_c_stream__(requested_schema)
