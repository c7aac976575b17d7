"""Peer: photographs by ``tf.data`` as people write it. Read, decode, resize in a parallel map, ``predict_on_batch``."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import measure
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BATCH = 32


def batches(files: Sequence[str], side: int) -> Any:
    """A dataset of ``path [n], image float32 [n, side, side, 3] in 0..1``."""
    import tensorflow as tf

    def read(path: Any) -> tuple[Any, Any]:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return path, tf.image.resize(image, (side, side)) / 255.0

    return (
        tf.data.Dataset.from_tensor_slices(files)
        .map(read, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(BATCH)
        .prefetch(tf.data.AUTOTUNE)
    )


def run(given: common.Arguments, marks: Path) -> float:
    """Encode every photograph into one file; the time when it was written."""
    model = common.network(given)
    stream = iter(batches(given.shards(), model.input_shape[1]))  # kept: releasing it may block for up to 5 s
    with pq.ParquetWriter(given.output / "latents.parquet", common.PHOTOGRAPHS) as writer:
        for path, image in stream:
            latents: np.ndarray = model.predict_on_batch(image)
            measure.passed(marks, len(latents))
            columns = [pa.array(path.numpy(), pa.string()), pa.array(list(latents), pa.list_(pa.float32()))]
            writer.write_batch(pa.record_batch(columns, schema=common.PHOTOGRAPHS))
    return measure.now()


def main() -> None:
    """Run the peer."""
    given = measure.arguments(__doc__ or "", ["predict_on_batch"])
    with tempfile.TemporaryDirectory() as marks:
        measure.finish(given, Path(marks), run(given, Path(marks)))


if __name__ == "__main__":
    main()
