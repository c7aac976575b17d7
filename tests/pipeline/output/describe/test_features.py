"""Columns of a card, against what ``datasets`` itself infers."""

import pyarrow as pa
import pytest

from pipeline.output.describe.features import features_of

_PLAIN = [
    *(pa.null(), pa.bool_(), pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()),
    *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary(32)),
    *(pa.date32(), pa.date64(), pa.time32("s"), pa.time64("us"), pa.timestamp("ns"), pa.timestamp("us", "Asia/Tokyo")),
    *(pa.duration("s"), pa.decimal128(10, 2), pa.decimal256(50, 3)),
]
_NESTED = [
    *(pa.dictionary(pa.int32(), pa.string()), pa.list_(pa.dictionary(pa.int8(), pa.string()))),
    *(pa.list_(pa.int32()), pa.list_(pa.float16(), 4), pa.large_list(pa.string()), pa.list_(pa.list_(pa.int8(), 2))),
    *(pa.struct([]), pa.list_(pa.struct([("x", pa.float32())]), 3), pa.large_list(pa.struct([("x", pa.float32())]))),
    pa.struct([("a", pa.int8()), ("b", pa.list_(pa.struct([("c", pa.string())])))]),
]
_UNKNOWN = [
    *(pa.map_(pa.string(), pa.int8()), pa.list_view(pa.int8()), pa.decimal32(5, 2), pa.month_day_nano_interval()),
    *(pa.run_end_encoded(pa.int32(), pa.int8()), pa.list_(pa.map_(pa.string(), pa.int8())), pa.bool8()),
]


@pytest.mark.filterwarnings("ignore")  # its own, while it is imported
@pytest.mark.parametrize("kind", [*_PLAIN, *_NESTED], ids=str)
def test_a_column_is_what_datasets_infers(kind: pa.DataType) -> None:
    from datasets import Features

    schema = pa.schema([("x", kind)])
    assert features_of(schema) == Features.from_arrow_schema(schema)._to_yaml_list()


@pytest.mark.filterwarnings("ignore")  # its own, while it is imported
@pytest.mark.parametrize("kind", _UNKNOWN, ids=str)
def test_a_table_that_datasets_has_no_names_for_has_no_features(kind: pa.DataType) -> None:
    from datasets import Features

    schema = pa.schema([("x", pa.int8()), ("y", kind)])
    assert features_of(schema) is None
    with pytest.raises((ValueError, TypeError)):
        Features.from_arrow_schema(schema)
