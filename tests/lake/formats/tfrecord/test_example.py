"""Examples that are none, or odd."""

from pathlib import Path

import pytest

from lake.core.records import Reason
from lake.core.tensorflow import tensorflow
from lake.formats.reader import ColumnSelection
from lake.formats.tfrecord import example as parsing
from tests.lake.formats.support import rows, write
from tests.lake.formats.tfrecord.examples import IMAGES, READER, example, read


@pytest.fixture(autouse=True, params=["started", "installed", "missing"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Processes with TensorFlow, and without; and where it is not installed."""
    monkeypatch.setattr(parsing, "is_started", lambda: request.param == "started")
    monkeypatch.setattr(parsing, "is_installed", lambda: request.param != "missing")
    if request.param == "missing":
        monkeypatch.delattr(parsing, "tensorflow")
    found: str = request.param
    return found


def test_plain_records_need_no_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"image": "bytes", "label": "int64", "weight": "float"}
    records = [
        example(image=b"one", label=-3, weight=[0.5, 1.5]),
        example(weight=2.0, image=[b"", b"two"], extra=b"x"),
        example(label=[1, 2, 1 << 40]),
        b"",
    ]
    with monkeypatch.context() as context:
        context.setattr(parsing, "tensorflow", tensorflow, raising=False)
        wanted = parsing._bulk(tuple(kinds.items()))(records)
    assert wanted is not None
    monkeypatch.setattr(parsing, "is_started", lambda: False)
    monkeypatch.delattr(parsing, "_bulk")
    found, faults = parsing.parse_examples(records, kinds)
    assert faults == {}
    for name, column in wanted.items():
        assert found[name].values.dtype == column.values.dtype and found[name].splits.dtype == column.splits.dtype
        assert found[name].values.tolist() == column.values.tolist()
        assert found[name].splits.tolist() == column.splits.tolist()


def bad_records() -> list[tuple[bytes, Reason | None, str]]:
    """A serialized record, the reason why it is bad, and words of the detail."""
    good = example(image=b"fine", key=b"k", label=3)
    return [
        (b"", Reason.MISSING_IMAGE, "no value in feature 'image'"),
        (b"\xff\xfe\xfd", Reason.INVALID_RECORD, "not a tf.train.Example"),
        (good[:-3], Reason.INVALID_RECORD, "not a tf.train.Example"),
        (good[:5] + bytes([good[5] ^ 0x7F]) + good[6:], Reason.INVALID_RECORD, "not a tf.train.Example"),
        # Protobuf passes over a field of another wire type; TensorFlow's own reader does not.
        (good + b"\x0a\x02\x08\x01", Reason.INVALID_RECORD, "not a tf.train.Example"),
        (example(key=b"k", label=3), Reason.MISSING_IMAGE, "no value in feature 'image'"),
        (example(image=[], label=3), Reason.MISSING_IMAGE, "no value in feature 'image'"),
        (example(image=[b"a", b"b"]), Reason.INVALID_RECORD, "several values in feature 'image'"),
        (example(image=3), Reason.WRONG_TYPE, "'image' holds int64, not bytes"),
        (example(image=b"i", label=b"cat"), Reason.WRONG_TYPE, "'label' holds bytes, not int64"),
        (example(image=b"i", label=1.5), Reason.WRONG_TYPE, "'label' holds float, not int64"),
        (example(image=b"i", label=[1, 2]), Reason.WRONG_TYPE, "several values in feature 'label'"),
        (example(image=b"i", key=7), Reason.WRONG_TYPE, "'key' holds int64, not bytes"),
    ]


@pytest.mark.parametrize("size", [1, 7, 256])
def test_a_bad_record_costs_itself_only(tmp_path: Path, size: int) -> None:
    bad = bad_records()
    written = [r for i, (record, *_) in enumerate(bad) for r in (example(image=b"%d" % i, key=b"g", label=i), record)]
    shard = write(tmp_path / "a.tfrecord", written)
    columns = READER.settle(shard, ColumnSelection())
    found = rows(read(shard, columns, size))
    assert [row["index"] for row in found] == list(range(2 * len(bad)))
    for i, (record, reason, words) in enumerate(bad):
        good, faulty = found[2 * i : 2 * i + 2]
        assert good == {"index": 2 * i, "key": "g", "payload": b"%d" % i, "label": i, "fault": None}
        assert (faulty["fault"].reason, faulty["fault"].data, faulty["payload"]) == (reason, record, None)
        assert words in faulty["fault"].detail


def test_a_batch_of_bad_records_only(tmp_path: Path) -> None:
    shard = write(tmp_path / "a.tfrecord", [b"\xff"] * 50)
    found = rows(read(shard, IMAGES))
    assert [row["fault"].reason for row in found] == [Reason.INVALID_RECORD] * 50
    assert [row["key"] for row in found] == [str(i) for i in range(50)]


def test_an_image_of_no_bytes_is_left_to_decoding(tmp_path: Path) -> None:
    (row,) = rows(read(write(tmp_path / "a.tfrecord", [example(image=b"", key=b"\xffk")]), IMAGES))
    assert row == {"index": 0, "key": r"\xffk", "payload": b"", "fault": None}


def test_joined_messages_are_merged_as_protobuf_says(tmp_path: Path, library: str) -> None:
    import tensorflow as tf

    record = example(image=b"old", key=b"k") + example(image=b"new")
    (row,) = rows(read(write(tmp_path / "a.tfrecord", [record]), IMAGES))
    if library == "missing":
        assert row["fault"].reason is Reason.INVALID_RECORD and "latentlake[tensorflow]" in row["fault"].detail
        return
    merged = tf.train.Example.FromString(record).features.feature
    assert (row["payload"], row["key"]) == (merged["image"].bytes_list.value[0], "k")
