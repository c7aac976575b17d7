"""Tables whose latents a run may reuse, and what is asked of one before a row of it counts."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from lake.formats.common.parquet_file import open_parquet
from lake.storage import store_for
from pipeline.config import FINGERPRINT, RETRIED

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReusableTable:
    """A table of latents that an earlier run wrote.

    Attributes:
      uri: of the table.
      fingerprint: of its unit: all that determines its bytes.
      rows: how many it has.
      number: of the table among the files of its unit.
      unit: id of its unit, if the table is of the output itself; "" if no unit of the run can replace it.
    """

    uri: str
    fingerprint: str
    rows: int = 0
    number: int = 0
    unit: str = ""


def read_reusable(table: ReusableTable, read: Callable[[pq.ParquetFile], _T]) -> _T | None:
    """Read from a table, if it is the one that it should be.

    Another run may have replaced it, with latents of another model perhaps; the fingerprint in its footer tells.

    Args:
      table: the table.
      read: reads from the open file.

    Returns:
      What ``read`` returned; None for a table that is gone, damaged or another one by now: its records are
      encoded anew.

    Raises:
      OSError: the store failed.
    """
    try:
        with store_for(table.uri).open(table.uri) as stream:
            file = open_parquet(stream)
            said = file.metadata.metadata or {}
            if said.get(FINGERPRINT.encode()) == table.fingerprint.encode() and RETRIED.encode() not in said:
                return read(file)
            problem = "was written again since"
    except FileNotFoundError:
        problem = "is gone"
    except (pa.ArrowException, ValueError) as error:
        problem = f"is damaged ({error})"
    except OSError as error:
        if error.errno is not None:
            raise
        problem = f"is damaged ({error})"  # as Arrow says it of a page
    _LOG.warning("%s %s; none of its latents is reused", table.uri, problem)
    return None
