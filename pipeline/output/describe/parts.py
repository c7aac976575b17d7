"""The parts of an output that other tools read: its data directories, and what the files in each of them are."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lake.core.printable import printable
from lake.core.records import OutputFile
from pipeline.output.layout import DATA, IMAGES, LATENTS, MAPS, METRICS, REJECTS, Layout
from pipeline.output.units.receipts import Receipt
from pipeline.output.units.tables import schema_of

_LOG = logging.getLogger(__name__)
_PARQUET = ".parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPart:
    """One data directory of an output.

    Attributes:
      name: of the directory, one of ``pipeline.output.layout.DATA``.
      files: number of files.
      rows: number of rows or samples in them.
      size: in bytes.
      suffixes: of the files' names, with a dot, as they are written, sorted.
      schema: of the first file, if it is one of the job's own tables; None for other files.
    """

    name: str
    files: int
    rows: int
    size: int
    suffixes: tuple[str, ...]
    schema: pa.Schema | None = None

    @property
    def glob(self) -> str:
        """A pattern of its files, relative to the output.

        Names that begin with a dot are left out, and of tables with an underscore: there, other tools keep indexes of
        their own. Names of images may begin with one, as those of cameras do.

        >>> OutputPart(name="latents", files=1, rows=8, size=900, suffixes=(".parquet",)).glob
        'latents/**/[!_.]*.parquet'
        """
        hidden = "." if self.name in (IMAGES, MAPS) else "_."
        return f"{self.name}/**/[!{hidden}]*{self.suffixes[0] if len(self.suffixes) == 1 else ''}"


def parts_of(layout: Layout, receipts: Iterable[Receipt]) -> list[OutputPart]:
    """Return the parts that an output has, in the order of ``DATA``.

    Args:
      layout: the output.
      receipts: of all its units.
    """
    files: dict[str, list[OutputFile]] = {name: [] for name in DATA}
    for receipt in receipts:
        for output in receipt.outputs:
            files[output.name.partition("/")[0]].append(output)
    return [_part(layout, name, found) for name, found in files.items() if found]


def _part(layout: Layout, name: str, files: list[OutputFile]) -> OutputPart:
    suffixes = tuple(sorted({_suffix(file.name) for file in files}))
    ours = name in (LATENTS, METRICS, REJECTS) and suffixes == (_PARQUET,)
    return OutputPart(
        name=name,
        files=len(files),
        rows=sum(file.rows for file in files),
        size=sum(file.size for file in files),
        suffixes=suffixes,
        schema=_schema(layout.at(min(file.name for file in files))) if ours else None,
    )


def _suffix(name: str) -> str:
    base = name.rpartition("/")[2]
    return f".{base.rpartition('.')[2]}" if "." in base else ""


def _schema(uri: str) -> Any:
    """The schema of a table. All tables of a part have the same (decision 4)."""
    try:
        return schema_of(uri)
    except (OSError, ValueError, pa.ArrowException) as error:
        # Of a unit that was finished long ago. A description must not stop a commit; ``verify`` finds such files.
        _LOG.warning("the description of the output lacks the columns of %s: %s", uri, printable(str(error)))
        return None
