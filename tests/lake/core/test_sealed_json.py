"""A checked file is the very text that was written, or it is refused."""

import json
from typing import Any

import google_crc32c
import pytest

from lake.core import sealed_json
from lake.core.errors import VerifyError

VALUE = {"name": "é\n\ud800", "small": 1e-05, "big": 1e300, "list": [1, 2.5, None, True], "nested": {"a": {}, "b": []}}


def test_a_value_comes_back() -> None:
    data = sealed_json.dumps(VALUE)
    assert sealed_json.loads(data, "x") == VALUE
    assert json.loads(data) == {**VALUE, "check": json.loads(data)["check"]}
    assert sealed_json.dumps(json.loads(data)) == data


@pytest.mark.parametrize("value", [VALUE, {}, {"a": {}}, {"a": [{}]}, {"a": "}\n}"}, {"check": 1, "b": 2}], ids=repr)
def test_the_check_is_that_of_the_text_without_it(value: dict[str, Any]) -> None:
    value = {name: item for name, item in value.items() if name != "check"}
    expected = f"{google_crc32c.value((json.dumps(value, indent=2) + chr(10)).encode()):08x}"
    assert sealed_json.dumps(value) == (json.dumps({**value, "check": expected}, indent=2) + "\n").encode()
    assert sealed_json.dumps({"check": "old", **value}) == sealed_json.dumps(value)


def test_every_flipped_bit_is_found() -> None:
    whole = sealed_json.dumps(VALUE)
    for at in range(len(whole) * 8):
        data = bytearray(whole)
        data[at // 8] ^= 1 << at % 8
        with pytest.raises(VerifyError, match=r"^/out/_SUCCESS: damaged \(.+\); remove it and run the job again$"):
            sealed_json.loads(bytes(data), "/out/_SUCCESS")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[1]",
        b"null",
        b"{}",
        json.dumps(VALUE).encode(),
        sealed_json.dumps(VALUE)[:-1],
        sealed_json.dumps(VALUE) + b"\n",
        json.dumps(json.loads(sealed_json.dumps(VALUE))).encode(),
        b"[" * 200_000,
        b'{"a": NaN, "check": "00000000"}',
    ],
    ids=["empty", "no text", "list", "null", "unchecked {}", "unchecked", "cut", "longer", "spelled", "deep", "NaN"],
)
def test_what_was_not_written_is_refused(data: bytes) -> None:
    with pytest.raises(VerifyError, match=r"_job\.json: damaged"):
        sealed_json.loads(data, "_job.json")


def test_numbers_that_are_no_json_are_not_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        sealed_json.dumps({"mse": float("nan")})
