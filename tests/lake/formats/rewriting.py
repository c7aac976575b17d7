"""A job's middle, without a model: what is read gets other images and is written."""

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from lake.core.records import OutputFile, Shard, Unit
from lake.formats import FORMATS
from lake.formats.reader import RecordSchema
from lake.formats.writer import DatasetWriter, Image, Results, UnitWriter
from lake.storage import Sink, store_for

Make = Callable[[int], Image]  # index of a record -> its new image


def create_in(root: Path) -> Callable[[str], Sink]:
    return lambda name: store_for(str(root)).create(f"{root}/{name}")


def feed(
    writer: UnitWriter,
    format: DatasetWriter,
    unit: Unit,
    columns: RecordSchema,
    make: Make,
    drop: Collection[int] = (),
    size: int = 64,
) -> None:
    """Give a writer every record of a unit but those that are bad or to drop."""
    for raw in FORMATS[unit.format].reader.read(unit, columns, size):
        records = raw.records()
        good = [p for p in range(len(records)) if p not in records.faults and int(records.index[p]) not in drop]
        images = [make(int(records.index[p])) for p in good]
        writer.write(format.render(Results(records=records, positions=np.array(good, np.int64), images=images)))


def rewrite(
    name: str,
    shard: Shard,
    columns: RecordSchema,
    root: Path,
    make: Make,
    drop: Collection[int] = (),
    size: int = 64,
    to: str | None = None,
) -> OutputFile:
    """Write a shard of format ``name`` again, or anew as format ``to``."""
    unit = Unit(id=f"{shard.path.partition('.')[0]}", format=name, shards=(shard,))
    format = FORMATS[to or name].writer(columns, to is None, lambda unit: {"latentlake.unit": unit.id})
    writer = format.begin(unit, create_in(root))
    feed(writer, format, unit, columns, make, drop, size)
    (output,) = writer.publish()
    assert output.size == (root / output.name).stat().st_size
    return output
