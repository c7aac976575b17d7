"""Read ArrayRecord files of latents, for ``decode``."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import pyarrow as pa

from lake.core.errors import InputError, NoColumnError, NoRecordsError, ShardError, VerifyError
from lake.core.records import Fault, RawBatch, Reason, Shard, Stage, Unit
from lake.formats.arrayrecord.batch import SAID, LatentExampleBatch
from lake.formats.arrayrecord.names import SHAPE, SUFFIXES, description_of, feature
from lake.formats.arrayrecord.records import RecordFile, description_beside, open_records
from lake.formats.common.latent_arrays import storage_said
from lake.formats.common.runs import RecordRun, up_to_damage
from lake.formats.common.shard_errors import as_planned, reading
from lake.formats.common.vector_storage import FIRST, VectorStorage
from lake.formats.reader import BATCH_BYTES, ColumnSelection, Reader, RecordSchema
from lake.formats.tfrecord.choose import carried_features, key_feature
from lake.formats.tfrecord.example import features
from lake.formats.tfrecord.first_records import SAMPLE, Seen, kind_of, seen_in
from lake.formats.tfrecord.ragged import BYTES, FLOAT, INT64
from lake.formats.tfrecord.weight import too_heavy
from lake.storage import Stat, store_for

_PARSED = 64 << 20  # bytes that a record's values may take in any case, once they are parsed


class ArrayRecordReader(Reader):
    """A record is a serialized tf.train.Example of a latent, as ``ArrayRecordWriter`` writes it.

    How latents are stored says the description beside the file, or else each record, but for lists of scales.
    """

    suffixes: tuple[str, ...] = SUFFIXES

    def recognises(self, name: str, head: bytes) -> bool:  # noqa: ARG002
        """By name: a file begins as every file of Riegeli's records does."""
        return name.lower().endswith(self.suffixes)

    def settle(self, shard: Shard, selection: ColumnSelection) -> RecordSchema:
        if not selection.latents:
            raise InputError(f"{shard.path}: of arrayrecord only latents are read, by decode; give tfrecord shards")
        with _opened(shard) as records:
            if not records.count:
                raise NoRecordsError(f"{shard.path}: it has no records")
            seen = _seen(records, selection)
        _storage(shard, selection)
        return selection.resolved(
            image=_latent(shard, seen, selection.image),
            key=key_feature(shard, seen, selection),
            carry=pa.schema([seen[name].column(name) for name in carried_features(shard, seen, selection)]),
            length=selection.length,
        )

    def identity(self, stat: Stat) -> str:
        """The file's identity, joined with that of its description, which is read too."""
        beside = store_for(stat.uri).stat(description_of(stat.uri))
        return stat.identity if beside is None else f"{stat.identity}+{beside.identity}"

    def read(self, unit: Unit, columns: RecordSchema, size: int, room: int = BATCH_BYTES) -> Iterator[RawBatch]:
        (shard,) = unit.shards
        with as_planned(shard, description_of(shard.uri)), _opened(shard) as records:
            storage, kinds, start = _storage(shard, columns), _kinds(records, columns), 0
            for run in up_to_damage(partial(_taken, records, columns, size, room)):
                yield LatentExampleBatch(
                    shard=shard.path,
                    start=start,
                    examples=run.records,
                    bad=run.faults,
                    kinds=kinds,
                    columns=columns,
                    storage=storage,
                )
                start += len(run)


@contextmanager
def _opened(shard: Shard) -> Iterator[RecordFile]:
    with reading(shard):
        try:
            with open_records(shard.uri) as records:
                yield records
        except ValueError as error:
            raise ShardError(shard.path, f"no ArrayRecord file, or a damaged one: {error}") from error


def _taken(
    records: RecordFile, columns: RecordSchema | ColumnSelection, size: int, room: int
) -> tuple[RecordRun, ValueError | None]:
    """The next records, and the damage that ends them if nothing is to be salvaged."""
    examples, faults, total = list[bytes](), dict[int, Fault](), 0
    while len(examples) < size and total < room and records.left:
        try:
            data = records.next()
        except ValueError as error:
            if not columns.salvage:
                return RecordRun(examples, faults), error
            data, faults[len(examples)] = b"", _fault(Reason.CORRUPT_RECORD, str(error))
        total += len(data)
        if detail := _too_large(data, columns.max_record_bytes):
            data, faults[len(examples)] = b"", _fault(Reason.RECORD_TOO_LARGE, detail)
        examples.append(data)
    return RecordRun(examples, faults), None


def _too_large(data: bytes, limit: int) -> str | None:
    if len(data) > limit:
        return f"{len(data)} bytes; the most is {limit}"
    parsed = max(limit, _PARSED)
    return f"{len(data)} bytes whose values take more than {parsed}" if too_heavy(data, parsed) else None


def _fault(reason: Reason, detail: str) -> Fault:
    return Fault(stage=Stage.READ, reason=reason, detail=detail)


def _seen(records: RecordFile, columns: RecordSchema | ColumnSelection) -> Mapping[str, Seen]:
    """What the first records hold, by feature. All records are left.

    Raises:
      ValueError: not even the first one is intact.
    """
    run, damage = _taken(records, columns, SAMPLE, columns.max_record_bytes)
    if damage is not None and not run.records:
        raise damage
    records.rewind()
    return seen_in([features(example) or {} for example in run.records])


def _latent(shard: Shard, seen: Mapping[str, Seen], asked: str | None) -> str:
    name = asked or FIRST
    if name not in seen or seen[name].kind == INT64:
        there = ", ".join(f"{known} ({this.kind})" for known, this in seen.items() if this.kind != INT64)
        problem = f"{shard.path}: no latents in a feature {name!r}, there are {there}; set --image to one of them"
        raise NoColumnError(problem, "image", name)
    return name


def _storage(shard: Shard, columns: RecordSchema | ColumnSelection) -> VectorStorage | None:
    with reading(shard):
        try:
            return storage_said(description_beside(shard.uri), None if columns.shaped else columns.length)
        except (ValueError, VerifyError) as error:
            if isinstance(columns, RecordSchema):
                raise ShardError(shard.path, str(error)) from error
            raise InputError(f"{shard.path}: {error}") from error


def _kinds(records: RecordFile, columns: RecordSchema) -> dict[str, str]:
    """Kind of every feature that is read, by name. Latents are floats in one file and bytes in another."""
    kinds = {feature(FIRST, what): kind for what, kind in SAID.items()}
    kinds |= {feature(columns.image, SHAPE): INT64} | {field.name: kind_of(field.type) for field in columns.carry}
    if columns.key is not None:
        kinds[columns.key] = BYTES
    seen = _seen(records, columns)
    kinds[columns.image] = seen[columns.image].kind if columns.image in seen else FLOAT
    return kinds
