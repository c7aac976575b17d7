"""What the answers to questions about an output have in common: a table, which other libraries read."""

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lake.core.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd


def frame_of(table: pa.Table, instead: str) -> "pd.DataFrame":
    """A table as a data frame of pandas.

    Args:
      table: the table.
      instead: what does without pandas, for the error.

    Raises:
      UsageError: pandas is not installed.
    """
    try:
        import pandas  # noqa: F401
    except ImportError as error:
        raise UsageError(f"to_pandas needs pandas, which is not installed; {instead}") from error
    return table.to_pandas()


class TableAnswer:
    """An answer with a ``table``. It is read as one: ``polars.DataFrame(answer)``, ``duckdb.sql("FROM answer")``."""

    __slots__ = ()
    table: pa.Table

    def to_pandas(self) -> "pd.DataFrame":
        """The table as a data frame of pandas.

        Raises:
          UsageError: pandas is not installed.
        """
        return frame_of(self.table, ".table needs none")

    def to_pylist(self) -> list[dict[str, Any]]:
        """The rows of the table, each as a dict."""
        rows: list[dict[str, Any]] = self.table.to_pylist()
        return rows

    def __len__(self) -> int:
        return len(self.table)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The table, for libraries that read Arrow by its PyCapsule interface."""
        return self.table.__arrow_c_stream__(requested_schema)
