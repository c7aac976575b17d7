"""Peer: Ray Data. ``read_tfrecords``, ``map_batches`` with an actor that decodes and encodes, ``write_parquet``."""

import io
import os
import tempfile
from pathlib import Path

import measure
import numpy as np
import pyarrow as pa

BATCH = 512
BLOCK = 4 << 20  # bytes; by default a reader passes nothing on before 128 MiB or its file's end
CPUS = 2
ACTORS = {"one_actor": 1, "two_actors": 2}


class Encoder:
    """Decodes and encodes batches; Ray keeps one in each actor."""

    def __init__(self, model: Path, marks: Path) -> None:
        self._encoder = measure.encoder(model)
        self._marks = marks

    def __call__(self, batch: pa.Table) -> pa.Table:
        """A table of ``measure.SCHEMA`` from the features of the Examples."""
        pixels = np.stack([decode(encoded) for encoded in batch[measure.IMAGE].to_pylist()])
        latent = self._encoder.predict_on_batch(pixels[..., None].astype(np.float32) / 255)
        measure.passed(self._marks, len(latent))
        offsets = np.arange(len(latent) + 1, dtype=np.int32) * latent.shape[1]
        lists = pa.ListArray.from_arrays(offsets, pa.array(latent.ravel()))
        key = batch[measure.KEY].cast(pa.string())
        return pa.table([key, batch[measure.LABEL], lists], schema=measure.SCHEMA)


def decode(encoded: bytes) -> np.ndarray:
    """The grey pixels of an image file, uint8 ``[H, W]``."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(encoded)).convert("L"))


def run(given: measure.Arguments, marks: Path) -> None:
    """Run on a Ray of this process's own."""
    import ray

    ray.init(num_cpus=CPUS, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().target_max_block_size = BLOCK
    actors = ACTORS[given.mode]
    (
        ray.data.read_tfrecords(given.shards(), override_num_blocks=len(given.shards()))
        .map_batches(
            Encoder,
            fn_constructor_args=(given.model.resolve(), marks),
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
