"""The one place that opens Parquet, and that no other one does."""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.formats.common.parquet_file import open_parquet, parse_footer, read_footer, read_table, without_arrow_schema

ROOT = Path(__file__).parents[4]
OPENING = re.compile(r"\bpq\.(ParquetFile|ParquetDataset|read_table|read_metadata|read_schema|read_pandas)\(")
READING = re.compile(r"\.iter_batches\((?:[^()]|\([^()]*\))*\)")  # with its arguments


def file_of(table: pa.Table) -> io.BytesIO:
    out = io.BytesIO()
    pq.write_table(table, out, write_page_checksum=True)
    return out


@pytest.mark.parametrize("columns", [1, 1_500], ids=["a short footer", "one beyond the first read"])
def test_a_table_is_read_as_pyarrow_reads_it(columns: int) -> None:
    table = pa.table({f"column {at}": [at, None] for at in range(columns)})
    file = file_of(table)
    assert read_table(file) == table
    assert read_table(file, ["column 0"]) == table.select(["column 0"])
    assert len(read_footer(file)) == pq.ParquetFile(file).metadata.serialized_size
    assert parse_footer(read_footer(file)).equals(pq.ParquetFile(file).metadata)


def test_without_the_schema_of_arrow_columns_have_the_types_of_parquet() -> None:
    column = pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2))
    file = file_of(pa.table({"x": column}))
    plain = open_parquet(file, metadata=without_arrow_schema(read_footer(file)))
    assert (open_parquet(file).schema_arrow.field("x").type, plain.schema_arrow.field("x").type) == (
        column.type,
        pa.list_(pa.field("element", pa.float32())),
    )


@pytest.mark.parametrize("length", [0, 3, 11, -1, -9])
def test_a_file_that_is_cut_is_an_error_of_arrow(length: int) -> None:
    with pytest.raises(pa.ArrowInvalid):
        open_parquet(io.BytesIO(file_of(pa.table({"x": [1]})).getvalue()[:length]))


def sources() -> Iterator[tuple[str, str]]:
    """Name and text of every module."""
    for package in ("lake", "model", "pipeline", "latentlake"):
        yield from ((path.name, path.read_text()) for path in sorted((ROOT / package).rglob("*.py")))


def test_nothing_else_opens_parquet_and_no_thread_of_arrow_reads_it() -> None:
    """A thread of Arrow that drops a Python object while the interpreter ends aborts the process."""
    assert {name for name, text in sources() if OPENING.search(text)} == {"parquet_file.py"}
    reading = [(name, call) for name, text in sources() for call in READING.findall(text)]
    assert len(reading) > 3
    assert [one for one in reading if "use_threads=False" not in one[1]] == []
