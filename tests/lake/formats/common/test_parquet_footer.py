"""Footers are looked at before Arrow descends into them; pyarrow and footers written by hand are the truth."""

import io
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.formats.common.parquet_file import open_parquet, read_footer
from lake.formats.common.parquet_footer import MOST_LEVELS, scan_footer
from tests.lake.formats.parquet.tables import deep_file


def footer_of(table: pa.Table, **options: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return read_footer(out)


def nested(levels: int) -> pa.Table:
    column = pa.array([1, 2])
    for _ in range(levels):
        column = pa.StructArray.from_arrays([column], ["x"])
    return pa.table({"x": column})


@pytest.mark.parametrize("levels", [0, 1, 7, MOST_LEVELS])
def test_levels_are_those_of_the_schema(levels: int) -> None:
    assert scan_footer(footer_of(nested(levels), store_schema=False)).levels == levels


def test_a_deeper_schema_is_refused() -> None:
    with pytest.raises(pa.ArrowInvalid, match="more than 100 levels"):
        scan_footer(footer_of(nested(MOST_LEVELS + 1), store_schema=False))


def test_a_schema_that_would_end_the_process_is_refused() -> None:
    with pytest.raises(pa.ArrowInvalid, match="more than 100 levels"):
        open_parquet(io.BytesIO(deep_file(20_000)))


def test_strings_are_counted_as_pyarrow_finds_them() -> None:
    table = pa.table({"label": [1, 2, 3], "image": [{"bytes": b"a", "path": None}] * 3, "tags": [["x"]] * 3})
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=2, write_statistics=False, store_schema=False)
    metadata, found = pq.ParquetFile(out).metadata, scan_footer(read_footer(out)).strings
    paths = Counter[str]()
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            paths.update(metadata.row_group(group).column(column).path_in_schema.split("."))
    schema = ["schema", "label", "image", "bytes", "path", "tags", "list", "element"]
    expected = Counter(schema) + paths + Counter([metadata.created_by])
    assert found == {name.encode(): count for name, count in expected.items()}


def test_a_footer_that_is_cut_anywhere_is_an_error_of_arrow() -> None:
    whole = footer_of(nested(3))
    for length in range(len(whole)):
        with pytest.raises(pa.ArrowInvalid):
            scan_footer(whole[:length])


def test_a_second_schema_is_refused() -> None:
    """Thrift would take the last one, which may be as deep as it likes."""
    field_two_again = b"\x09\x04\x0c"  # an explicit id 2: a list without elements
    whole = footer_of(nested(1))
    assert whole.endswith(b"\0")
    with pytest.raises(pa.ArrowInvalid, match="not in order"):
        scan_footer(whole[:-1] + field_two_again + b"\0")


def test_a_column_with_two_places_is_refused() -> None:
    """Arrow would read pages at the last one, whatever headers there are at the first one."""
    chunk = b"\x3c\x96\x08%b\0\0"  # a row group of one column, whose pages begin at byte 4
    footer = b"\x49\x1c\x19\x1c" + chunk + b"\0\0"
    assert scan_footer(footer % b"").groups[0].chunks == ((4, 4),)
    with pytest.raises(pa.ArrowInvalid, match="not in order"):
        scan_footer(footer % b"\x06\x12\x14")
