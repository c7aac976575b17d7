"""One value of an option, as text and as a value of Python."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lake.cli.check import check_names, check_values
from lake.cli.option import Option, area, count, fraction, number_or_word, percent, positive, size
from lake.core.errors import UsageError


def one(value: Any, **option: Any) -> Any:
    return check_values({"x": value}, [Option(flag="--x", field="x", help="", **option)])["x"]


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (percent, "1", 1),
        (percent, np.int64(100), 100),
        (fraction, "0.5", 0.5),
        (fraction, 1, 1.0),
        (fraction, np.float32(0.5), 0.5),
        (count, "0", 0),
        (positive, 1, 1),
        (size, "2K", 2048),
        (size, "10MB", 10_000_000),
        (size, "10 mb", 10_000_000),
        (size, "1.5GiB", 3 << 29),
        (size, "0.3TB", 300_000_000_000),
        (size, "4096B", 4096),
        (area, "64M", 64 << 20),
        (area, "640x480", 307_200),
        (fraction, "5%", 0.05),
        (fraction, "0.7 %", 0.007),
        (fraction, "100%", 1.0),
        (size, 1 << 40, 1 << 40),
        (number_or_word, 25, "25"),
        (number_or_word, 12.5, "12.5"),
        (number_or_word, "sigma", "sigma"),
        (str, Path("a/b"), "a/b"),
    ],
)
def test_text_and_values_of_python_are_taken(kind: Any, given: Any, value: Any) -> None:
    taken = one(given, type=kind)
    assert (type(taken), taken) == (type(value), value)
    assert one(taken, type=kind) == value


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        *((percent, given) for given in ("0", 0, 101, 2.5, True, None, "", "many", b"5", [5], "9" * 5000)),
        *((fraction, given) for given in (1.01, "-0.1", "nan", float("nan"), False, None, "half", "101%", "%", "5%%")),
        *((area, given) for given in ("10MB", "1MiB", "2x", "0x5", "1.5x2", 2.5)),
        *((count, given) for given in (-1, "-1", 0.0, "1.0")),
        *((positive, given) for given in (0, "0")),
        *(
            (size, given)
            for given in (0, "0K", "K", "infK", "nanK", "1e400G", -5, 1.5, "5%", "1.5", "2Ki", "2iB", "10Mb/s")
        ),
        *((number_or_word, given) for given in ("", True, float("inf"), b"x", None)),
        *((str, given) for given in ("", 5, b"x", None, ["x"])),
    ],
)
def test_what_an_option_does_not_take_is_named(kind: Any, given: Any) -> None:
    with pytest.raises(UsageError, match=r"^x: invalid \w+ value: .*; give ") as error:
        one(given, type=kind)
    assert len(str(error.value)) < 250


def test_a_choice_and_its_nearest() -> None:
    assert one("crop", choices=("fit", "crop")) == "crop"
    for wrong, text in (("corp", "did you mean crop?"), ("FIT", "did you mean fit?"), (5, "choose from fit, crop")):
        with pytest.raises(UsageError) as error:
            one(wrong, choices=("fit", "crop"))
        assert text in str(error.value)


def test_a_single_item_is_one_of_many() -> None:
    assert one("shards/", many=True) == ("shards/",)
    assert one(Path("shards"), many=True) == ("shards",)
    assert one((name for name in ("a", "b")), many=True) == ("a", "b")
    assert one([8, "9"], many=True, type=positive) == (8, 9)
    assert one(8, many=True, type=positive) == (8,)
    for wrong in (b"shards", 5, [["a"]], ["a", ""]):
        with pytest.raises(UsageError, match="invalid word value"):
            one(wrong, many=True)
    with pytest.raises(UsageError, match="takes 2 values, and is given 1"):
        one("ab", arity=2)


def test_a_switch_is_true_or_false() -> None:
    for given, value in ((True, True), ("false", False), ("True", True), (np.bool_(False), False)):
        assert one(given, switch=True) is value
    for wrong in ("no", 1, None, ""):
        with pytest.raises(UsageError, match="invalid switch value"):
            one(wrong, switch=True)


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"^unknown option 'qualty'; did you mean quality\?$"):
        check_names(["seed", "qualty"], ["seed", "quality"])


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (size, 1 << 20, "1MiB"),
        (size, 256 << 20, "256MiB"),
        (size, 3 << 29, "1.5GiB"),
        (size, 10_000_000, "10MB"),
        (size, 1 << 60, "1048576TiB"),
        (size, 999, "999B"),
        (area, 128 << 20, "128M"),
        (area, 307_200, "300K"),
        (area, 307_201, "307201"),
        (fraction, 0.05, "5%"),
        (fraction, 0.007, "0.7%"),
        (fraction, 1.0, "100%"),
        (fraction, 0.125, "12.5%"),
    ],
)
def test_sizes_and_shares_are_written_back_as_they_are_typed(kind: Any, value: Any, text: str) -> None:
    option = Option(flag="--x", field="x", help="(default {default})", type=kind)
    assert option.plain(value) == text
    assert option.described(value) == f"(default {text})"
    assert one(text, type=kind) == value


def test_any_size_comes_back() -> None:
    rng = np.random.default_rng(0)
    for value in [*rng.integers(1, 1 << 50, 200).tolist(), *(10**power for power in range(16))]:
        assert one(Option(flag="--x", field="x", help="", type=size).plain(value), type=size) == value
    for value in rng.integers(0, 10_001, 200).tolist():
        share = value / 10_000
        assert one(Option(flag="--x", field="x", help="", type=fraction).plain(share), type=fraction) == share
