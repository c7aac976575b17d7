"""Every type of Arrow as JSON; pyarrow's own Python values are the truth."""

import base64
import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lake.core.records import Records
from lake.formats.common.json_values import json_values
from lake.formats.webdataset.sidecars import Sidecars

PAIRS = pa.map_(pa.string(), pa.int64())
CASES = {
    "integers": ([1, None, -(2**63)], pa.int64(), [1, None, -(2**63)]),
    "unsigned": ([2**64 - 1], pa.uint64(), [2**64 - 1]),
    "booleans": ([True, None, False], pa.bool_(), [True, None, False]),
    "floats": ([1.5, math.nan, -math.inf, None], pa.float32(), [1.5, None, None, None]),
    "halves": ([np.float16(0.5)], pa.float16(), [0.5]),
    "text": (["é", None], pa.string(), ["é", None]),
    "large text": (["é", None], pa.large_string(), ["é", None]),
    "text view": (["é", None], pa.string_view(), ["é", None]),
    "binary": ([b"\xff", None], pa.binary(), ["/w==", None]),
    "binary view": ([b"\xff", None], pa.binary_view(), ["/w==", None]),
    "fixed binary": ([b"\xff\x00", None], pa.binary(2), ["/wA=", None]),
    "dates": ([dt.date(2026, 2, 28), None], pa.date32(), ["2026-02-28", None]),
    "times": ([dt.time(1, 2, 3)], pa.time32("s"), ["01:02:03"]),
    "timestamps": ([dt.datetime(2026, 2, 28, 1, 2, 3)], pa.timestamp("s"), ["2026-02-28 01:02:03"]),
    "zoned": ([dt.datetime(2026, 2, 28, 1, 2, 3)], pa.timestamp("s", "UTC"), ["2026-02-28 01:02:03Z"]),
    "durations": ([dt.timedelta(seconds=90)], pa.duration("s"), ["90"]),
    "decimals": ([Decimal("1.50"), None], pa.decimal128(5, 2), ["1.50", None]),
    "nulls": ([None, None], pa.null(), [None, None]),
    "lists": ([[1, None], None, []], pa.list_(pa.int64()), [[1, None], None, []]),
    "large lists": ([["a"], None], pa.large_list(pa.string()), [["a"], None]),
    "fixed lists": ([[1.0, math.nan], None, [3.0, 4.0]], pa.list_(pa.float32(), 2), [[1.0, None], None, [3.0, 4.0]]),
    "list views": ([[1], None, [2, 3]], pa.list_view(pa.int64()), [[1], None, [2, 3]]),
    "structs": (
        [{"a": 1, "b": b"x"}, None],
        pa.struct({"a": pa.int8(), "b": pa.binary()}),
        [{"a": 1, "b": "eA=="}, None],
    ),
    "empty structs": ([{}, None], pa.struct({}), [{}, None]),
    "maps": ([[("k", 1), ("k", 2)], None, []], PAIRS, [[["k", 1], ["k", 2]], None, []]),
    "deep": (
        [[{"box": [1, 2], "when": dt.date(2026, 1, 1)}], [None]],
        pa.list_(pa.struct({"box": pa.list_(pa.int32()), "when": pa.date32()})),
        [[{"box": [1, 2], "when": "2026-01-01"}], [None]],
    ),
    "dictionaries": (["a", None, "a"], pa.dictionary(pa.int8(), pa.string()), ["a", None, "a"]),
    "extensions": (['{"a": 1}'], pa.json_(), ['{"a": 1}']),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_type_becomes(name: str) -> None:
    values, kind, expected = CASES[name]
    column = pa.array(values, kind.storage_type) if isinstance(kind, pa.BaseExtensionType) else pa.array(values, kind)
    column = pa.ExtensionArray.from_storage(kind, column) if isinstance(kind, pa.BaseExtensionType) else column
    assert json_values(column) == expected
    assert json.loads(json.dumps(expected, allow_nan=False)) == expected
    twice = pa.concat_arrays([column, column])
    assert json_values(twice.slice(1, len(column))) == (expected + expected)[1 : len(column) + 1]


def test_text_that_is_not_utf_8_deep_in_a_column_is_escaped() -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    assert json_values(pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), broken)) == [["\\xff"]]


@pytest.mark.parametrize("kind", [pa.list_(pa.int64()), pa.struct({"a": pa.int64()}), PAIRS, pa.string_view()], ids=str)
def test_the_json_of_records_has_nested_labels(kind: pa.DataType) -> None:
    values: dict[str, list[Any]] = {
        "list<item: int64>": [[1, 2], [3], None],
        "struct<a: int64>": [{"a": 1}, {"a": 2}, None],
        "map<string, int64>": [[("a", 1)], [("b", 2)], None],
        "string_view": ["a", "b", None],
    }
    label = pa.array(values[str(kind).replace("element", "item")], kind)
    records = Records(
        shard="s", index=np.arange(3), key=pa.array(list("xyz")), payload=pa.nulls(3), carried={"label": label}
    )
    made = Sidecars(pa.schema({"label": kind})).json(records, np.array([0, 2]))
    assert [json.loads(text) for text in made] == [
        {"key": "x", "label": json_values(label)[0]},
        {"key": "z", "label": None},
    ]


def test_base64_is_that_of_python() -> None:
    data = bytes(range(256))
    assert base64.b64decode(json_values(pa.array([data]))[0]) == data
