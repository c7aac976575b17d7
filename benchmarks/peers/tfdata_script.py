"""Peer: a tuned ``tf.data`` script. Parse and decode in parallel by batches, ``predict_on_batch``, ``ParquetWriter``.

``--mode onnx`` encodes with ONNX Runtime in place of Keras.

To denoise, images go through ``tf.io.encode_png`` and ``TFRecordWriter``.

Decoding a batch with ``map_fn`` inside one parallel ``map`` takes 26 µs of CPU per 28x28 record, where a ``map`` per
record takes 52 to 69 µs; see the README for what else was tried.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import common
import measure
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BATCH = {"encode": 1024, "denoise": 128}
SHAPE = (32, 32, 1)  # of the images that are denoised, by a model of any size
READ_BUFFER = 8 << 20  # bytes


def batches(shards: list[str], shape: tuple[int, ...], size: int) -> Any:
    """A dataset of ``key [n], label [n], image float32 [n, H, W, C] in 0..1``, n being the size, in any order."""
    import tensorflow as tf

    features = {
        common.KEY: tf.io.FixedLenFeature([], tf.string),
        common.IMAGE: tf.io.FixedLenFeature([], tf.string),
        common.LABEL: tf.io.FixedLenFeature([], tf.int64),
    }

    def decode(encoded: Any) -> Any:
        return tf.ensure_shape(tf.io.decode_png(encoded, channels=shape[-1]), shape)

    def parse(records: Any) -> tuple[Any, Any, Any]:
        columns = tf.io.parse_example(records, features)
        pixels = tf.map_fn(decode, columns[common.IMAGE], fn_output_signature=tf.TensorSpec(shape, tf.uint8))
        return columns[common.KEY], columns[common.LABEL], tf.cast(pixels, tf.float32) / 255.0

    cores = len(os.sched_getaffinity(0))
    return (
        tf.data.Dataset.from_tensor_slices(shards)
        .interleave(
            lambda shard: tf.data.TFRecordDataset(shard, buffer_size=READ_BUFFER),
            cycle_length=cores,
            block_length=size,
            num_parallel_calls=cores,
            deterministic=False,
        )
        .batch(size)
        .map(parse, num_parallel_calls=cores, deterministic=False)
        .prefetch(tf.data.AUTOTUNE)
    )


def run(given: common.Arguments, marks: Path) -> float:
    """Encode or denoise every shard into one file; the time when it was written."""
    onnx = given.mode == "onnx" and given.task == "encode"
    model = common.OnnxEncoder(common.onnx_file(given.model)) if onnx else common.network(given)
    shape = SHAPE if given.task == "denoise" else model.input_shape[1:]
    stream = iter(batches(given.shards(), shape, BATCH[given.task]))  # kept: releasing it may block for up to 5 s
    (encode if given.task == "encode" else denoise)(stream, model, given.output, marks)
    return measure.now()


def encode(stream: Iterator[Any], model: Any, output: Path, marks: Path) -> None:
    """Latents to Parquet."""
    with pq.ParquetWriter(output / "latents.parquet", common.SCHEMA, use_dictionary=False) as writer:
        for key, label, image in stream:
            latent = model.predict_on_batch(image)
            measure.passed(marks, len(latent))
            columns = [pa.array(key.numpy(), pa.string()), pa.array(label.numpy()), lists(latent)]
            writer.write_batch(pa.record_batch(columns, schema=common.SCHEMA))


def denoise(stream: Iterator[Any], model: Any, output: Path, marks: Path) -> None:
    """Images to TFRecord."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(output / "images.tfrecord")) as writer:
        for key, label, image in stream:
            restored = model.predict_on_batch(image)
            measure.passed(marks, len(restored))
            files = [tf.io.encode_png(pixels).numpy() for pixels in common.steps(restored)]
            for record in zip(key.numpy(), label.numpy(), files, strict=True):
                writer.write(common.example(*record))


def lists(latent: np.ndarray) -> pa.Array:
    """Rows of float32 ``[n, d]`` as an Arrow list array of length n, without a copy."""
    offsets = np.arange(len(latent) + 1, dtype=np.int32) * latent.shape[1]
    return pa.ListArray.from_arrays(offsets, pa.array(latent.ravel()))


def main() -> None:
    """Run the peer."""
    given = measure.arguments(__doc__ or "", ["predict_on_batch", "onnx"])
    with tempfile.TemporaryDirectory() as marks:
        measure.finish(given, Path(marks), run(given, Path(marks)))


if __name__ == "__main__":
    main()
