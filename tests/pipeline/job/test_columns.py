"""Columns that a job needs are carried, by whichever option they are named."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import InputError
from lake.formats.reader import ColumnSelection
from lake.inputs.columns import settle
from lake.inputs.discover import find_shards
from pipeline.config import NoiseLevel
from pipeline.job.columns import carrying, check_noise_column, with_noise_column
from tests.pipeline.values import COLUMNS

SELECTION = ColumnSelection(carry=("label",))


def test_a_column_is_carried_besides_those_that_the_user_carries(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"x"], "key": ["k"], "label": [1], "sigma": [2.0]}), tmp_path / "a.parquet")
    found = find_shards((str(tmp_path),), "parquet")
    columns = settle(found, SELECTION)
    for column in (None, NoiseLevel(level=5.0), NoiseLevel(column="label")):
        assert with_noise_column(found, SELECTION, columns, column) is columns
    told = with_noise_column(found, SELECTION, columns, NoiseLevel(column="sigma"))
    assert told.carry == pa.schema([("label", pa.int64()), ("sigma", pa.float64())])
    assert carrying(found, SELECTION, columns, ["json", "sigma"], "--condition-column") == told, "the first there is"
    with pytest.raises(InputError, match=r"no column 'json'; set --partition-by to one of: .*sigma"):
        carrying(found, SELECTION, columns, ["json", "other"], "--partition-by")
    unsettled = replace(columns, settled=False)
    assert carrying(found, SELECTION, unsettled, ["other"], "--partition-by") is unsettled, "a later run decides"


@pytest.mark.parametrize(("kind", "good"), [(pa.int8(), True), (pa.float64(), True), (pa.string(), False)])
def test_a_column_of_noise_levels_holds_numbers(kind: pa.DataType, good: bool) -> None:
    columns = replace(COLUMNS, carry=pa.schema([("label", pa.string()), ("sigma", kind)]))
    check_noise_column(columns, None)
    check_noise_column(columns, NoiseLevel(level=5.0))
    if good:
        check_noise_column(columns, NoiseLevel(column="sigma"))
    else:
        with pytest.raises(InputError, match="column 'sigma' is string, not numbers; set --noise-level"):
            check_noise_column(columns, NoiseLevel(column="sigma"))
