"""What a table of a lake's catalog must do for an output, and the values that are said of it."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module

import pyarrow as pa

from lake.core.records import OutputFile
from pipeline.tables import TABLE_KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """Which table an output is published to.

    Attributes:
      kind: a name in ``pipeline.tables.TABLE_KINDS``.
      catalog: name of a configured catalog, or of a secret of DuckDB, or the path of a SQLite file; "" for a catalog
        within the output.
      name: of the table in it, ``NAMESPACE.NAME``.
    """

    kind: str
    catalog: str = ""
    name: str = "latentlake.latents"

    def __str__(self) -> str:
        return f"{self.name} of catalog {self.catalog}" if self.catalog else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A snapshot of a table that an output has published.

    Attributes:
      id: of the snapshot, as text.
      run: id of the run.
      digest: of the files that it has of the output, as of ``files_digest``.
    """

    id: str
    run: str
    digest: str


class LakeTable(ABC):
    """The table of one output. Others may write to the same table; only files below the output are looked after.

    A table takes a file for immutable: what has a name once published never gets other bytes.

    Args:
      spec: which table.
      output: URI of the output.
    """

    def __init__(self, spec: TableSpec, output: str) -> None:
        self.spec, self.output = spec, output

    @abstractmethod
    def check(self, schema: pa.Schema, names: Iterable[str]) -> None:
        """Check that rows and names of files can be published. Writes nothing.

        Args:
          schema: of the rows.
          names: of data files, relative to the output.

        Raises:
          UsageError: the catalog cannot be reached, or the table cannot take the rows.
        """

    @abstractmethod
    def current(self) -> Snapshot | None:
        """The last snapshot of this output that readers of the table see; None if there is none."""

    @abstractmethod
    def named(self) -> set[str]:
        """Names of the data files of this output that any snapshot has, which must not be removed."""

    def published(self, files: Sequence[OutputFile]) -> Sequence[OutputFile]:
        """Those files of an output that a table has of it: all, where it keeps files, and not their rows."""
        return files

    @abstractmethod
    def publish(self, files: Sequence[OutputFile], known: int, run: str, hold: Callable[[], None]) -> Snapshot | None:
        """Make the table's files below the output these, in one snapshot. What is so already is left alone.

        Args:
          files: all of the output.
          known: number of files that the last snapshot had, as of ``published``, by the output's own record.
          run: id of the run, which the snapshot says.
          hold: raises ``HeldError`` if the run has lost the output; called after the table was read, so that a table
            that another run changes meanwhile refuses the commit.

        Returns:
          The snapshot; None for a table that was never made, of an output without files.

        Raises:
          LatentlakeError: the table cannot take the files, or others have rewritten those that were there.
        """

    @abstractmethod
    def problems(self, files: Sequence[OutputFile]) -> Iterator[str]:
        """Yield how the table differs from what the output's manifest has.

        Args:
          files: all of the output.
        """


def open_table(spec: TableSpec, output: str) -> LakeTable:
    """Open the table of an output. Nothing is reached yet.

    Args:
      spec: which table.
      output: URI of the output.

    Raises:
      UsageError: the package that it needs is not installed.
    """
    module, name = TABLE_KINDS[spec.kind]
    table: LakeTable = getattr(import_module(module), name)(spec, output)
    return table


def is_path(catalog: str) -> bool:
    """Whether a catalog is the path of a SQLite file, and not a name.

    >>> is_path("/lake/catalog.db"), is_path("./tables"), is_path("prod")
    (True, True, False)
    """
    return "/" in catalog or catalog.endswith(".db")


def files_digest(files: Iterable[OutputFile]) -> str:
    """SHA-256 of the names, sizes, rows and checksums of some files, as 64 hexadecimal digits.

    >>> one, two = (OutputFile(name=name, size=1, rows=1, crc32c="0") for name in "ab")
    >>> files_digest([one, two]) == files_digest([two, one]) != files_digest([one])
    True
    """
    listed = sorted([file.name, file.size, file.rows, file.crc32c] for file in files)
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()
