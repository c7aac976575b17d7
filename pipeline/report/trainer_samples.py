"""Which records the samples are of that a job wrote for trainers, as the files say."""

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

from lake.core.records import Shard
from lake.formats.arrayrecord.example import LatentExample
from lake.formats.arrayrecord.names import RECORDS_SUFFIX
from lake.formats.arrayrecord.records import open_records
from lake.formats.common.array_rows import exactly
from lake.formats.mds.shard import read_head
from lake.formats.reader import BATCH_BYTES
from lake.formats.webdataset.latent_samples import JSON, json_of
from lake.formats.webdataset.samples import SampleGrouping
from lake.storage import store_for
from pipeline.output.layout import LATENTS, Layout
from pipeline.output.units.receipts import Receipt

_MOST = 1 << 26  # bytes of a member
_IDENTITY = ("key", "shard", "index")


def first_identities(receipt: Receipt, layout: Layout, count: int) -> list[tuple[str, str, int]]:
    """Key, shard and index of the first records of a unit.

    Args:
      receipt: of the unit, whose latents are WebDataset, MDS or ArrayRecord.
      layout: of the output.
      count: most records.

    Raises:
      LatentlakeError, OSError, ValueError, EOFError: its first file cannot be read.
    """
    files = [file for file in receipt.outputs if file.rows and file.name.startswith(f"{LATENTS}/")]
    if not files:
        return []
    uri, size = layout.at(files[0].name), files[0].size
    read = _of_tar if uri.endswith(".tar") else _of_arrayrecord if uri.endswith(RECORDS_SUFFIX) else _of_mds
    said = islice(read(uri, size, count), count)
    return [(str(one["key"]), str(one["shard"]), int(one["index"])) for one in said if {*_IDENTITY} <= {*one}]


def _of_tar(uri: str, size: int, count: int) -> Iterator[dict[str, Any]]:
    shard = Shard(uri=uri, path=uri, size=size, identity="")
    with closing(SampleGrouping(shard, {JSON}, _MOST)) as grouping:
        for samples in grouping.batches(count, BATCH_BYTES):
            yield from (dict(json_of(sample)) for sample in samples)


def _of_mds(uri: str, size: int, _: int) -> Iterator[dict[str, Any]]:
    with store_for(uri).open(uri) as stream:
        head = read_head(stream, size)
        for start, stop in zip(head.offsets[:-1].tolist(), head.offsets[1:].tolist(), strict=True):
            found = head.values(exactly(stream, stop - start, "a sample"))
            index = int.from_bytes(found["index"], "little", signed=True)
            yield {"key": found["key"].decode(), "shard": found["shard"].decode(), "index": index}


def _of_arrayrecord(uri: str, _: int, count: int) -> Iterator[dict[str, Any]]:
    with open_records(uri) as records:
        for _ in range(min(count, records.left)):
            found = LatentExample.of(records.next())
            yield {"key": found.text("key"), "shard": found.text("shard"), "index": found.number("index")}
