"""What goes beside an image that is written anew."""

import base64
import json
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lake.core.records import Records
from tests.lake.formats.webdataset.rewriting import anew, found_in, new

CARRIED: dict[str, tuple[pa.DataType, Sequence[Any], Sequence[Any]]] = {  # type, values, values in JSON
    "label": (pa.uint16(), [7, None, 65535], [7, None, 65535]),
    "key": (pa.string(), ["x", "ü", None], ["x", "ü", None]),
    "flag": (pa.bool_(), [True, False, None], [True, False, None]),
    "weight": (pa.float32(), [0.5, float("nan"), -0.25], [0.5, None, -0.25]),
    "half": (pa.float16(), list(np.array([1.5, np.inf, 0], np.float16)), [1.5, None, 0.0]),
    "blob": (pa.binary(), [b"\xff\x00", b"", None], [base64.b64encode(b"\xff\x00").decode(), "", None]),
    "kind": (pa.dictionary(pa.int8(), pa.string()), ["a", "b", "a"], ["a", "b", "a"]),
    "day": (pa.date32(), [date(2026, 1, 2)] * 3, ["2026-01-02"] * 3),
    "when": (pa.timestamp("ns"), [1, None, 2], [f"1970-01-01 00:00:00.00000000{i}" if i else None for i in (1, 0, 2)]),
    "price": (pa.decimal128(9, 2), [Decimal("1.50")] * 3, ["1.50"] * 3),
}  # fmt: skip


def records_with(carried: dict[str, pa.Array]) -> Records:
    keys = pa.array(["one", "../two", 'thr"ee\n'])
    return Records(shard="x", index=np.arange(3), key=keys, payload=keys.cast(pa.binary()), carried=carried)


def test_written_anew_with_key_class_and_all_that_is_carried(tmp_path: Path) -> None:
    records = records_with({name: pa.array(values, kind) for name, (kind, values, _) in CARRIED.items()})
    chosen = [[0, 1, 2], [], [1, 2]]
    output = anew(tmp_path, [(records, [new(p) for p in part], part) for part in chosen])
    columns = {"key": records.key.to_pylist()}
    columns |= {f"source_{name}" if name == "key" else name: values for name, (_, _, values) in CARRIED.items()}
    wanted = []
    for place, record in [(0, 0), (1, 1), (2, 2), (7, 1), (8, 2)]:  # a place is counted for each record
        wanted.append((f"{place:08d}.png", new(record).data))
        if record != 1:  # whose label is null
            wanted.append((f"{place:08d}.cls", b"%d" % columns["label"][record]))
        wanted.append((f"{place:08d}.json", {name: values[record] for name, values in columns.items()}))
    found = found_in(tmp_path / output.name)
    assert [(name, json_of(data) if name.endswith("json") else data) for name, data in found] == wanted
    assert list(json_of(found[2][1])) == list(columns)
    assert output.rows == 5


def json_of(data: bytes) -> dict[str, Any]:
    return json.loads(data.decode(), parse_constant=pytest.fail)  # NaN is no JSON


@pytest.mark.parametrize(
    ("types", "has_class"),
    [
        ({"label": pa.int64()}, True),
        ({"cls": pa.int8()}, True),
        ({"label": pa.int64(), "cls": pa.string()}, True),
        ({"label": pa.int64(), "cls": pa.int64()}, False),
        ({"label": pa.string()}, False),
        ({"label": pa.float32()}, False),
        ({"label": pa.bool_()}, False),
        ({"other": pa.int64()}, False),
        ({}, False),
    ],
)
def test_a_class_needs_exactly_one_column(tmp_path: Path, types: dict[str, pa.DataType], has_class: bool) -> None:
    records = records_with({name: pa.array([1, 0, 1]).cast(kind) for name, kind in types.items()})
    output = anew(tmp_path, [(records, [new(0)], [0])])
    suffixes = [name.partition(".")[2] for name, _ in found_in(tmp_path / output.name)]
    assert suffixes == (["png", "cls", "json"] if has_class else ["png", "json"])
