"""What is lost of a row group with damaged pages.

A page's checksum covers all rows of the page, so these are lost with it, of this column; Parquet tells no more. An
image may tell more itself: every chunk of a PNG file has a checksum. So images in a damaged page are kept where they
are whole by their own checksums. They are in the right row, too: in such pages a value begins where the one before
ends, so after a wrong length there are too few bytes for the last value, and a page that lacks values proves none. Nor
does one with a null, which only the page's checksum can vouch for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.core.errors import ShardError, UnreadableError
from lake.core.records import Array, Shard
from lake.formats.common.parquet_footer import scan_footer
from lake.formats.common.shard_errors import damage
from lake.formats.parquet import types
from lake.formats.parquet.footer import Opened
from lake.formats.parquet.page_header import PLAIN
from lake.formats.parquet.pages import StoredPage, pages_of, rows_of
from lake.images.codecs import png


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What is lost of a row group.

    Attributes:
      causes: by the path of a column that lacks rows: for each row the number of the problem, from 1 on, or 0 for a row
        that is there.
      absent: by the same path: for each row whether the column has none to read, bool; rows that are lost may be read.
      problems: in words.
      damaged: all pages that are damaged or refer to a damaged one.
      passed_over: those of them that must not be read.
      proven: the column whose pages are read without their checksums, since its images are whole by their own.
    """

    causes: dict[str, Array] = field(default_factory=dict)
    absent: dict[str, Array] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    damaged: list[StoredPage] = field(default_factory=list)
    passed_over: list[StoredPage] = field(default_factory=list)
    proven: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column in one row group, with damaged pages.

    Attributes:
      path: its name, with those of the structs around it.
      pages: all of them.
      spans: the rows of each: the first one in the row group, and the one after the last.
    """

    path: str
    pages: Sequence[StoredPage]
    spans: Sequence[tuple[int, int]]

    @property
    def rows(self) -> int:
        """How many it has."""
        return self.spans[-1][1]

    def lost(self) -> Iterator[tuple[StoredPage, int, int]]:
        """What damaged pages cost: each the page that is damaged, the first row, and the one after the last."""
        dictionary = next((page for page in self.pages if page.is_dictionary and not page.sound), None)
        for page, (start, stop) in zip(self.pages, self.spans, strict=True):
            if not page.sound and not page.is_dictionary:
                yield page, start, stop
            elif dictionary is not None and page.needs_dictionary:
                yield dictionary, start, stop

    def passed_over(self, *, proven: bool) -> list[StoredPage]:
        """Pages that must not be read; with ``proven`` those of values are read."""
        bad = [page for page in self.pages if not page.sound and not (proven and _holds_values(page))]
        lost = any(page.is_dictionary for page in bad)
        return [page for page in self.pages if page in bad or (lost and page.needs_dictionary)]


def find_losses(shard: Shard, file: Opened, group: int, leaves: Sequence[str], image: str | None, room: int) -> Losses:
    """Compare every page of some columns in a row group with its checksum.

    Args:
      shard: for errors.
      file: the same, open.
      group: number of the row group.
      leaves: paths of the columns.
      image: path of the one with image files; None if there is none.
      room: bytes of images that are held at once.

    Raises:
      pa.ArrowInvalid: the headers of the pages do not tell which rows are lost.
      UnreadableError: the store failed.
    """
    found, schema = Losses(), file.file.schema
    for number, chunk in enumerate(scan_footer(file.footer).groups[group].chunks):
        leaf = schema.column(number)
        pages = pages_of(file.stream, chunk) if leaf.path in leaves else []
        if all(page.sound for page in pages):
            continue
        spans = rows_of(pages, leaf, file.metadata.row_group(group).num_rows)
        column = Column(path=leaf.path, pages=pages, spans=spans)
        whole = None
        if leaf.path == image and leaf.physical_type == "BYTE_ARRAY" and not leaf.max_repetition_level:
            whole = _whole_images(shard, file, group, column, room)
        _note(found, column, whole)
    return found


def _note(found: Losses, column: Column, whole: Array | None) -> None:
    """Note the rows that a column lacks, but not those whose images are whole."""
    causes, absent = np.zeros(column.rows, np.int32), np.zeros(column.rows, bool)
    for page, start, stop in column.lost():
        kind = "dictionary" if page.is_dictionary else "page"
        text = f"the {kind} of column {column.path!r} at byte {page.start} does not match its checksum"
        if text not in found.problems:
            found.problems.append(text)
        causes[start:stop] = found.problems.index(text) + 1
        absent[start:stop] = whole is None or not _holds_values(page)
    if whole is not None:
        causes[whole] = 0
        found.proven.append(column.path)
    found.causes[column.path], found.absent[column.path] = causes, absent
    found.damaged.extend(column.passed_over(proven=False))
    found.passed_over.extend(column.passed_over(proven=whole is not None))


def _whole_images(shard: Shard, file: Opened, group: int, column: Column, room: int) -> Array | None:
    """Rows whose images are whole by their own checksums, bool ``[rows]``; None if damaged pages cannot be read."""
    suspects = [page for page in column.pages if not page.sound and _holds_values(page)]
    if not suspects:
        return None
    there = np.ones(column.rows, bool)
    for page, start, stop in column.lost():
        there[start:stop] = _holds_values(page)
    # A dictionary holds a value once, and every row may refer to its longest one.
    size = max(1, room // max(page.header.unpacked for page in suspects))
    read = file.without(column.passed_over(proven=True), checked=False)
    try:
        with damage(shard):
            batches = read.batches(size, columns=[column.path], groups=[group])
            states = np.array([state for batch in batches for state in _states(batch.column(0))], np.int8)
    except UnreadableError:
        raise
    except ShardError:
        return None
    if len(states) != there.sum():
        return None
    return _proven(column, there, states)


_NULL, _WHOLE = 1, 2  # states of an image


def _proven(column: Column, there: Array, states: Array) -> Array:
    """Rows whose images the states prove; a null only where a page is sound that says so."""
    found = np.zeros(column.rows, np.int8)
    found[there] = states
    whole: Array = found != 0
    for page, start, stop in column.lost():
        if not page.is_dictionary and (found[start:stop] == _NULL).any():
            whole[start:stop] = False
    return whole


def _states(column: pa.Array) -> Iterator[int]:
    images = types.stored(column)
    images = pc.struct_field(images, "bytes") if pa.types.is_struct(images.type) else images
    return (_NULL if data is None else _WHOLE if png.whole(data) else 0 for data in images.to_pylist())


def _holds_values(page: StoredPage) -> bool:
    """Whether a page holds values one after another, each behind its length."""
    return page.is_dictionary or page.header.encoding == PLAIN
