"""Peer: Ray Data. ``read_tfrecords``, ``map_batches`` with an actor for decoding and the model, ``write_parquet``."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import common
import measure
import numpy as np
import pyarrow as pa

BATCH = 512
BLOCK = 4 << 20  # bytes; by default a reader passes nothing on before 128 MiB or its file's end
CPUS = 2
ACTORS = {"one_actor": 1, "two_actors": 2}


class Actor:
    """Decodes batches and passes them through the model; Ray keeps one in each actor."""

    def __init__(self, given: common.Arguments, marks: Path) -> None:
        self._model, self._task, self._marks = common.network(given), given.task, marks

    def __call__(self, batch: pa.Table) -> pa.Table:
        """A table of ``common.SCHEMA`` or ``common.DENOISED`` from the features of the Examples."""
        pixels = np.stack([common.decode(encoded) for encoded in batch[common.IMAGE].to_pylist()])
        results = self._model.predict_on_batch(pixels.astype(np.float32) / 255)
        measure.passed(self._marks, len(results))
        key, label = batch[common.KEY].cast(pa.string()), batch[common.LABEL]
        if self._task == "encode":
            return pa.table([key, label, lists(results)], schema=common.SCHEMA)
        return pa.table([key, label, pa.array(map(common.png, results))], schema=common.DENOISED)


def lists(latent: np.ndarray) -> pa.Array:
    """Rows of float32 ``[n, d]`` as an Arrow list array of length n."""
    offsets = np.arange(len(latent) + 1, dtype=np.int32) * latent.shape[1]
    return pa.ListArray.from_arrays(offsets, pa.array(latent.ravel()))


def run(given: common.Arguments, marks: Path) -> None:
    """Run on a Ray of this process's own."""
    import ray

    ray.init(num_cpus=CPUS, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().target_max_block_size = BLOCK
    actors = ACTORS[given.mode]
    (
        ray.data.read_tfrecords(given.shards(), override_num_blocks=len(given.shards()))
        .map_batches(
            Actor,
            fn_constructor_args=(replace(given, model=given.model.resolve()), marks),
            batch_size=BATCH,
            batch_format="pyarrow",
            concurrency=actors,
            num_cpus=0.5,
        )
        .write_parquet(str(given.output.resolve()))
    )


def main() -> None:
    """Run the peer."""
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # for the actors
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    given = measure.arguments(__doc__ or "", list(ACTORS))
    with tempfile.TemporaryDirectory() as marks:
        run(given, Path(marks))
        measure.finish(given, Path(marks), measure.now())


if __name__ == "__main__":
    main()
