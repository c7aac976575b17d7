"""How errors and problems of tables are said."""

from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager
from itertools import islice

from lake.core.errors import LatentlakeError
from lake.storage.redact import clean
from pipeline.tables.table import TableSpec

_SHOWN = 3  # names in an error


def said(spec: TableSpec) -> str:
    """A table, for the text of an error."""
    return f"table {spec}"


def why(error: BaseException) -> str:
    """What an error of a catalog says, in one line, without what may be secret."""
    return f"{type(error).__name__}: {clean(str(error))}"


@contextmanager
def named_errors(spec: TableSpec) -> Iterator[None]:
    """Say of an error of a catalog or of pyiceberg which table it is of, and what is left to do."""
    try:
        yield
    except LatentlakeError:
        raise
    except Exception as error:
        raise LatentlakeError(
            f"{said(spec)} was not updated: {why(error)}; the output's files are there: run the job again, which "
            "publishes them"
        ) from error


def differing_files(spec: TableSpec, wanted: Set[str], present: Set[str]) -> Iterator[str]:
    """The problems of a table that has other files of an output than its manifest.

    Args:
      spec: the table.
      wanted: names that the manifest says.
      present: names that the table has.
    """
    for what, names in (("lacks", wanted - present), ("also has", present - wanted)):
        if names:
            yield f"{said(spec)} {what} {named_few(names)}; run the job again"


def files_lost(spec: TableSpec, output: str, lost: str, remedy: str) -> LatentlakeError:
    """The error of a table that somebody else has taken files of an output from: they would come twice.

    Args:
      spec: the table.
      output: URI of the output.
      lost: which files, or how many.
      remedy: what to do, but for keeping that writer away.
    """
    return LatentlakeError(
        f"{said(spec)} has lost {lost} of {output}: another writer has rewritten or removed them; keep compaction off "
        f"this table, and {remedy}"
    )


def named_few(names: Iterable[str]) -> str:
    """Some names, for an error.

    >>> named_few("dcba")
    'a, b, c and 1 more'
    """
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(islice(ordered, _SHOWN)) + more
