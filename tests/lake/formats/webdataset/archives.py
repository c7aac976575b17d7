"""What the tests of tar shards read."""

from collections.abc import Iterator
from typing import Any

from lake.core.records import Records, Shard, Unit
from lake.formats import FORMATS
from lake.formats.reader import RecordSchema

READER = FORMATS["webdataset"].reader


def batches(shard: Shard, columns: RecordSchema, size: int = 256) -> Iterator[Any]:
    return READER.read(Unit(id="u", format="webdataset", shards=(shard,)), columns, size)


def read(shard: Shard, columns: RecordSchema, size: int = 256) -> list[Records]:
    return [batch.records() for batch in batches(shard, columns, size)]
