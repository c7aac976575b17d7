"""Descriptions of images with other names, read back by Python's own csv and json."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.formats.folder.metadata import rewrite

NAMES = {"a.jpg": "a.png", "d/b.jpg": "d/b.png", "c.png": "c.png", "m.jpg": "m.png"}


def test_lines_of_json() -> None:
    rows = [
        {"file_name": "a.jpg", "text": "ä\n", "mask_file_name": "m.jpg", "other_file_name": "none.jpg", "n": [1.50]},
        {"file_name": "gone.jpg"},
        {"file_name": "d/b.jpg", "objects": {"file_name": "a.jpg"}},
        {"text": "no name"},
        {"file_name": 3},
    ]
    lines = [json.dumps(row).encode() + b"\n" for row in rows]
    kept = b'{ "file_name": "c.png",  "x": 1e2}\n'
    made = list(rewrite("metadata.jsonl", [*lines, kept, b"no json\n", b"\n"], NAMES.get))
    assert made[-3:] == [kept, b"no json\n", b"\n"], "what has nothing to change stays as it is"
    assert [json.loads(line) for line in made[:-3]] == [
        {**rows[0], "file_name": "a.png", "mask_file_name": "m.png"},
        {"file_name": "d/b.png", "objects": {"file_name": "a.jpg"}},
        *rows[3:],
    ]


def test_rows_of_csv() -> None:
    text = 'text,file_name,mask_file_name\r\n"x, ""y""\nz",a.jpg,m.jpg\r\n1,gone.jpg,\r\n2,c.png,none.jpg\r\n'
    text += "3,short\r\n"
    made = b"".join(rewrite("metadata.csv", io.BytesIO(text.encode()), NAMES.get)).decode()
    assert list(csv.reader(io.StringIO(made, newline=""))) == [
        ["text", "file_name", "mask_file_name"],
        ['x, "y"\nz', "a.png", "m.png"],
        ["2", "c.png", "none.jpg"],
        ["3", "short"],
    ]
    assert list(rewrite("metadata.csv", [b"a,b\n", b"\xff,2\n"], NAMES.get)) == [b"a,b\n", b"\xff,2\n"]
    assert b"".join(rewrite("metadata.csv", [], NAMES.get)).strip() == b""


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_rows_of_parquet(kind: pa.DataType) -> None:
    names = ["a.jpg", "gone.jpg", None, "c.png"] * 3000
    table = pa.table(
        {
            "file_name": pa.array(names, kind),
            "mask_file_name": pa.array(["m.jpg", "", None, "none.jpg"] * 3000, kind),
            "label": pa.array(range(12_000), pa.int16()).dictionary_encode(),
        },
        metadata={b"k": b"v"},
    )
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=5_000)
    made = pq.read_table(io.BytesIO(b"".join(rewrite("metadata.parquet", [out.getvalue()], NAMES.get))))
    kept = [at for at in range(12_000) if at % 4 != 1]
    assert made.schema == pq.read_schema(io.BytesIO(out.getvalue()))
    assert made.schema.metadata[b"k"] == b"v"
    assert made["label"].to_pylist() == kept
    assert made["file_name"].to_pylist() == ["a.png", None, "c.png"] * 3000
    assert made["mask_file_name"].to_pylist() == ["m.png", None, "none.jpg"] * 3000


def test_names_that_are_written_as_differences() -> None:
    out = io.BytesIO()
    encoding = {"file_name": "DELTA_BYTE_ARRAY"}
    pq.write_table(pa.table({"file_name": ["a.jpg", "c.png"]}), out, use_dictionary=False, column_encoding=encoding)
    made = pq.read_table(io.BytesIO(b"".join(rewrite("metadata.parquet", [out.getvalue()], NAMES.get))))
    assert made["file_name"].to_pylist() == ["a.png", "c.png"]


def test_a_table_whose_names_are_no_text_stays_as_it_is() -> None:
    out = io.BytesIO()
    names = pa.array([b"a.jpg", b"\xff.jpg"]).view(pa.string())
    pq.write_table(pa.table({"file_name": names}), out)
    assert b"".join(rewrite("metadata.parquet", [out.getvalue()], NAMES.get)) == out.getvalue()


def test_a_table_with_nothing_to_change_stays_as_it_is() -> None:
    for table in (pa.table({"file_name": ["c.png"]}), pa.table({"file": ["a.jpg"]}), pa.table({"file_name": [1]})):
        out = io.BytesIO()
        pq.write_table(table, out)
        for data in (out.getvalue(), out.getvalue()[:-9], b"no table"):
            assert b"".join(rewrite("metadata.parquet", [data], NAMES.get)) == data
