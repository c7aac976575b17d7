"""Latents as MDS: shards of samples, and an index of a unit's shards."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from lake.core.records import OutputFile
from lake.formats.common.latent_rows import LatentRows, LatentSample
from lake.formats.mds.encodings import ENCODERS, array_encoding, encode_array, encoding_of, size_of
from lake.formats.writer import Create, UnitWriter

INDEX = "index.json"
DESCRIPTION_FIELD = "latentlake"  # field of the description with what the shard says about itself
_LIMIT = 1 << 26  # bytes of a shard, as MDSWriter has them
_VERSION = 2


class MdsWriter(UnitWriter):
    """Writes the latents of one unit as a directory that MDS calls a stream: ``shard.00000.mds``, …, ``index.json``.

    Each shard is published as soon as it is full, since the samples of one are in memory. The index is last.

    The columns are those of the table, without ``latent_shape``: latents are ``ndarray``, others ``str``, ``int``,
    ``float32``, and ``json`` where a value may be missing. A unit without results has no files.

    Args:
      directory: path of the directory relative to the output's.
      create: opens the sink of a file.
      table: what the rows are.
      metadata: what each shard says about itself.
      limit: bytes of a shard; a larger sample has one for itself.
    """

    publishes_early = True

    def __init__(
        self, directory: str, create: Create, table: LatentRows, metadata: Mapping[str, str], limit: int = _LIMIT
    ) -> None:
        self._directory, self._create, self._table, self._limit = directory, create, table, limit
        self._encodings = _encodings(table)
        self._description: dict[str, Any] = {
            "column_encodings": [*self._encodings.values()],
            "column_names": [*self._encodings],
            "column_sizes": [size_of(encoding) for encoding in self._encodings.values()],
            "compression": None,
            "format": "mds",
            "hashes": [],
            "size_limit": limit,
            "version": _VERSION,
        }
        self._metadata = dict(metadata)
        self._head = _json({**self._description, DESCRIPTION_FIELD: self._metadata})
        self._samples: list[bytes] = []
        self._size = self._fixed
        self._files: list[OutputFile] = []

    def write(self, rows: pa.RecordBatch) -> None:
        """Append the rows of the next batch. They reach a sink when a shard is full."""
        for sample in self._table.samples(rows):
            data = self._encoded(sample)
            if self._samples and self._size + len(data) + 4 > self._limit:
                self._flush()
            self._samples.append(data)
            self._size += len(data) + 4

    def publish(self) -> tuple[OutputFile, ...]:
        """Write the last shard and the index."""
        if self._samples:
            self._flush()
        if self._files:
            index = {DESCRIPTION_FIELD: self._metadata, "shards": [self._entry(file) for file in self._files]}
            self._put(INDEX, [_json({**index, "version": _VERSION})], 0)
        return tuple(self._files)

    def abort(self) -> None:
        """Nothing is open: the next attempt writes the shards that are there again, and a commit removes others."""

    @property
    def _fixed(self) -> int:
        return 8 + len(self._head)

    def _encoded(self, sample: LatentSample) -> bytes:
        values = [self._value(sample, name, encoding) for name, encoding in self._encodings.items()]
        sizes = [len(v) for v, fixed in zip(values, self._description["column_sizes"], strict=True) if fixed is None]
        return b"".join((np.array(sizes, "<u4").tobytes(), *values))

    def _value(self, sample: LatentSample, name: str, encoding: str) -> bytes:
        if name in self._table.names:
            array = sample.latents[self._table.names.index(name)]
            return encode_array(array, shaped=encoding.count(":") > 1)
        return ENCODERS[encoding](sample.values[name])

    def _flush(self) -> None:
        edges = np.cumsum([0, *map(len, self._samples)])
        edges += 4 + 4 * len(edges) + len(self._head)
        offsets = edges.astype("<u4")
        head = np.array(len(self._samples), "<u4").tobytes() + offsets.tobytes()
        self._put(f"shard.{len(self._files):05d}.mds", [head, self._head, *self._samples], len(self._samples))
        self._samples, self._size = [], self._fixed

    def _put(self, name: str, parts: list[bytes], rows: int) -> None:
        path = f"{self._directory}/{name}"
        with self._create(path) as sink:
            sink.write(b"".join(parts))
        self._files.append(OutputFile(name=path, size=sink.size, rows=rows, crc32c=sink.crc32c))

    def _entry(self, file: OutputFile) -> dict[str, Any]:
        data = {"basename": file.name.rpartition("/")[2], "bytes": file.size, "hashes": {}}
        return {**self._description, "raw_data": data, "samples": file.rows, "zip_data": None}


def _encodings(table: LatentRows) -> dict[str, str]:
    """The encoding of each column, in the order of their names, as ``MDSWriter`` has them."""
    found = {field.name: encoding_of(field) for field in table.others}
    for name in table.names:
        kind = table.schema.field(name).type
        shape = table.shape_of(name)
        whole = (kind.list_size,) if table.bits and shape is not None else shape
        found[name] = array_encoding(np.dtype(kind.value_type.to_pandas_dtype()), whole)
    return dict(sorted(found.items()))


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
