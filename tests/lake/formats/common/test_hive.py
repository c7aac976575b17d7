"""Names of partitions, as Hive escapes them and PyArrow reads them."""

import datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

from lake.formats.common.hive import NULL, Partition, partition_name, partition_type, texts_of

READER = ds.HivePartitioning(pa.schema([("by", pa.string())]))
# FileUtils.escapePathName of Hive, charToEscape; 0x7F is the last one there.
HIVE = [*map(chr, range(1, 32)), *"\"#%'*/:=?\\{[]^", "\x7f"]


def read(name: str) -> str | None:
    (expression,) = [READER.parse(f"{name}/a.parquet")]
    rows = ds.dataset(pa.table({"x": [0]})).to_table(columns={"by": _value(expression)})
    return rows["by"][0].as_py()


def _value(expression: pc.Expression) -> pc.Expression:
    keys = ds.get_partition_keys(expression)
    return pc.scalar(pa.scalar(keys["by"], pa.string()))


@pytest.mark.parametrize("start", range(0, 0x3000, 0x400))
def test_every_character_is_read_as_it_was(start: int) -> None:
    text = "".join(map(chr, range(max(1, start), start + 0x400)))
    for part in (text[at : at + 20] for at in range(0, len(text), 20)):
        name = partition_name("by", part)
        assert read(name) == part and name.isprintable() and "/" not in name
        partition = Partition.of({b"latentlake.partition": name.encode(), b"latentlake.partition_type": b"string"})
        assert partition is not None and partition.value.as_py() == part


def test_what_hive_escapes_is_escaped_as_there() -> None:
    assert [partition_name("by", one) for one in HIVE] == [f"by=%{ord(one):02X}" for one in HIVE]
    plain = "azAZ09 !$&()+,-.;<>@_`|}~é"
    assert partition_name("by", plain) == f"by={plain}"


def test_null() -> None:
    assert {partition_name("by", value) for value in (None, "", NULL)} == {f"by={NULL}"}
    assert read(f"by={NULL}") is None


def test_a_name_has_as_many_bytes_as_a_disk_allows() -> None:
    assert len(partition_name("by", "é" * 126).encode()) == 255
    with pytest.raises(ValueError, match="257 bytes"):
        partition_name("by", "é" * 127)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([-(2**63), 7, None], pa.int64()),
        ([255], pa.uint8()),
        ([True, False], pa.bool_()),
        ([datetime.date(2026, 11, 2)], pa.date32()),
        (["a", None], pa.large_string()),
        (["a", "b"], pa.string_view()),
        (["a", None], pa.dictionary(pa.int8(), pa.string())),
    ],
)
def test_types(values: list[object], kind: pa.DataType) -> None:
    column, read_as = pa.array(values, kind), partition_type(kind)
    for value, text in zip(values, texts_of(column).to_pylist(), strict=True):
        metadata = {b"latentlake.partition": partition_name("by", text).encode()}
        partition = Partition.of({**metadata, b"latentlake.partition_type": str(read_as).encode()})
        assert partition is not None and partition.value.as_py() == value
    for other in (pa.float32(), pa.binary(), pa.timestamp("s"), pa.list_(pa.int8()), pa.decimal128(9)):
        assert partition_type(other) is None
