"""Read TFRecord shards of tf.train.Example, plain, gzip or zlib."""

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pyarrow as pa

from lake.core.errors import InputError, NoRecordsError
from lake.core.records import RawBatch, Shard, Unit
from lake.formats.common.byte_stream import ZLIB_WINDOW, decompressed
from lake.formats.common.shard_errors import as_planned
from lake.formats.reader import BATCH_BYTES, ColumnSelection, Reader, RecordSchema
from lake.formats.tfrecord.batch import ExampleBatch
from lake.formats.tfrecord.choose import carried_features, image_feature, key_feature, vector_length
from lake.formats.tfrecord.example import features
from lake.formats.tfrecord.first_records import SAMPLE, first_records, seen_in
from lake.formats.tfrecord.framing import Frames, begins
from lake.formats.tfrecord.ragged import BYTES, FLOAT, INT64
from lake.formats.tfrecord.raw import RawImages, is_file, raw_images

_NAME = re.compile(r"\.tf-?rec(ords?)?(-\d+-of-\d+)?(\.gz)?$", re.IGNORECASE)


class TFRecordReader(Reader):
    r"""Reads Examples. Each feature has a name and is a list of bytes, floats or 64-bit integers.

    The image (or vector) and the key are found by their usual names unless the selection names them. A record without a
    key gets its number as the key. Labels are carried unless the selection says otherwise.

    A carried feature with at most one value in each of the first 16 records becomes a plain column, any other a list
    column. Bytes become a string column if those first values are all UTF-8, else binary. In a string column or key,
    bytes that are not UTF-8 are written ``\xNN``. A feature that a record lacks is null in its column.
    """

    suffixes: tuple[str, ...] = (".tfrecord", ".tfrecords", ".tfrec")
    bare = True

    def recognises(self, name: str, head: bytes) -> bool:
        return bool(_NAME.search(name)) or begins(decompressed(head)) or begins(decompressed(head, ZLIB_WINDOW))

    def settle(self, shard: Shard, selection: ColumnSelection) -> RecordSchema:
        records = first_records(shard, selection.max_record_bytes, selection.salvage)
        if not records:
            raise NoRecordsError(f"{shard.path}: no tf.train.Example, since it has no records")
        seen = seen_in(records)
        if not seen:
            raise InputError(f"{shard.path}: no tf.train.Example with a feature among the first {SAMPLE} records")
        image = image_feature(shard, records, seen, selection)
        return RecordSchema(
            image=image,
            key=key_feature(shard, seen, selection),
            carry=pa.schema([seen[name].column(name) for name in carried_features(shard, seen, selection)]),
            numeric=selection.numeric,
            max_record_bytes=selection.max_record_bytes,
            length=vector_length(shard, seen, image, selection) if selection.numeric else None,
            layout=selection.layout,
            image_shape=selection.image_shape,
            image_dtype=selection.image_dtype,
            whole=selection.whole,
            salvage=selection.salvage,
        )

    def read(self, unit: Unit, columns: RecordSchema, size: int, room: int = BATCH_BYTES) -> Iterator[RawBatch]:
        """Records in order. With ``whole``, ``Records.source`` holds the serialized Examples."""
        for shard in unit.shards:
            with as_planned(shard), closing(Frames(shard, columns.max_record_bytes, salvage=columns.salvage)) as frames:
                kinds, raw = _kinds(shard, columns), None
                start, damage = 0, None
                while damage is None:
                    examples, faults, damage = frames.take(size, room)
                    if not start:
                        raw = _raw(shard, columns, next((e for e in examples if e), b""))
                        kinds |= {} if raw is None else dict.fromkeys(raw.sides, INT64) | {raw.image: raw.kind}
                    if examples:
                        yield ExampleBatch(
                            shard=shard.path,
                            start=start,
                            examples=examples,
                            bad=faults,
                            kinds=kinds,
                            columns=columns,
                            raw=raw,
                        )
                    elif damage is None:
                        break
                    start += len(examples)
                if damage is not None:
                    raise damage


def _kinds(shard: Shard, columns: RecordSchema) -> dict[str, str]:
    """Kind of every feature that is read, by name. A vector may be floats in one shard and integers in another."""
    kinds = {field.name: _kind(field.type) for field in columns.carry}
    if columns.key is not None:
        kinds[columns.key] = BYTES
    seen = seen_in(first_records(shard, columns.max_record_bytes, columns.salvage)) if columns.numeric else {}
    kinds[columns.image] = seen[columns.image].kind if columns.image in seen else (FLOAT if columns.numeric else BYTES)
    return kinds


def _raw(shard: Shard, columns: RecordSchema, first: bytes) -> RawImages | None:
    """Where a shard's pixels are; None if its images are files, as its first record tells at no cost."""
    image = (features(first) or {}).get(columns.image)
    if columns.numeric or columns.whole or (image is not None and is_file(image)):
        return None
    records = first_records(shard, columns.max_record_bytes, columns.salvage)
    images = [record for record in records if columns.image in record]
    found = raw_images(columns.image, images, columns.image_shape, columns.image_dtype)
    return found and replace(found, layout=columns.layout)


def _kind(type: pa.DataType) -> str:
    scalar = type.value_type if pa.types.is_list(type) else type
    return FLOAT if pa.types.is_floating(scalar) else INT64 if pa.types.is_integer(scalar) else BYTES
