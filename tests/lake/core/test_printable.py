"""Text of other people: whatever it holds, it is one line that moves no cursor."""

import random

import pytest

from lake.core.errors import LatentlakeError, ShardError
from lake.core.printable import printable

HOSTILE = [
    "\x1b[2J\x1b]0;title\x07",
    "a\nerror: all is well",
    "\r\x08\x7f\x00",
    "\u202egnp.exe",
    "\u2028\u2029\x85",
    "\x9b31m",
    "\ud800",
    "\U000e0001",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_it_is_one_line_that_a_terminal_shows_as_it_is(text: str) -> None:
    said = printable(f"before {text} after")
    assert said.isprintable()
    assert said.startswith("before ")
    assert said.endswith(" after")
    assert said.encode()


def test_plain_text_is_left_as_it_is() -> None:
    for text in ("", "photos/é/日本.png", "a\\nb", "x" * 300, "\N{GRINNING FACE}"):
        assert printable(text) == text


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    said = printable("beginning " + "x" * 15_000_000 + " end")
    assert len(said) == 300
    assert said.startswith("beginning x")
    assert said.endswith("x end")


def test_it_is_never_longer_than_it_may_be() -> None:
    source = random.Random(5)
    for most in (20, 80, 300):
        for size in (most - 1, most, most + 1, 5 * most):
            text = "".join(source.choice("ab\n\x1b\u202e\U000e0001é") for _ in range(size))
            assert len(printable(text, most)) <= most
            assert printable(text, most).isprintable()


@pytest.mark.parametrize("text", HOSTILE)
def test_every_error_is_one_line(text: str) -> None:
    for error in (LatentlakeError(text), ShardError(text * 1000, text)):
        assert str(error).isprintable()
        assert len(str(error)) <= 2000
