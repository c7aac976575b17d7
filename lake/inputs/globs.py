"""Globs and braces in the names of inputs, and which names a directory or glob leaves out."""

import re
from collections.abc import Iterator
from functools import cached_property
from itertools import product

_MAGIC = re.compile(r"[*?\[]")
_TOKENS = re.compile(r"(\*\*/|\*\*|\*|\?|\[[^\]/]+\])")
_RANGE = re.compile(r"(-?\d+|[A-Za-z])\.\.(-?\d+|[A-Za-z])(?:\.\.(-?\d+))?")
_MOST = 1 << 20  # names of one pair of braces

# What may not stand at the beginning of a name that a wildcard begins.
_HIDDEN = r"(?![._])"
_HIDDEN_DIRECTORY = r"(?!\.|_[^/]*(?:/|$))"
_HIDDEN_BEFORE_NAME = r"(?!\.|_[^/]*/)"  # as _HIDDEN, but the file's own name may begin with an underscore
_NOTHING = ""


class Glob:
    """A pattern of paths below a fixed directory: ``*`` within a name, ``**`` across directories, ``?``, ``[...]``.

    A wildcard does not stand for the dot or underscore that a hidden name begins with; the pattern has to say it
    (``_DSC*.png``, ``.cache/**``).

    Args:
      uri: of the files, with wildcards.
      literal: how many of its parts between slashes are names, whatever characters they have.

    Attributes:
      base: the deepest directory above all matches.
      pattern: what is below it.

    >>> glob = Glob("photos/2024*/*.png")
    >>> glob.base, glob.start, glob.deep
    ('photos', '2024', True)
    >>> glob.matches("2024-05/a.png"), glob.matches("2024-05/_a.png"), glob.may_hold("2023-12")
    (True, False, False)
    """

    def __init__(self, uri: str, literal: int = 0) -> None:
        parts = uri.split("/")
        first = next(i for i, part in enumerate(parts) if i >= literal and _MAGIC.search(part))
        self.base = "/".join(parts[:first]) or ("/" if uri.startswith("/") else ".")
        self.pattern = "/".join(parts[first:])
        self._parts = parts[first:]

    @classmethod
    def everything(cls, directory: str) -> "Glob":
        """All files below a directory, whatever characters are in its name."""
        glob = cls("**")
        glob.base = directory.rstrip("/") or "/"
        return glob

    @property
    def start(self) -> str:
        """What the paths of all matches begin with."""
        found = _MAGIC.search(self.pattern)
        return self.pattern[: found.start()] if found else self.pattern

    @property
    def deep(self) -> bool:
        """Whether matches may be below subdirectories of the base."""
        return len(self._parts) > 1 or "**" in self.pattern

    @property
    def whole(self) -> bool:
        """Whether every file below the base is meant."""
        return self.pattern == "**"

    def matches(self, path: str, *, underscored: bool = False) -> bool:
        """Whether a file is meant.

        Args:
          path: of the file below the base.
          underscored: its own name may begin with an underscore, as those of cameras do.
        """
        return bool((self._underscored if underscored else self._visible).fullmatch(path))

    def hides(self, path: str) -> bool:
        """Whether a path that does not match would do so if it had no hidden names."""
        return bool(self._all.fullmatch(path))

    def may_hold(self, directory: str) -> bool:
        """Whether matches may be below a directory, by its path below the base; "" for the base."""
        names = directory.split("/") if directory else []
        crossing = next((i for i, part in enumerate(self._parts) if "**" in part), None)
        fixed = len(self._parts) - 1 if crossing is None else crossing
        if any(level.fullmatch(name) is None for level, name in zip(self._levels[:fixed], names, strict=False)):
            return False
        return len(names) <= fixed or (crossing is not None and not self._leaves_out(names[fixed:]))

    def _leaves_out(self, names: list[str]) -> bool:
        """Whether a name below ``**`` is hidden, and no part of the pattern says so."""
        says = any(part.startswith((".", "_", "[")) for part in self._parts)
        return not says and any(is_hidden(name) for name in names)

    @cached_property
    def _visible(self) -> re.Pattern[str]:
        return _compile(self.pattern, _HIDDEN)

    @cached_property
    def _underscored(self) -> re.Pattern[str]:
        return _compile(self.pattern, _HIDDEN_BEFORE_NAME)

    @cached_property
    def _all(self) -> re.Pattern[str]:
        return _compile(self.pattern, _NOTHING)

    @cached_property
    def _levels(self) -> list[re.Pattern[str]]:
        return [_compile(part, _HIDDEN_DIRECTORY) for part in self._parts]


