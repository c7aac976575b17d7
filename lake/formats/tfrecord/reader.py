"""Read TFRecord shards of tf.train.Example, plain, gzip or zlib."""

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial

import pyarrow as pa

from lake.core.errors import InputError, NoRecordsError
from lake.core.records import RawBatch, Shard, Unit
from lake.formats.common.byte_stream import ZLIB_WINDOW, decompressed, is_compressed
from lake.formats.common.cuts import Cuts, as_cut
from lake.formats.common.runs import up_to_damage
from lake.formats.common.shard_errors import as_planned
from lake.formats.reader import BATCH_BYTES, ColumnSelection, Reader, RecordSchema
from lake.formats.tfrecord.batch import ExampleBatch
from lake.formats.tfrecord.choose import carried_features, image_feature, key_feature, vector_length
from lake.formats.tfrecord.cuts import indexed_record_cuts, record_cuts
from lake.formats.tfrecord.example import features
from lake.formats.tfrecord.first_records import SAMPLE, first_records, kind_of, seen_in
from lake.formats.tfrecord.framing import Frames
from lake.formats.tfrecord.head import about_records_in
from lake.formats.tfrecord.lengths import begins
from lake.formats.tfrecord.ragged import BYTES, FLOAT, INT64
from lake.formats.tfrecord.raw import RawImages, is_file, raw_images
from lake.storage import Stat, store_for

_HEAD = 1 << 18  # bytes that tell about how many records there are
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
    indexes = (".idx", ".index")

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
        columns = selection.resolved(
            image=image,
            key=key_feature(shard, seen, selection),
            carry=pa.schema([seen[name].column(name) for name in carried_features(shard, seen, selection)]),
            length=vector_length(shard, seen, image, selection) if selection.numeric else None,
        )
        return replace(columns, image_shape=selection.image_shape, image_dtype=selection.image_dtype)

    def about(self, shard: Shard) -> float | None:
        """As ``Reader.about``; of a compressed shard nothing is told."""
        with store_for(shard.uri).open(shard.uri, sparse=True) as file:
            return about_records_in(file.read(_HEAD), shard.size)

    def cuts(self, shard: Shard, index: Stat | None = None) -> Cuts:
        """At any record; the index is one of ``tfrecord2idx``."""
        if is_compressed(shard, begins):
            return Cuts()
        return record_cuts(shard) if index is None else indexed_record_cuts(shard, index)

    def read(self, unit: Unit, columns: RecordSchema, size: int, room: int = BATCH_BYTES) -> Iterator[RawBatch]:
        """Records in order. With ``whole``, ``Records.source`` holds the serialized Examples."""
        return as_cut(_batches(unit, columns, size, room), unit, salvage=columns.salvage)


def _batches(unit: Unit, columns: RecordSchema, size: int, room: int) -> Iterator[RawBatch]:
    for shard in unit.shards:
        frames = Frames(shard, columns.max_record_bytes, salvage=columns.salvage, byte_range=unit.byte_range)
        with as_planned(shard), closing(frames):
            kinds, raw, start = _kinds(shard, columns), None, unit.start
            for run in up_to_damage(partial(frames.take, size, room)):
                if start == unit.start:
                    first = next((record for record in run.records if record), b"")
                    raw = _raw(shard, columns, first if unit.byte_range is None else _first(shard, columns, size))
                    kinds |= {} if raw is None else dict.fromkeys(raw.sides, INT64) | {raw.image: raw.kind}
                yield ExampleBatch(
                    shard=shard.path,
                    start=start,
                    examples=run.records,
                    bad=run.faults,
                    kinds=kinds,
                    columns=columns,
                    raw=raw,
                )
                start += len(run)


def _first(shard: Shard, columns: RecordSchema, size: int) -> bytes:
    """The first record of the shard of a slice, which says of all slices what images are."""
    with closing(Frames(shard, columns.max_record_bytes, salvage=columns.salvage)) as frames:
        for _ in range(size):
            run, damage = frames.take(1)
            if damage is not None or not run.records or run.records[0]:
                return run.records[0] if run.records else b""
    return b""


def _kinds(shard: Shard, columns: RecordSchema) -> dict[str, str]:
    """Kind of every feature that is read, by name. A vector may be floats in one shard and integers in another."""
    kinds = {field.name: kind_of(field.type) for field in columns.carry}
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
