"""What a worker leaves of a range of units for those who finish the commit: hashes of names, times, files to remove."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import google_crc32c
import numpy as np
import pyarrow as pa

from lake.core.errors import VerifyError
from lake.formats.common.parquet_file import read_table
from lake.storage import Guard, put, store_for
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest_rows import encode_table
from pipeline.output.state.state_values import data_name, relative

_SCHEMA = pa.schema(
    [
        ("names", pa.list_(pa.int64())),
        ("stale", pa.list_(pa.int64())),
        ("spans", pa.list_(pa.float64())),
        ("units", pa.list_(pa.string())),
        ("old", pa.map_(pa.string(), pa.string())),
    ]
)
_DAMAGE = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, IndexError)


_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeFile:
    """Facts of a range that are too large to travel through an engine.

    Attributes:
      names: hashes of the names of its files in a complete output, as ``hash_names`` gives them.
      stale: hashes of the names that it has besides while ``_SUCCESS`` is not written.
      spans: when its units were at work, as ``spans_of`` gives it.
      units: ids of the units that may have a receipt.
      old: names of data files that its units had before and have no more, with the versions that are to go, sorted.
    """

    names: np.ndarray = field(default_factory=_NONE.copy)
    stale: np.ndarray = field(default_factory=_NONE.copy)
    spans: np.ndarray = field(default_factory=lambda: np.zeros((3, 0)))
    units: Sequence[str] = ()
    old: Mapping[str, str] = field(default_factory=dict)


def write_range_file(layout: Layout, run: str, number: int, content: RangeFile, guard: Guard | None = None) -> None:
    """Write the file of a range.

    Args:
      layout: the output.
      run: id of the run.
      number: of the range.
      content: what it says.
      guard: the right to write it.
    """
    row = {
        "names": content.names,
        "stale": content.stale,
        "spans": content.spans.ravel(),
        "units": content.units,
        "old": [*content.old.items()],
    }
    data = encode_table(pa.Table.from_pylist([row], _SCHEMA))
    put(layout.range_file(run, number, "folded"), b"%08x %b" % (google_crc32c.value(data), data), guard)


def read_range_file(layout: Layout, run: str, number: int, columns: Sequence[str]) -> RangeFile:
    """Read the file of a range.

    Args:
      layout: the output.
      run: id of the run.
      number: of the range.
      columns: names of the fields that are wanted. The others are left empty.

    Raises:
      FileNotFoundError: the run has ended, or nobody has folded the range yet.
      VerifyError: the file is damaged.
    """
    uri = layout.range_file(run, number, "folded")
    with store_for(uri).open(uri) as file:
        check, _, data = file.read().partition(b" ")
    try:
        if check != b"%08x" % google_crc32c.value(data):
            raise ValueError("its bytes are not those that were written")
        table = read_table(BytesIO(data), columns)
        return RangeFile(**{name: _READ[name](table[name].chunk(0)) for name in columns})
    except _DAMAGE as error:
        raise VerifyError(f"{uri}: damaged ({error}); run the job again") from error


def _numbers(column: pa.Array) -> np.ndarray:
    return np.asarray(column.values)


def _units(column: pa.Array) -> list[str]:
    (units,) = column.to_pylist()
    for unit in units:
        relative(unit)
    return list(units)


def _old(column: pa.Array) -> dict[str, str]:
    (old,) = column.to_pylist()
    # Who can write here must not thereby choose what else a run removes.
    for name, _ in old:
        data_name(name)
    return dict(old)


_READ: Mapping[str, Callable[[pa.Array], Any]] = {
    "names": _numbers,
    "stale": _numbers,
    "spans": lambda column: _numbers(column).reshape(3, -1),
    "units": _units,
    "old": _old,
}
