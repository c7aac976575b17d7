"""Peer: a plain script per aspect bucket. Pillow in threads, a batch when a bucket is full, Keras or ONNX Runtime.

Photographs of tars are scaled and cropped to their buckets; latents go to one Parquet file. Prints its figures as JSON.
"""

import argparse
import glob
import io
import json
import os
import tarfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps

BATCH = 16  # photographs in a call
_AHEAD = 64  # photographs that are decoded at once


def photographs(pattern: str) -> Iterator[tuple[str, bytes]]:
    """Name and file of each."""
    for path in sorted(glob.glob(pattern)):  # noqa: PTH207  (the pattern may be absolute)
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".jpg"):
                    file = tar.extractfile(member)
                    assert file is not None
                    yield member.name, file.read()


def buckets(step: int, area: int) -> list[tuple[int, int]]:
    """(height, width) of each."""
    high = [(side, area // side // step * step) for side in range(step, area // step + 1, step)]
    sizes = {*high, *((width, height) for height, width in high)}
    return sorted(size for size in sizes if min(size) and max(size) <= 4 * min(size))


def fitted(data: bytes, sizes: list[tuple[int, int]]) -> np.ndarray:
    """A photograph in its bucket, uint8 ``[H, W, 3]``."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    height, width = min(sizes, key=lambda size: abs(np.log(size[0] / size[1] * image.width / image.height)))
    return np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC))


def keras_encoder(model: Path) -> Callable[[np.ndarray], np.ndarray]:
    """What ``predict`` gives."""
    import keras

    whole = keras.models.load_model(f"{model}.keras", compile=False)
    encoder = keras.Model(whole.input, whole.get_layer("latent").output)
    return lambda pixels: encoder.predict(pixels.astype(np.float32) / 255, verbose=0)  # type: ignore[no-any-return]


def onnx_encoder(model: Path) -> Callable[[np.ndarray], np.ndarray]:
    """What ONNX Runtime gives with its own threads, from the graph of the bundle."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model / "encode.onnx"), providers=["CPUExecutionProvider"])
    white = np.array(255, np.float32)

    def encode(pixels: np.ndarray) -> np.ndarray:
        found: np.ndarray = session.run(["latents"], {"pixels": pixels.astype(np.float32), "divisor": white})[0]
        return found

    return encode


def decoded(pattern: str, sizes: list[tuple[int, int]]) -> Iterator[tuple[str, np.ndarray]]:
    """Names and photographs in their buckets, decoded ahead by as many threads as there are cores."""
    files = photographs(pattern)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        while some := list(islice(files, _AHEAD)):
            yield from zip((name for name, _ in some), pool.map(lambda one: fitted(one[1], sizes), some), strict=True)


def batches(pattern: str, sizes: list[tuple[int, int]]) -> Iterator[tuple[list[str], np.ndarray]]:
    """Names and photographs of one bucket."""
    waiting: defaultdict[tuple[int, ...], list[tuple[str, np.ndarray]]] = defaultdict(list)
    for name, image in decoded(pattern, sizes):
        some = waiting[image.shape]
        some.append((name, image))
        if len(some) == BATCH:
            yield [one for one, _ in some], np.stack([one for _, one in some])
            some.clear()
    for some in waiting.values():
        if some:
            yield [one for one, _ in some], np.stack([one for _, one in some])


_ENCODERS: dict[str, Callable[[Path], Callable[[np.ndarray], np.ndarray]]] = {
    "keras": keras_encoder,
    "onnx": onnx_encoder,
}


def main() -> None:
    """Encode all photographs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", required=True, help="glob of the tars")
    parser.add_argument("--model", type=Path, required=True, help="a bundle, with the Keras file beside it")
    parser.add_argument("--output", type=Path, required=True, help="a directory that does not exist yet")
    parser.add_argument("--with", dest="library", choices=_ENCODERS, required=True)
    parser.add_argument("--bucket", type=int, required=True)
    parser.add_argument("--area", type=int, required=True)
    given = parser.parse_args()
    given.output.mkdir(parents=True)
    encode, first, before, count = _ENCODERS[given.library](given.model), 0.0, 0, 0
    schema = pa.schema([("key", pa.string()), ("latent", pa.list_(pa.float32())), ("shape", pa.list_(pa.int32()))])
    with pq.ParquetWriter(given.output / "latents.parquet", schema, compression="zstd") as writer:
        for names, pixels in batches(given.input, buckets(given.bucket, given.area)):
            latents = encode(pixels)
            count += len(names)
            if not first:
                first, before = time.time(), count
            rows: list[Any] = [names, list(latents.reshape(len(latents), -1)), [latents.shape[1:]] * len(latents)]
            writer.write_table(
                pa.table([pa.array(c, f.type) for c, f in zip(rows, schema, strict=True)], schema=schema)
            )
    print(json.dumps({"records": count, "rate_steady": (count - before) / (time.time() - first)}), flush=True)


if __name__ == "__main__":
    main()
