"""What a conditional model is told: values as records of all formats have them, and those that it does not take."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lake.core.records import Fault, Reason, Records, Stage
from lake.images.types import Group
from model.condition import Condition
from pipeline.options.condition import ConditionSource, condition_of_text
from pipeline.worker.conditions import conditions_of, read_conditions, with_conditions

CLASS = Condition(input="y", column="label", length=1, classes=4, names=("ant", "bee", "cow", "dog"))
NUMBERS = Condition(input="y", column="hue", length=2)


@pytest.mark.parametrize(
    "value", [2, 2.0, "2", " +2 ", b"2", "cow", [2], np.int8(2), np.float32(2), np.array([2]), np.array(2)]
)
def test_what_is_a_class(value: Any) -> None:
    told, wrong = conditions_of([value], CLASS)
    assert (told.tolist(), told.dtype, wrong) == ([2], np.int64, {})


@pytest.mark.parametrize(
    "value",
    [
        *(4, -1, 2.5, float("nan"), float("inf"), 10**400, "2.0", "Cow", "", "2 2", "9" * 30, b"\xff", [1, 2], [[2]]),
        *({"label": 2}, object, np.array([1, 2]), 2j),
    ],
)
def test_what_is_none(value: Any) -> None:
    told, wrong = conditions_of([value, 1], CLASS)
    assert told.tolist() == [0, 1]
    assert list(wrong) == [0] and "no class from 0 to 3, ant, bee, cow, dog" in wrong[0] and wrong[0].isprintable()


@pytest.mark.parametrize("value", [None, [], np.array([])])
def test_what_is_missing(value: Any) -> None:
    assert conditions_of([value], CLASS)[1] == conditions_of([value], NUMBERS)[1] == {0: "no value"}


@pytest.mark.parametrize("value", [[1, 2.5], (1, 2.5), np.array([1, 2.5]), "[1, 2.5]", [True, 2.5]])
def test_what_are_numbers(value: Any) -> None:
    told, wrong = conditions_of([value], NUMBERS)
    assert (told.tolist(), told.dtype, wrong) == ([[1.0, 2.5]], np.float32, {})


@pytest.mark.parametrize(
    "value", [1.0, [1], [1, 2, 3], [1, float("nan")], [1, 1e39], [1, 10**400], "1 2", [1, "2"], {}]
)
def test_what_are_not(value: Any) -> None:
    told, wrong = conditions_of([value], NUMBERS)
    assert told.tolist() == [[0, 0]] and "not a list of 2 finite numbers" in wrong[0]


def records(**carried: pa.Array) -> Records:
    count = len(next(iter(carried.values())))
    key = pa.array([str(i) for i in range(count)])
    return Records(
        shard="s", index=np.arange(count), key=key, payload=np.zeros((count, 1), np.float32), carried=carried
    )


@pytest.mark.parametrize(
    "column",
    [
        pa.array([3, None, 4, 0], pa.int64()),
        pa.array([3, None, 4, 0], pa.uint8()),
        pa.array([3, None, 1 << 63, 0], pa.uint64()),
        pa.array([3.0, None, 0.5, 0.0]),
        pa.array(["dog", None, "eel", "ant"]),
        pa.array([[3], None, [0, 0], [0]], pa.list_(pa.int64())),
        pa.array([b"3", None, b"x", b"0"]),
        pa.chunked_array([["dog"], [None, "eel", "ant"]]).combine_chunks(),
    ],
)
def test_a_column(column: pa.Array) -> None:
    earlier = Fault(stage=Stage.DECODE, reason=Reason.EMPTY_IMAGE, detail="no bytes")
    faults = {0: earlier}
    told = read_conditions(records(label=column), ConditionSource(condition=CLASS, column="label"), faults)
    assert told is not None and told.tolist() == [3, 0, 0, 0]
    assert faults.pop(0) is earlier and sorted(faults) == [1, 2]
    assert {fault.reason for fault in faults.values()} == {Reason.INVALID_CONDITION}
    assert faults[1].detail == "column 'label' has no value"


def test_a_field_of_json() -> None:
    texts = [json.dumps({"label": 1}), json.dumps({"label": "dog"}), json.dumps({"other": 1}), "[1]", "{", None]
    source = ConditionSource(condition=CLASS, column="json", field="label")
    for column in (pa.array(texts), pa.array([None if text is None else text.encode() for text in texts])):
        faults: dict[int, Fault] = {}
        told = read_conditions(records(json=column), source, faults)
        assert told is not None and told.tolist() == [1, 3, 0, 0, 0, 0] and sorted(faults) == [2, 3, 4, 5]
        assert "column 'json.label' has no value" in faults[4].detail
    struct = pa.array([{"label": 2}, {"label": None}])
    told = read_conditions(records(json=struct), source, faults := {})
    assert told is not None and told.tolist() == [2, 0] and list(faults) == [1]


def test_groups_without_those_that_have_none() -> None:
    group = Group(positions=np.array([1, 3, 4]), pixels=np.array([[1], [3], [4]]))
    fault = Fault(stage=Stage.MODEL, reason=Reason.INVALID_CONDITION, detail="none")
    assert list(with_conditions([group], None, {3: fault})) == [group]
    (left,) = with_conditions([group], np.zeros(5), {3: fault})
    assert (left.positions.tolist(), left.pixels.tolist()) == ([1, 4], [[1], [4]])
    assert not list(with_conditions([group], np.zeros(5), dict.fromkeys((1, 3, 4), fault)))


def test_as_a_user_types_it() -> None:
    assert [condition_of_text(text, CLASS) for text in ("3", "bee")] == [3, 1]
    assert condition_of_text("-0.5:1e3", NUMBERS) == (-0.5, 1000.0)
    for text in ("1", "1:2:3", "1:x", "1:inf"):
        with pytest.raises(ValueError, match="numbers"):
            condition_of_text(text, NUMBERS)


@pytest.mark.parametrize(
    "value",
    [
        {"label": 2, "json": {"label": 1}},
        json.dumps({"label": 2}),
        json.dumps({"key": "a", "json": json.dumps({"key": "a", "json": json.dumps({"label": 2})})}),
        {"json": {"label": 2}},
    ],
)
def test_a_field_of_json_also_where_a_job_has_written_the_json(value: Any) -> None:
    source = ConditionSource(condition=CLASS, column="json", field="label")
    column = pa.array([value, value])
    found = dict[int, Fault]()
    told = read_conditions(records(json=column), source, found)
    assert told is not None and (told.tolist(), found) == ([2, 2], {})
