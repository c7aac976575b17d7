"""What becomes of a damaged or forged shard or state file: records and named errors, nothing else."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from lake.core.errors import LatentlakeError
from lake.core.records import Records, Shard, Unit
from lake.formats import FORMATS
from lake.formats.reader import ColumnSelection, Reader, RecordSchema
from lake.storage import StoreOptions
from pipeline.output.commit.recovery import find_leavings, known_state
from pipeline.output.fencing.lease import check_free
from pipeline.output.layout import DATA, Layout
from pipeline.output.state.job_file import read_job_file
from tests.faults.shard_mutants import ShardMutant, intact
from tests.lake.formats.support import shard_of

_LONGEST = 10_000  # characters of an error; what is shown and kept of it is shorter
_ENOUGH = 50_000, 256 << 20  # records and bytes after which reading ends, which a job would go on with
_SIDES = {"csv": (8, 8, 1)}  # of images whose format does not say them


def trial(mutant: ShardMutant) -> str:
    """``read``, ``refused`` (an error that has a name) or ``state``.

    Raises:
      Exception: whatever a reader must not raise, or AssertionError for what it must not give.
    """
    with TemporaryDirectory(prefix="mutant") as place:
        path = Path(place, mutant.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mutant.data)
        return _shard(mutant, path) if mutant.format else _state(place)


def _shard(mutant: ShardMutant, path: Path) -> str:
    assert mutant.format is not None
    reader, shard, writes = FORMATS[mutant.format].reader, shard_of(path), FORMATS[mutant.format].writer_class
    unit = Unit(id="u", format=mutant.format, shards=(shard,))
    plain = _selection(mutant.format)
    # Only shards that are written again are read as a whole.
    other = replace(plain, whole=writes is not None, salvage=True)
    ends = [_read(reader, unit, shard, selection) for selection in (plain, other)]
    ends += [_all(reader.read(unit, schema, 256)) for schema in _schemas(mutant.format)]
    return "read" if "read" in ends else "refused"


def _read(reader: Reader, unit: Unit, shard: Shard, selection: ColumnSelection) -> str:
    try:
        schema = reader.settle(shard, selection)
        reader.rows(shard)
    except LatentlakeError as error:
        return _named(error)
    return _all(reader.read(unit, schema, 256))


def _selection(format: str) -> ColumnSelection:
    return ColumnSelection(image_shape=_SIDES.get(format))


@cache
def _schemas(format: str) -> tuple[RecordSchema, ...]:
    """What a job settled by another shard, which is whole."""
    container = next(container for container in intact().values() if container.format == format)
    with TemporaryDirectory(prefix="intact") as place:
        shard = shard_of(Path(place, container.name), container.data)
        schema = FORMATS[format].reader.settle(shard, _selection(format))
    return (schema, replace(schema, salvage=True))


def _all(batches: Iterator[object]) -> str:
    index, seen = -1, 0
    try:
        for batch in batches:
            records = batch.records()  # type: ignore[attr-defined]
            assert isinstance(records, Records)
            assert len(records) > 0
            assert records.index[0] > index
            assert (np.diff(records.index) > 0).all()
            index = int(records.index[-1])
            assert all(0 < len(fault.detail) < _LONGEST for fault in records.faults.values())
            seen += records.payload.nbytes
            if index > _ENOUGH[0] or seen > _ENOUGH[1]:
                break
    except LatentlakeError as error:
        return _named(error)
    return "read"


def _state(place: str) -> str:
    for read in (_receipts, read_job_file, check_free):
        try:
            read(place)
        except LatentlakeError as error:
            _named(error)
    return "state"


def _receipts(place: str) -> None:
    layout = Layout(place)
    for receipt in known_state(layout, find_leavings(layout), StoreOptions())[0].values():
        for output in receipt.outputs:
            parts = output.name.split("/")
            assert parts[0] in DATA
            assert not {"", ".", ".."} & {*parts[1:]}
            assert len(parts) > 1


def _named(error: LatentlakeError) -> str:
    assert 0 < len(str(error)) < _LONGEST, f"an error of {len(str(error))} characters"
    return "refused"
