"""Rows of latents that the tests of their formats write."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lake.core.records import OutputFile
from lake.formats.common.identity_columns import SHARD_TYPE
from lake.formats.common.latent_rows import LatentRows
from lake.formats.writer import UnitWriter
from lake.storage import Sink, store_for

KEYS = ["a", "a", "../../etc/passwd", "é\n\0"]
CAPTIONS = ["a cat", None, "", 'two "words"']
LABELS = [3, None, 0, 7]
SHAPES = [(1, 2, 3), (2, 2, 3), (1, 2, 3), (300, 1, 3)]


def fixed(numbers: Any = None) -> tuple[LatentRows, pa.RecordBatch]:
    """Four latents ``[2, 2]`` and their mirror images."""
    values = np.arange(16, dtype=np.float32).reshape(4, 4) if numbers is None else numbers
    kind = pa.list_(pa.field("element", pa.from_numpy_dtype(values.dtype), nullable=False), 4)
    latents = [pa.field(name, kind, nullable=False) for name in ("latent", "latent_flip")]
    schema = pa.schema([*_identity(), *latents, *_carried()])
    columns = [pa.FixedSizeListArray.from_arrays(pa.array(v.reshape(-1)), type=kind) for v in (values, values[::-1])]
    rows = pa.RecordBatch.from_arrays([*_identities(), *columns, *_values()], schema=schema)
    said = {"type": "float32"}
    return LatentRows(schema=schema, names=("latent", "latent_flip"), shape=(2, 2), said=said), rows


def of_many_shapes() -> tuple[LatentRows, pa.RecordBatch]:
    """Four latents of ``SHAPES``."""
    kind = pa.list_(pa.field("element", pa.float16(), nullable=False))
    shape = pa.list_(pa.field("element", pa.int32(), nullable=False), 3)
    own = [pa.field("latent", kind, nullable=False), pa.field("latent_shape", shape, nullable=False)]
    schema = pa.schema([*_identity(), *own, pa.field("height", pa.int32(), nullable=False), *_carried()])
    flat = [latent_of(number).reshape(-1) for number in range(4)]
    edges = np.cumsum([0, *map(len, flat)]).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(edges), pa.array(np.concatenate(flat)), type=kind)
    columns = [lists, pa.array(SHAPES, shape), pa.array([8, 16, 8, 2400], pa.int32())]
    rows = pa.RecordBatch.from_arrays([*_identities(), *columns, *_values()], schema=schema)
    said = {"type": "float16", "scaling_factor": 0.5}
    return LatentRows(schema=schema, names=("latent",), shape=None, said=said), rows


def latent_of(number: int) -> Any:
    return np.random.default_rng(number).standard_normal(SHAPES[number]).astype(np.float16)


def create_in(root: Path) -> Any:
    def create(name: str) -> Sink:
        uri = str(root / name)
        return store_for(uri).create(uri)

    return create


def written(writer: UnitWriter, rows: pa.RecordBatch, step: int = 4) -> tuple[OutputFile, ...]:
    """What a writer publishes of rows that come in batches."""
    for start in range(0, rows.num_rows, step):
        writer.write(rows.slice(start, step))
    return writer.publish()


def _identity() -> list[pa.Field]:
    kinds = {"key": pa.string(), "shard": SHARD_TYPE, "index": pa.int64()}
    return [pa.field(name, kind, nullable=False) for name, kind in kinds.items()]


def _identities() -> list[pa.Array]:
    return [pa.array(KEYS), pa.array(["in/a.tar"] * 4).dictionary_encode(), pa.array([0, 1, 5, 9])]


def _carried() -> list[pa.Field]:
    return [pa.field("txt", pa.string()), pa.field("label", pa.int64())]


def _values() -> list[pa.Array]:
    return [pa.array(CAPTIONS), pa.array(LABELS, pa.int64())]
