"""Files that describe the images of a directory, as Hugging Face's ``imagefolder`` has them, for images of other names.

``metadata.jsonl`` has one object a line, ``metadata.csv`` and ``metadata.parquet`` one row; their ``file_name`` is the
path of an image below the file's own directory. Fields that end in ``_file_name`` name further images.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from lake.formats.folder.metadata_table import Renamed, rewritten

TABLE = "metadata.parquet"
NAMES = ("metadata.jsonl", "metadata.csv", TABLE)
_NAME = "file_name"


def rewrite(name: str, lines: Iterable[bytes], renamed: Renamed) -> Iterator[bytes]:
    r"""The lines of a file with the new names, without the images that are not there. Other lines stay as they are.

    A table comes as one piece.

    Args:
      name: of the file, one of ``NAMES``.
      lines: of the file, with their ends.
      renamed: gives the name of each image.

    >>> lines = [b'{"file_name": "a.jpg", "text": "x"}\n', b'{"file_name": "b.jpg"}\n']
    >>> list(rewrite("metadata.jsonl", lines, {"a.jpg": "a.png"}.get))
    [b'{"file_name": "a.png", "text": "x"}\n']
    """
    if name == TABLE:
        return iter([rewritten(b"".join(lines), _NAME, renamed)])
    return _json_lines(lines, renamed) if name == NAMES[0] else _csv_lines(lines, renamed)


def _json_lines(lines: Iterable[bytes], renamed: Renamed) -> Iterator[bytes]:
    for line in lines:
        row = _parsed(line)
        if not isinstance(row, dict) or not isinstance(row.get(_NAME), str):
            yield line
        elif (new := _with_names(row, renamed)) is not None:
            yield line if new == row else json.dumps(new, ensure_ascii=False).encode() + b"\n"


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _csv_lines(lines: Iterable[bytes], renamed: Renamed) -> Iterator[bytes]:
    rows = csv.reader(io.TextIOWrapper(io.BytesIO(b"".join(lines)), "utf-8", "surrogateescape", newline=""))
    header = next(rows, [])
    yield _csv_line(header)
    for row in rows:
        if _NAME not in header or len(row) != len(header):
            yield _csv_line(row)
        elif (new := _with_names(dict(zip(header, row, strict=True)), renamed)) is not None:
            yield _csv_line(new.values())


def _csv_line(values: Iterable[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue().encode("utf-8", "surrogateescape")


def _with_names(row: dict[str, Any], renamed: Renamed) -> dict[str, Any] | None:
    """The row with new names; None if its image is not there."""
    if (name := renamed(row[_NAME])) is None:
        return None
    others = {key: renamed(value) or value for key, value in row.items() if _names_another(key, value)}
    return {**row, **others, _NAME: name}


def _names_another(key: str, value: object) -> bool:
    return key.endswith(f"_{_NAME}") and isinstance(value, str)
