"""What the columns of a CSV file are: by its first line, where that is a header, and by the numbers that a record has.

- pixels: ``pixel0`` to ``pixel783`` (or from 1), else all columns but those below.
- carried: ``label``, ``labels``, ``class``, ``cls``, ``target``, ``*_label``; without a header the first column, where
  there is one more than a record has numbers.
- key: ``key``, ``filename``, ``path``, ``id``, ``__key__``.
"""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

NUMBERED = "pixels"  # what columns that are numbered are called together
_PIXEL = re.compile(r"pixel_?(\d+)", re.IGNORECASE)
_LABEL = re.compile(r"labels?|class|cls|target|.+_label", re.IGNORECASE)
_KEYS = ("key", "filename", "path", "id", "__key__")
_FEWEST = 4  # numbers in a line
_DELIMITERS = (b",", b";", b"\t")


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvTable:
    """The columns of one file.

    Attributes:
      delimiter: between fields.
      names: of the columns in order.
      header: the first line holds the names.
    """

    delimiter: str
    names: tuple[str, ...]
    header: bool

    def pixels(self, carry: Sequence[str], key: str | None) -> list[str]:
        """Names of the columns with the numbers of a record: pixels in their own order, others in that of the file.

        Args:
          carry: names of the carried columns.
          key: name of the key.
        """
        numbered = self._numbered()
        others = {*self.labels(), *carry, *_KEYS, key} if self.header else {*self.labels(), *carry}
        return [name for _, name in sorted(numbered)] or [name for name in self.names if name not in others]

    def title(self, pixels: Sequence[str]) -> str:
        """The names of the numbers of a record, as one; numbered columns need none.

        Args:
          pixels: their names.
        """
        return NUMBERED if self._numbered() else ",".join(pixels)

    def problem(self) -> str | None:
        """Why nobody can tell which column is which; None where the names tell it."""
        if twice := [name for name, count in Counter(self.names).items() if count > 1]:
            return f"two columns have the name {twice[0]!r}"
        numbers = sorted(number for number, _ in self._numbered())
        first = numbers[0] if numbers else 0
        if first > 1 or numbers != list(range(first, first + len(numbers))):
            return "its columns of pixels are not numbered from 0 or 1 on, each once"
        return None

    def _numbered(self) -> list[tuple[int, str]]:
        """Number and name of each column of pixels."""
        return [(int(found[1]), name) for name in self.names if (found := _PIXEL.fullmatch(name))]

    def labels(self) -> list[str]:
        """Names of the columns that are usually carried."""
        return [name for name in self.names if _LABEL.fullmatch(name)]

    def usual_key(self) -> str | None:
        """The key by its usual names."""
        return next((name for name in _KEYS if name in self.names), None)


def table_of(line: bytes, length: int | None) -> CsvTable:
    """The columns of a file.

    Args:
      line: its first line.
      length: numbers that a record has; None if it is not known.
    """
    delimiter = max(_DELIMITERS, key=line.count).decode()
    fields = fields_of(line, delimiter)
    if not all(map(is_number, fields)):
        return CsvTable(delimiter=delimiter, names=tuple(name.strip() for name in fields), header=True)
    labelled = length is not None and len(fields) == length + 1
    names = [f"pixel{at}" for at in range(len(fields) - labelled)]
    return CsvTable(delimiter=delimiter, names=("label", *names) if labelled else tuple(names), header=False)


def fields_of(line: bytes, delimiter: str) -> list[str]:
    r"""The fields of a line. One that is no CSV, for a carriage return or a very long field, is cut at each delimiter.

    >>> fields_of(b'5,"a,b",0', ","), fields_of(b"5,\r6", ",")
    (['5', 'a,b', '0'], ['5', '\r6'])
    """
    text = line.decode("utf-8", "backslashreplace")
    try:
        return next(csv.reader([text], delimiter=delimiter), [])
    except csv.Error:
        return text.split(delimiter)


def looks_numeric(lines: Sequence[bytes]) -> bool:
    """Whether the first lines of a file, of which the last may be cut, are of numbers, or name pixels.

    >>> looks_numeric([b"label,pixel0,pixel1,pixel2,pixel3"]), looks_numeric([b"name,age", b"Ann,7"])
    (True, False)
    """
    for line in lines:
        fields = fields_of(line, max(_DELIMITERS, key=line.count).decode())
        numbers, pixels = sum(map(is_number, fields)), sum(bool(_PIXEL.fullmatch(name)) for name in fields)
        if pixels >= _FEWEST or numbers >= max(_FEWEST, len(fields) - 2):
            return True
    return False


def is_number(text: str) -> bool:
    """Whether text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
