"""LitData under faults: ``optimize`` of a function from a record to a sample, ``StreamingDataset``.

A run that ended goes on by the same call (``use_checkpoint``; https://github.com/Lightning-AI/litData and the docstring
of ``optimize``). There is no setting for records that fail.
"""

import json
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import faults_common as common
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WORKERS, CHUNK = 2, 250  # processes, records in a file


@cache
def model(job: common.Job) -> common.Model:
    """The model of this process."""
    return common.Model(job)


@cache
def shard(path: str) -> pa.Table:
    """The records of a shard, read once, with the checksums of their pages."""
    return pq.read_table(path, page_checksum_verification=True)


def sample(job: common.Job, record: Sequence[Any]) -> dict[str, Any]:
    """What a record, by its shard and position, becomes."""
    path, position = record
    (row,) = shard(path).slice(position, 1).to_pylist()
    image = (common.decode_or_none if job.own_handling else common.decode)(row[common.IMAGE])
    latent = np.zeros(0, np.float32) if image is None else model(job)(image[None])[0]
    return {common.KEY: row[common.KEY], common.LABEL: row[common.LABEL], common.LATENT: latent}


def run(job: common.Job) -> None:
    """Run, or go on: the same call."""
    from litdata import optimize

    counts = json.loads((job.input / "_records.json").read_text())  # a shard that is cut does not tell how many it had
    records = [[path, position] for path in job.shards for position in range(counts[Path(path).name])]
    optimize(
        partial(sample, job),
        records,
        str(job.output),
        chunk_size=CHUNK,
        num_workers=WORKERS,
        reorder_files=False,
        use_checkpoint=True,
        start_method="fork",
        input_dir=str(job.input),
    )


def read(output: Path) -> pa.Table:
    """The samples by ``StreamingDataset``; one without numbers is one without a latent."""
    from litdata import StreamingDataset

    samples = [dict(found) for found in StreamingDataset(str(output))]
    for found in samples:
        found[common.LATENT] = np.asarray(found[common.LATENT]) if len(found[common.LATENT]) else None
    return pa.Table.from_pylist(samples, common.SCHEMA)


if __name__ == "__main__":
    common.main(run, read)
