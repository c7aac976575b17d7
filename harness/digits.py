"""scikit-learn's handwritten digits as shards."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_digits


def digits_as_pixels() -> np.ndarray:
    """The digits as uint8 ``[1797, 8, 8]``."""
    images: np.ndarray = load_digits().images
    return (images * 255 / 16).astype(np.uint8)


def to_png(pixels: np.ndarray) -> bytes:
    """An image as the bytes of a PNG file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()


def write_parquet(path: Path, rows: list[tuple[int, bytes, int]]) -> None:
    """A Parquet shard: image as struct of bytes and path, and label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": image, "path": f"{i:05d}.png"} for i, image, _ in rows]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    labels = pa.array([label for _, _, label in rows], pa.int64())
    pq.write_table(pa.table({"image": pa.array(images, kind), "label": labels}), path)
