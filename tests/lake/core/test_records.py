"""Rows of a column, of every type that Arrow has no ``take`` for."""

import numpy as np
import pyarrow as pa
import pytest

from lake.core.records import pick

VALUES = [
    pa.array(["a", None, "c", "d"], pa.string_view()),
    pa.array([b"a", b"b", None, b"d"], pa.binary_view()),
    pa.array([["a"], None, ["c", "d"], []], pa.list_(pa.string_view())),
    pa.array([["a"], None, ["c"], ["d"]], pa.list_(pa.string_view(), 1)),
    pa.array([{"a": ["x"]}, {"a": None}, None, {"a": ["y"]}], pa.struct({"a": pa.large_list(pa.binary_view())})),
    pa.array([[("a", "x")], None, [], [("b", None)]], pa.map_(pa.string(), pa.string_view())),
    pa.array(["a", None, "c", "d"]).dictionary_encode(),
    pa.array([[1], None, [], [2, 3]], pa.list_view(pa.int8())),
]


@pytest.mark.parametrize("positions", [[0, 2, 3], [1], [], [0, 1, 2, 3]], ids=str)
@pytest.mark.parametrize("column", VALUES, ids=lambda column: str(column.type))
def test_rows_of_a_column(column: pa.Array, positions: list[int]) -> None:
    found = pick(column, np.array(positions, np.int64))
    assert (found.type, found.to_pylist()) == (column.type, [column.to_pylist()[at] for at in positions])
