"""Examples that the tests of TFRecord write, and what is read of them."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from lake.core.records import Records, Shard, Unit
from lake.formats import FORMATS
from lake.formats.reader import RecordSchema

READER = FORMATS["tfrecord"].reader


def example(**features: Any) -> bytes:
    """A serialized tf.train.Example; values are lists of bytes, floats or integers, or one of them."""
    import tensorflow as tf

    message = tf.train.Example()
    for name, given in features.items():
        values = given if isinstance(given, list) else [given]
        kind = {bytes: "bytes_list", float: "float_list", int: "int64_list"}[type(values[0]) if values else bytes]
        feature = message.features.feature[name]
        getattr(feature, kind).SetInParent()
        getattr(feature, kind).value.extend(values)
    return message.SerializeToString()


def batches(shard: Shard, columns: RecordSchema, size: int = 256) -> Iterator[Any]:
    return READER.read(Unit(id="u", format="tfrecord", shards=(shard,)), columns, size)


def read(shard: Shard, columns: RecordSchema, size: int = 256) -> list[Records]:
    return [batch.records() for batch in batches(shard, columns, size)]


IMAGES = RecordSchema(image="image", key="key", carry=pa.schema([]), numeric=False, max_record_bytes=1 << 20)
