"""Examples that are parsed together, against protobuf, which parses each by itself."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from lake.core.records import Array
from lake.formats.tfrecord import columnar, example
from lake.formats.tfrecord.columnar import plain_columns
from lake.formats.tfrecord.example import example_class
from lake.formats.tfrecord.ragged import Ragged

KINDS = {"image": "bytes", "label": "int64", "weight": "float", "absent": "int64"}
NUMBERS = [0, 1, -1, 127, 128, 300, 1 << 35, -(1 << 63), (1 << 63) - 1]


def made(names: list[str], rng: np.random.Generator) -> bytes:
    """An Example of some features, serialized in this order."""
    data = b""
    for name in names:
        one = example_class()()
        feature = one.features.feature[name]
        if name.startswith("image"):
            feature.bytes_list.value.append(rng.bytes(int(rng.choice([0, 1, 100, 200, 20_000]))))
        elif name.startswith("label"):
            feature.int64_list.value.extend(rng.choice(NUMBERS, int(rng.integers(0, 4))).tolist())
            feature.int64_list.SetInParent()
        else:
            feature.float_list.value.extend(rng.standard_normal(int(rng.integers(0, 5))).tolist())
            feature.float_list.SetInParent()
        data += one.features.SerializeToString()
    # The entries one after another: a map has no order of its own.
    size, length = len(data), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return b"\x0a" + length + bytes([size]) + data


def by_protobuf(records: list[bytes], monkeypatch: pytest.MonkeyPatch) -> dict[str, Ragged] | None:
    with monkeypatch.context() as context:
        context.setattr(example, "plain_columns", lambda *_: None)
        return example._plain(records, KINDS)


def bits(values: Array) -> Any:
    # NaN is not equal to itself, and protobuf changes its bits.
    return values.tolist() if values.dtype == object else np.where(values != values, 0, values).tobytes()


def same(one: dict[str, Ragged], other: dict[str, Ragged]) -> bool:
    assert one.keys() == other.keys() == KINDS.keys()
    return all(
        one[name].values.dtype == other[name].values.dtype
        and one[name].splits.dtype == other[name].splits.dtype
        and bits(one[name].values) == bits(other[name].values)
        and one[name].splits.tolist() == other[name].splits.tolist()
        for name in KINDS
    )


@pytest.mark.parametrize("seed", range(20))
def test_usual_records_are_parsed_as_protobuf_does(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    names = ["image", "label", "weight", "image2", "label of ü", "weight3"]
    records = [made(rng.permutation(names)[: rng.integers(0, 7)].tolist(), rng) for _ in range(40)]
    records = [b"" if record == b"\x0a\x00" else record for record in records]
    found, wanted = plain_columns(records, KINDS), by_protobuf(records, monkeypatch)
    assert found is not None and wanted is not None and same(found, wanted)


def test_what_is_found_is_what_protobuf_finds_whatever_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, kept = np.random.default_rng(0), 0
    whole = made(["label", "weight", "extra", "label2"], np.random.default_rng(5))
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 3)):
            data[rng.integers(len(data))] = rng.choice([0, 1, 2, 8, 0x0A, 0x12, 0x1A, 0x7F, 0x80, 0xFF])
        records = [whole, bytes(data[: rng.integers(1, len(data) + 20)]), whole]
        found = plain_columns(records, KINDS)
        if found is not None:
            wanted = by_protobuf(records, monkeypatch)
            assert wanted is not None and same(found, wanted), records[1]
            kept += 1
    assert kept > 100


@pytest.mark.parametrize(
    "features",
    [
        {"image": ("bytes_list", [b"a", b"b"])},  # several files
        {"label": ("float_list", [1.0])},  # another kind than is wanted
        {"label": None},  # a feature of no kind
    ],
)
def test_what_is_rare_is_left_to_protobuf(features: dict[str, Any]) -> None:
    one = example_class()()
    for name, given in features.items():
        one.features.feature[name].SetInParent()
        if given is not None:
            getattr(one.features.feature[name], given[0]).value.extend(given[1])
    assert plain_columns([one.SerializeToString()], KINDS) is None


def test_many_names_are_left_to_protobuf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "_MOST_NAMES", 3)
    rng = np.random.default_rng(0)
    assert plain_columns([made(["weight1", "weight2", "weight3"], rng)], KINDS) is not None
    assert plain_columns([made(["weight1", "weight2", "weight3", "weight4"], rng)], KINDS) is None


def peak_of(records: list[bytes]) -> int:
    """Bytes of memory that parsing takes at its height."""
    tracemalloc.start()
    try:
        plain_columns(records, KINDS)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_one_long_name_takes_no_memory_for_every_other_record() -> None:
    rng = np.random.default_rng(0)
    records = [made(["label" + "x" * 20_000], rng), *(made(["label"], rng) for _ in range(500))]
    assert plain_columns(records, KINDS) is None
    assert peak_of(records) < 1 << 20


def test_numbers_take_little_more_memory_than_their_bytes() -> None:
    one = example_class()()
    one.features.feature["weight"].float_list.value.extend([0.5] * 2000)
    records = [one.SerializeToString()] * 100
    assert plain_columns(records, {"weight": "float"}) is not None
    assert peak_of(records) < 5 * sum(map(len, records))


def test_many_integers_are_left_to_protobuf(monkeypatch: pytest.MonkeyPatch) -> None:
    one = example_class()()
    one.features.feature["label"].int64_list.value.extend([7] * 20)
    monkeypatch.setattr(columnar, "_MOST_INTEGER_BYTES", 20)
    assert plain_columns([one.SerializeToString()], KINDS) is not None
    assert plain_columns([one.SerializeToString()] * 2, KINDS) is None
