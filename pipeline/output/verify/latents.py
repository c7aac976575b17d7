"""What files of latents in the formats of trainers say about themselves, and the records that they hold."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import pyarrow as pa

from lake.core.records import Array, Shard
from lake.formats.arrayrecord.example import LatentExample
from lake.formats.arrayrecord.first_record import first_record
from lake.formats.arrayrecord.names import RECORDS_SUFFIX, TYPE, feature
from lake.formats.arrayrecord.records import description_beside, open_records
from lake.formats.common.array_rows import exactly
from lake.formats.common.safetensors import SUFFIX, tensors_of
from lake.formats.common.vector_storage import FIRST, FURTHER, METADATA_KEY
from lake.formats.mds.encodings import NDARRAY, decode_array
from lake.formats.mds.shard import read_head
from lake.formats.reader import BATCH_BYTES
from lake.formats.webdataset.latent_samples import json_of, npy_array
from lake.formats.webdataset.latents import said_by
from lake.formats.webdataset.samples import Sample, SampleGrouping
from lake.storage import store_for
from lake.storage.location import is_local
from pipeline.config import FINGERPRINT

_TAR, _MDS = ".tar", ".mds"
_MEMBERS = ("npy", "flip.npy", "variance.npy", SUFFIX, "json")
_ROWS = 1024  # in a batch
_MOST = 1 << 40  # bytes of a member


def is_latents(name: str) -> bool:
    """Whether a file holds latents in such a format.

    Args:
      name: of the file.

    >>> is_latents("latents/a.tar"), is_latents("latents/a/index.json")
    (True, False)
    """
    return name.endswith((_TAR, _MDS, RECORDS_SUFFIX))


def said_in(uri: str, size: int) -> Mapping[str, Any]:
    """What a file says about itself; empty for one of others.

    Args:
      uri: of the file.
      size: its bytes.

    Raises:
      LatentlakeError, OSError, ValueError, EOFError: it cannot be read.
    """
    if uri.endswith(_TAR):
        return said_by(_shard(uri, size))
    if uri.endswith(RECORDS_SUFFIX):
        return _said_beside(uri, size)
    with store_for(uri).open(uri, sparse=True) as stream:
        return read_head(stream, size).metadata


def latent_batches(uri: str, size: int) -> Iterator[pa.RecordBatch]:
    """The records of a file: ``shard``, ``index``, and as ``latent`` 0 where all numbers are finite, else NaN.

    Args:
      uri: of the file.
      size: its bytes.

    Raises:
      LatentlakeError, OSError, ValueError, EOFError: it cannot be read.
    """
    suffix = next(suffix for suffix in _BATCHES if uri.endswith(suffix))
    yield from _BATCHES[suffix](uri, size)


def _of_tar(uri: str, size: int) -> Iterator[pa.RecordBatch]:
    shard = _shard(uri, size)
    further = json.loads(said_by(shard).get(METADATA_KEY, "{}")).get(FURTHER, {})
    names = {*_MEMBERS, *(f"{column.removeprefix(FIRST)[1:]}{end}.npy" for column in further for end in ("", "_flip"))}
    with closing(SampleGrouping(shard, {name.encode() for name in names}, _MOST)) as grouping:
        for samples in grouping.batches(_ROWS, BATCH_BYTES):
            said = [json_of(sample) for sample in samples]
            finite = [_finite(_arrays(sample), of["latent"]["type"]) for sample, of in zip(samples, said, strict=True)]
            yield _batch([of["shard"] for of in said], [of["index"] for of in said], finite)


def _arrays(sample: Sample) -> Iterator[Array]:
    for name, data in sample.members.items():
        if name == SUFFIX.encode():
            yield from tensors_of(data).values()
        elif name != b"json":
            yield npy_array(data)


def _of_mds(uri: str, size: int) -> Iterator[pa.RecordBatch]:
    with store_for(uri).open(uri) as stream:
        head = read_head(stream, size)
        kind = json.loads(head.metadata[METADATA_KEY])["type"]
        latents = {name: encoding for name, encoding in head.encodings.items() if encoding.startswith(NDARRAY)}
        sizes = np.diff(head.offsets).tolist()
        for start in range(0, len(sizes), _ROWS):
            rows = [head.values(exactly(stream, size, "a sample")) for size in sizes[start : start + _ROWS]]
            finite = [_finite((decode_array(row[name], of) for name, of in latents.items()), kind) for row in rows]
            index = [int.from_bytes(row["index"], "little", signed=True) for row in rows]
            yield _batch([row["shard"].decode() for row in rows], index, finite)


def _of_arrayrecord(uri: str, _: int) -> Iterator[pa.RecordBatch]:
    with open_records(uri) as records:
        while records.left:
            found = [LatentExample.of(records.next()) for _ in range(min(_ROWS, records.left))]
            kind = feature(FIRST, TYPE)
            finite = [_finite(one.arrays(), one.text(kind)) for one in found]
            yield _batch([one.text("shard") for one in found], [one.number("index") for one in found], finite)


def _said_beside(uri: str, size: int) -> Mapping[str, Any]:
    """What a file of ArrayRecord says about itself: its description, and the fingerprint in its first record.

    Of one in a store the first record alone is fetched, which the library, for which all of it would be, does not read.
    """
    said = description_beside(uri)
    if not is_local(uri):
        return {**said, FINGERPRINT: _fingerprint(first_record(uri, size))}
    with open_records(uri) as records:
        return {**said, FINGERPRINT: _fingerprint(records.next())}


def _fingerprint(record: bytes) -> str:
    return LatentExample.of(record).text(FINGERPRINT)


def _finite(arrays: Iterator[Array], kind: str) -> bool:
    """Whether all numbers are finite; of bfloat16, by the bits of the exponent."""
    if kind == "bfloat16":
        return all(bool((array & 0x7F80 != 0x7F80).all()) for array in arrays)
    return all(bool(np.isfinite(array).all()) for array in arrays)


def _batch(shards: Sequence[str], index: Sequence[int], finite: Sequence[bool]) -> pa.RecordBatch:
    latent = np.where(np.array(finite, bool), np.float32(0), np.float32(np.nan))
    columns = {"shard": pa.array(shards, pa.string()), "index": pa.array(index, pa.int64()), "latent": pa.array(latent)}
    return pa.RecordBatch.from_pydict(columns)


def _shard(uri: str, size: int) -> Shard:
    return Shard(uri=uri, path=uri, size=size, identity="")


_BATCHES = {_TAR: _of_tar, _MDS: _of_mds, RECORDS_SUFFIX: _of_arrayrecord}
