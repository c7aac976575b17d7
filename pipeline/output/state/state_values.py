"""Checks of the values that files of state hold: manifest, receipts, plans, ``_job.json``.

Who can write into an output must not thereby choose which files a run removes or replaces, nor end it with a trace. A
checksum does not help against that: it can be computed for any content.
"""

import re
from collections.abc import Callable, Container, Mapping

from lake.core.printable import printable
from pipeline.output.layout import DATA

Rule = Callable[[object], None]  # raises ValueError for a value that it does not take

_MOST = 2**63 - 1
_LARGEST = 1e12  # of other numbers; enough for seconds
_SEPARATOR = re.compile(r"[/\\]")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def utf8(value: object) -> None:
    """Take text that can be encoded as UTF-8."""
    if not isinstance(value, str):
        raise _refusal(value, "no text")
    value.encode()  # UnicodeEncodeError is a ValueError


def natural(value: object) -> None:
    """Take an integer from 0 on that fits in 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST:
        raise _refusal(value, "no count")


def number(value: object) -> None:
    """Take a finite number, such as one of seconds."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not -_LARGEST < value < _LARGEST:
        raise _refusal(value, "no number")


def truth(value: object) -> None:
    """Take true and false."""
    if not isinstance(value, bool):
        raise _refusal(value, "neither true nor false")


def one_of(known: Container[str]) -> Rule:
    """Return a rule that takes some names only."""

    def check(value: object) -> None:
        if not isinstance(value, str) or value not in known:
            raise _refusal(value, "none of the names that are known")

    return check


def list_of(rule: Rule) -> Rule:
    """Return a rule that takes lists of what another one takes."""

    def check(value: object) -> None:
        if not isinstance(value, list):
            raise _refusal(value, "no list")
        for item in value:
            rule(item)

    return check


def mapping_of(rule: Rule) -> Rule:
    """Return a rule that takes objects with text for names, and values that another rule takes."""

    def check(value: object) -> None:
        if not isinstance(value, Mapping):
            raise _refusal(value, "no object")
        for name, item in value.items():
            utf8(name)
            rule(item)

    return check


def optional(rule: Rule) -> Rule:
    """Return a rule that takes None, too."""
    return lambda value: None if value is None else rule(value)


def relative(value: object) -> None:
    """Take a name below a directory, with forward slashes.

    >>> relative("train/a-00000")
    >>> relative("a/../../victim")
    Traceback (most recent call last):
    ...
    ValueError: 'a/../../victim' is no name below a directory
    """
    utf8(value)
    assert isinstance(value, str)
    if "\0" in value or any(part in ("", ".", "..") for part in value.split("/")) or _climbs(value):
        raise _refusal(value, "no name below a directory")


def data_name(value: object) -> None:
    """Take the name of a data file, relative to the output.

    >>> data_name("latents/train/a-00000.parquet")
    >>> data_name("_SUCCESS")
    Traceback (most recent call last):
    ...
    ValueError: '_SUCCESS' is no name below latents/, metrics/, images/, error_maps/, rejects/
    """
    try:
        relative(value)
    except ValueError as error:
        raise ValueError(f"output {error}") from error
    directory, slash, _ = str(value).partition("/")
    if directory not in DATA or not slash:
        raise ValueError(f"{_shown(value)} is no name below {', '.join(f'{name}/' for name in DATA)}")


def sha256(value: object) -> None:
    """Take a SHA-256 as 64 hexadecimal digits; the digest of a model becomes part of a URI."""
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise _refusal(value, "no digest")


def check_fields(value: object, rules: Mapping[str, Rule], *, whole: bool = False) -> None:
    """Check those fields of an object that have a rule.

    Args:
      value: the object.
      rules: by the name of the field.
      whole: whether every one of these fields must be there.

    Raises:
      ValueError: it is no object, or a field does not fit; the text names the field and its value.
    """
    if not isinstance(value, Mapping):
        raise _refusal(value, "no object")
    for name, rule in rules.items():
        if name not in value:
            if whole:
                raise ValueError(f"it has no {name}")
            continue
        try:
            rule(value[name])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error


def _climbs(name: str) -> bool:
    """Whether a name leaves its directory where backslashes separate. On Linux a file may have one in its name."""
    return "\\" in name and ".." in _SEPARATOR.split(name)


def _refusal(value: object, what: str) -> ValueError:
    return ValueError(f"{_shown(value)} is {what}")


def _shown(value: object) -> str:
    # Not repr() alone: of an integer with thousands of digits it raises.
    try:
        return printable(repr(value), 80)
    except ValueError:
        return "a number with thousands of digits"
