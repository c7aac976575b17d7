"""Types that have one text wherever they come from: against Arrow's own pickling, IPC and Parquet."""

import io
import pickle
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.formats.common.stable_types import stable_schema, stable_type

FIXED = pa.list_(pa.field("element", pa.float32(), nullable=False), 2)
MAP = pa.map_(pa.string(), pa.field("of", FIXED, nullable=False), keys_sorted=True)
KINDS = [
    *(FIXED, MAP, pa.list_(FIXED), pa.large_list(MAP), pa.list_view(MAP), pa.large_list_view(FIXED)),
    pa.struct([pa.field("a", MAP, nullable=False), ("b", pa.list_(pa.struct([("c", FIXED)])))]),
    pa.dictionary(pa.int8(), FIXED),
]


def pickled(schema: pa.Schema) -> pa.Schema:
    return pickle.loads(pickle.dumps(schema))


def through_ipc(schema: pa.Schema) -> pa.Schema:
    return pa.ipc.read_schema(schema.serialize())


def through_parquet(schema: pa.Schema) -> pa.Schema:
    file = io.BytesIO()
    pq.write_table(schema.empty_table(), file)
    return pq.read_schema(file).remove_metadata()


@pytest.mark.parametrize("way", [pickled, through_ipc, lambda schema: through_ipc(pickled(schema))])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_type_keeps_its_text(kind: pa.DataType, way: Callable[[pa.Schema], pa.Schema]) -> None:
    settled = stable_schema(pa.schema([("x", kind)]))
    assert str(way(settled)) == str(settled)
    assert str(stable_schema(way(settled))) == str(settled)


@pytest.mark.parametrize("kind", [FIXED, pa.list_(FIXED, 3), pa.map_(pa.string(), pa.int8()), MAP], ids=str)
def test_the_text_is_that_of_the_same_column_in_any_file(kind: pa.DataType) -> None:
    written = pa.schema([("x", kind)])
    texts = {str(stable_schema(way(written))) for way in (pickled, through_ipc, through_parquet)}
    assert texts == {str(stable_schema(written))}


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.int8(), pa.string_view(), pa.list_(pa.field("element", pa.int8(), nullable=False)), pa.null()),
        *(pa.timestamp("ns", "Europe/Paris"), pa.decimal128(5, 2), pa.dictionary(pa.int16(), pa.string(), True)),
        *(pa.list_(pa.float32(), 2), pa.map_(pa.string(), pa.int8()), pa.struct([("a", pa.int8())]), pa.uuid()),
    ],
    ids=str,
)
def test_other_types_stay_as_they_are(kind: pa.DataType) -> None:
    assert stable_type(kind) == kind and str(stable_type(kind)) == str(kind)
