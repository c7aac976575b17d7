"""Values of a job that never ran: what tests of single modules start from."""

from typing import Any

import pyarrow as pa

from lake.core.records import OutputFile, Shard, Unit
from lake.formats.reader import RecordSchema
from lake.images.types import Target
from lake.inputs.discover import Found
from lake.storage import Guard, StoreOptions
from pipeline.config import JobConfig
from pipeline.output.fencing.heartbeat import guard_of
from pipeline.output.fencing.lease import acquire
from pipeline.output.units.receipts import Receipt

COLUMNS = RecordSchema(
    image="image", key="id", carry=pa.schema([("label", pa.int64())]), numeric=False, max_record_bytes=1 << 20
)


def make_config(output: object = "/out", **changes: Any) -> JobConfig:
    """Of an encode job; ``changes`` are fields of ``JobConfig``."""
    plain: dict[str, Any] = {
        "verb": "encode",
        "output": str(output),
        "run": "run-1",
        "model": f"{output}/_model/d1",
        "model_digest": "d1",
        "latent_layer": "encoded",
        "target": Target(shape=(8, 8, 1)),
        "columns": COLUMNS,
        "variance": False,
        "reject_bytes": 100,
        "stores": StoreOptions(),
        "threads": None,
    }
    return JobConfig(**(plain | changes))


def guard_for(output: object, run: str = "run-1", *, held: bool = True) -> Guard:
    """The right of a run that took the lease on an output for this; without ``held``, of one that lost it."""
    acquire(str(output), run if held else "another", ends_with_process=True)
    return guard_of(str(output), run)


def make_file(name: str, **changes: Any) -> OutputFile:
    """One published file."""
    plain: dict[str, Any] = {"size": 100, "rows": 3, "crc32c": "00c0ffee"}
    return OutputFile(name=name, **(plain | changes))


def make_receipt(unit: str, *, read: int = 3, **changes: Any) -> Receipt:
    """Of a unit that is done: what was read and not rejected is a result, in one table."""
    results = read - sum(changes.get("rejects", {}).values())
    plain: dict[str, Any] = {
        "fingerprint": f"print of {unit}",
        "options": "digest",
        "results": results,
        "outputs": (make_file(f"latents/{unit}.parquet", rows=results),),
    }
    return Receipt(unit=unit, read=read, **(plain | changes))


def make_shard(path: str, **changes: Any) -> Shard:
    """One file of the input."""
    plain: dict[str, Any] = {"uri": f"/in/{path}", "size": 10, "identity": "1"}
    return Shard(path=path, **(plain | changes))


def make_unit(id: str, *paths: str, **changes: Any) -> Unit:
    """Of TFRecord shards, one of the unit's name where no paths are given."""
    plain: dict[str, Any] = {"format": "tfrecord"}
    shards = tuple(make_shard(path) for path in paths or (f"{id}.tfrecord",))
    return Unit(id=id, **(plain | {"shards": shards} | changes))


def make_found(*paths: str, format: str = "tfrecord", **changes: Any) -> Found:
    """Shards of an input."""
    return Found(root="/in", format=format, shards=tuple(make_shard(path) for path in paths), **changes)
