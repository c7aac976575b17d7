"""Reckons on from the names of a page to where pages of as many names may begin."""

from collections.abc import Iterator, Sequence
from itertools import takewhile
from string import digits

_HEX = "0123456789abcdef"
_PRECISION = 6  # characters that are reckoned with, from the first one in which names differ
_SHARE = 0.9  # of a page, so that a page holds what is expected although names are not spread evenly


def names_ahead(names: Sequence[str], start: int) -> Iterator[str]:
    """Names behind some names, each as far from the one before as the last is from the first.

    A name is read as a number whose digits are its characters. A place has all digits, of base 16 if that is how the
    names look, or else the characters that stand where names differ, or the one that all names have.

    Args:
      names: in order.
      start: how many characters at their beginning stay as they are.

    Yields:
      Names in order. Nothing need be there.

    >>> names = names_ahead([f"a/x-{number:05d}" for number in range(1000)], start=2)
    >>> next(names), next(names)
    ('a/x-01898', 'a/x-02797')
    """
    first, last = names[0], names[-1]
    common = len(common_start(first, last))
    stop = min(max(map(len, names)), common + _PRECISION)
    others = {*"".join(name[common:] for name in names)}
    places = _alphabets([name[start:stop] for name in names], stop - start, others)
    value = _number(last[start:stop], places)
    step = int((value - _number(first[start:stop], places)) * _SHARE)
    # What has no place any more is behind every name of this form.
    while step > 0 and (name := _text(value := value + step, places)) is not None:
        yield last[:start] + name


def common_start(one: str, other: str) -> str:
    """What two names begin with."""
    return one[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))]


def _alphabets(names: Sequence[str], length: int, others: set[str]) -> list[str]:
    """The characters that each place can have, in order; ``others`` are those of the places where names differ."""
    seen = [{name[at] for name in names if at < len(name)} for at in range(length)]
    base16 = any(found <= {*_HEX} and not found <= {*digits} for found in seen if len(found) > 1)
    own = _HEX if base16 else digits
    return [own if found <= {*own} else "".join(sorted(others if found <= others else found)) for found in seen]


def _number(name: str, places: Sequence[str]) -> int:
    value = 0
    for at, characters in enumerate(places):
        value = value * len(characters) + (characters.index(name[at]) if at < len(name) else 0)
    return value


def _text(value: int, places: Sequence[str]) -> str | None:
    found = list[str]()
    for characters in reversed(places):
        value, digit = divmod(value, len(characters))
        found.append(characters[digit])
    return None if value else "".join(reversed(found))
