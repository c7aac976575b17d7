"""Arrow columns as features."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lake.formats import FORMATS
from lake.formats.reader import ColumnSelection
from tests.lake.formats.rewriting import rewrite
from tests.lake.formats.support import shard_of
from tests.lake.formats.tfrecord.rewriting import made, parsed, values

CARRIED: dict[str, tuple[pa.Array, list[tuple[str | None, Any] | None]]] = {
    "int": (pa.array([1, None], pa.int16()), [("int64_list", [1]), None]),
    "unsigned": (pa.array([7, (1 << 64) - 1], pa.uint64()), [("int64_list", [7]), ("int64_list", [-1])]),
    "bool": (pa.array([True, False]), [("int64_list", [1]), ("int64_list", [0])]),
    "double": (pa.array([0.1, 2.0]), [("float_list", np.float32(v).tobytes()) for v in (0.1, 2.0)]),
    "text": (pa.array(["é", ""]), [("bytes_list", ["é".encode()]), ("bytes_list", [b""])]),
    "raw": (pa.array([b"\xff", None]), [("bytes_list", [b"\xff"]), None]),
    "list": (pa.array([[1, None, 2], []], pa.list_(pa.int32())), [("int64_list", [1, 2]), ("int64_list", [])]),
    "texts": (pa.array([["a", "b"], None]), [("bytes_list", [b"a", b"b"]), None]),
    "time": (pa.array([0, None], pa.timestamp("ns")), [("bytes_list", [b"1970-01-01 00:00:00.000000000"]), None]),
    "struct": (pa.array([{"a": [1], "b": "é"}, None]), [("bytes_list", [rb'{"a": [1], "b": "\u00e9"}']), None]),
    "image/format": (pa.array(["mine", "his"]), [("bytes_list", [b"mine"]), ("bytes_list", [b"his"])]),
}


@pytest.mark.parametrize("name", CARRIED)
def test_carried_columns_become_features(tmp_path: Path, name: str) -> None:
    import pyarrow.parquet as pq

    column, expected = CARRIED[name]
    pq.write_table(pa.table({"image": [b"i", b"j"], name: column}), tmp_path / "a.parquet")
    shard = shard_of(tmp_path / "a.parquet")
    columns = FORMATS["parquet"].reader.settle(shard, ColumnSelection(carry=(name,)))
    rewrite("parquet", shard, columns, tmp_path / "out", made, to="tfrecord")
    feature = "source_image/format" if name == "image/format" else name
    assert [values(message).get(feature) for message in parsed(tmp_path / "out/a.tfrecord")] == expected
