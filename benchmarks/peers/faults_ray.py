"""Ray Data under faults: ``read_parquet``, ``map_batches``, ``write_parquet``.

Blocks that fail are dropped (``max_errored_blocks``), small ones (``repartition``), so that little is; and what was
written is not done again (``CheckpointConfig``):
https://docs.ray.io/en/latest/data/api/doc/ray.data.DataContext.html and
https://docs.ray.io/en/latest/data/api/doc/ray.data.checkpoint.interfaces.CheckpointConfig.html. Arguments for pyarrow
make and check the checksums of pages (https://docs.ray.io/en/latest/data/api/doc/ray.data.read_parquet.html).

The actor has no share of the two processors: what filters by the checkpoint takes one, and a task that lists files
another. With half of one for the actor, a run that goes on may wait for ever.
"""

import os
from pathlib import Path
from typing import Any

import faults_common as common
import pyarrow as pa
import pyarrow.dataset as ds

ROWS = 64  # of a block, which goes through the model at once
CPUS = 2
MEMORY = 500_000_000  # bytes of the object store


class Actor:
    """Decodes batches and passes them through the model."""

    def __init__(self, job: common.Job) -> None:
        self._model = common.Model(job)
        self._decode = common.decode_or_none if job.own_handling else common.decode

    def __call__(self, batch: pa.Table) -> pa.Table:
        """A table of ``common.SCHEMA``."""
        images = [self._decode(data) for data in batch[common.IMAGE].to_pylist()]
        latents = common.encode_some(self._model, images)
        return pa.table([batch[common.KEY], batch[common.LABEL], latents], schema=common.SCHEMA)


def start() -> Any:
    """Ray Data, on a Ray of this process's own."""
    import ray

    ray.init("local", num_cpus=CPUS, include_dashboard=False, object_store_memory=MEMORY)
    return ray.data


def checked() -> Any:
    """Arguments by which pyarrow compares pages with their checksums."""
    return {"fragment_scan_options": ds.ParquetFragmentScanOptions(page_checksum_verification=True)}


def run(job: common.Job) -> None:
    """Run, or go on: the same call, for the checkpoint is kept until a run is through."""
    data = start()
    from ray.data.checkpoint import CheckpointConfig

    context = data.DataContext.get_current()
    context.max_errored_blocks = -1
    context.checkpoint_config = CheckpointConfig(common.KEY, str(job.state))
    (
        data.read_parquet(job.shards, override_num_blocks=len(job.shards), **checked())
        .repartition(target_num_rows_per_block=ROWS)
        .map_batches(
            Actor,
            fn_constructor_args=(job,),
            batch_size=None,
            batch_format="pyarrow",
            compute=data.ActorPoolStrategy(size=1),
            num_cpus=0,
        )
        .write_parquet(str(job.output), write_page_checksum=True)
    )


def read(output: Path) -> pa.Table:
    """The rows by ``read_parquet``."""
    import ray

    data = ray.data if ray.is_initialized() else start()
    return pa.concat_tables(ray.get(data.read_parquet(str(output), **checked()).to_arrow_refs()))


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # for the actors
    os.environ |= common.RAY
    common.main(run, read)