def literal_parts(uri: str) -> Iterator[int]:
    """How many parts of a glob may be names, since one of them has brackets and others follow it that have wildcards.

    >>> list(literal_parts("data [v2]/[a-z]/*.png")), list(literal_parts("data/[a-z].png"))
    ([1, 2], [])
    """
    parts = uri.split("/")
    for count in range(1, len(parts)):
        if "[" in parts[count - 1] and any(_MAGIC.search(part) for part in parts[count:]):
            yield count


def is_glob(uri: str) -> bool:
    """Whether a URI has wildcards."""
    return _MAGIC.search(uri.rpartition("://")[2]) is not None


def is_hidden(name: str) -> bool:
    """Whether a file or directory of this name is left out of directories: markers, logs, temporary files."""
    return name.startswith((".", "_"))


def expand(uri: str) -> Iterator[str]:
    """The URIs that braces stand for: ``{a,b}``, ``{000..099}`` (with ``..`` and a step), also nested.

    Args:
      uri: may have no braces; then it is the only result.

    Raises:
      ValueError: a range has more than a million numbers.

    >>> list(expand("s-{08..10}.{tar,tgz}"))
    ['s-08.tar', 's-08.tgz', 's-09.tar', 's-09.tgz', 's-10.tar', 's-10.tgz']
    >>> list(expand("{x}")), list(expand("a{b,{1..2}}"))
    (['{x}'], ['ab', 'a1', 'a2'])
    """
    if (pair := _braces(uri)) is None:
        yield uri
        return
    start, stop, choices = pair
    for choice, rest in product(choices, list(expand(uri[stop:]))):
        yield from (uri[:start] + one + rest for one in expand(choice))


def _braces(uri: str) -> tuple[int, int, list[str]] | None:
    """The first pair of braces that stands for several texts: its start, its end, and the texts."""
    for start, character in enumerate(uri):
        if (
            character == "{"
            and (stop := _closing(uri, start)) is not None
            and (found := _choices(uri[start + 1 : stop]))
        ):
            return start, stop + 1, found
    return None


def _closing(uri: str, start: int) -> int | None:
    depth = 0
    for at in range(start, len(uri)):
        depth += {"{": 1, "}": -1}.get(uri[at], 0)
        if depth == 0:
            return at
    return None


def _choices(inner: str) -> list[str]:
    if (found := _RANGE.fullmatch(inner)) is not None:
        return _range(found[1], found[2], int(found[3] or 1))
    parts, depth = [""], 0
    for character in inner:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts if len(parts) > 1 else []


def _range(first: str, last: str, step: int) -> list[str]:
    """The numbers or letters of a range, both ends included; numbers have leading zeros if an end has some."""
    if first.isalpha() != last.isalpha():
        return []
    low, high = (ord(end) if end.isalpha() else int(end) for end in (first, last))
    step = (abs(step) or 1) * (1 if high >= low else -1)
    if abs(high - low) // abs(step) >= _MOST:
        raise ValueError(f"{{{first}..{last}}} stands for more than {_MOST:,} names")
    numbers = range(low, high + (1 if step > 0 else -1), step)
    if first.isalpha():
        return [chr(number) for number in numbers]
    padded = any(len(end.lstrip("-")) > 1 and end.lstrip("-").startswith("0") for end in (first, last))
    width = max(len(first), len(last)) if padded else 0
    return [f"{number:0{width}d}" for number in numbers]


def _compile(glob: str, hidden: str) -> re.Pattern[str]:
    parts, begins = list[str](), True
    for token in _TOKENS.split(glob):
        if token:
            parts.append(_expression(token, hidden if begins else "", hidden))
            begins = token.endswith("/")
    return re.compile("".join(parts), re.DOTALL)


def _expression(token: str, here: str, below: str) -> str:
    """The regular expression of a token; ``here`` and ``below`` guard its own name and those of directories below."""
    if token == "**/":
        return f"(?:{here}[^/]*/(?:{below}[^/]*/)*)?"
    if token == "**":
        return f"{here}[^/]*(?:/{below}[^/]*)*"
    if token in ("*", "?"):
        return f"{here}[^/]{'*' if token == '*' else ''}"
    if token.startswith("[") and token.endswith("]") and len(token) > 2:
        return _class(token[1:-1], here)
    return re.escape(token)


def _class(inner: str, here: str) -> str:
    text = inner.replace("\\", "\\\\")
    if text[0] in "!^":
        return f"{here}[^/{text[1:]}]" if len(text) > 1 else re.escape(f"[{inner}]")
    # A class that names the dot or the underscore says that hidden names are meant.
    return f"[{text}]" if {".", "_"} & set(text) else f"{here}[{text}]"
