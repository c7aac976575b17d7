"""Make the shards that the benchmark reads, from Parquet files of real images.

    python benchmarks/data.py --data DIR --work DIR [--records N] [SET ...]

``--data`` holds the folders ``mnist``, ``cifar10`` and ``bsd400``, each with ``*.parquet`` of the columns
``image: struct<bytes, path>`` (an encoded file and its name) and ``label: int64`` or null. A set repeats its source in
order until it has the records asked for, keys stay unique, and the image bytes are the source's own, but for the set
that is made grey. A set appears whole as ``<work>/<set>-<records>/`` or not at all; one that is there is reused. The
same arguments give the same bytes.
"""

import argparse
import io
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

BLOCK = 2_000  # records in memory at a time
PHOTOGRAPH = (321, 481)  # pixels: height and width of a BSD photograph that lies on its long side
NOISE = 25  # standard deviation of what is added to the mosaic, where white is 255


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSet:
    """A benchmark input: where its images come from, and how they are stored."""

    source: str  # folder below --data
    suffix: str
    records: int  # by default
    per_shard: int
    write: Callable[[Iterator[pa.Table], Path], None]


def make(name: str, data: Path, work: Path, records: int | None = None, *, one_shard: bool = False) -> Path:
    """The directory with the shards of set ``name``, which is made unless it is there.

    Args:
      name: a key of ``SETS``.
      data: directory with the Parquet sources.
      work: directory below which the set is kept.
      records: how many records in all; None for the set's own number.
      one_shard: whether all of them go into one shard, in ``<work>/<set>-<records>-one/``.

    Raises:
      FileNotFoundError: ``data`` has no Parquet files for this set.
    """
    kind = SETS[name]
    total = kind.records if records is None else records
    target = work / (f"{name}-{total}-one" if one_shard else f"{name}-{total}")
    if not target.is_dir():
        _check_source(data / kind.source)
        _publish(name, data, target, total, total if one_shard else kind.per_shard)
    return target


def _check_source(folder: Path) -> None:
    if not any(folder.glob("*.parquet")):
        raise FileNotFoundError(f"{folder}: no *.parquet in it; set --data to the directory of the sources")


def _fresh(target: Path) -> Path:
    """An empty directory beside the target, to become it."""
    partial_directory = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial_directory, ignore_errors=True)
    partial_directory.mkdir(parents=True)
    return partial_directory


def _publish(name: str, data: Path, target: Path, total: int, per_shard: int) -> None:
    partial_directory = _fresh(target)
    starts = range(0, total, per_shard)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        stops = [min(start + per_shard, total) for start in starts]
        list(pool.map(partial(write_shard, name, data, partial_directory), range(len(starts)), starts, stops))
    partial_directory.rename(target)


def write_shard(name: str, data: Path, directory: Path, number: int, start: int, stop: int) -> None:
    """Write records ``[start, stop)`` of a set as its shard ``number`` below ``directory``."""
    kind = SETS[name]
    kind.write(_blocks(data / kind.source, start, stop), directory / f"{name}-{number:05d}{kind.suffix}")


def _blocks(folder: Path, start: int, stop: int) -> Iterator[pa.Table]:
    """Records ``[start, stop)`` of the endless repetition, as tables of ``number, path, bytes, label``."""
    source = pa.concat_tables(pq.read_table(file) for file in sorted(folder.glob("*.parquet"))).combine_chunks()
    for first in range(start, stop, BLOCK):
        number = np.arange(first, min(first + BLOCK, stop))
        rows = source.take(number % len(source))
        image = rows["image"].combine_chunks()
        rounds = pa.array([f"r{turn:04d}" for turn in number // len(source)])
        path = pc.binary_join_element_wise(rounds, image.field("path"), "/")
        yield pa.table({"number": number, "path": path, "bytes": image.field("bytes"), "label": rows["label"]})


def write_tfrecord(blocks: Iterator[pa.Table], file: Path) -> None:
    """``tf.train.Example`` with ``image/encoded``, ``image/filename`` and ``label``, framed as TFRecord with CRCs."""
    with file.open("wb") as out:
        for block in blocks:
            for row in block.to_pylist():
                example = _example(row["bytes"], row["path"].encode(), row["label"])
                length = len(example).to_bytes(8, "little")
                out.write(length + _masked_crc(length) + example + _masked_crc(example))


def write_gray_tfrecord(blocks: Iterator[pa.Table], file: Path) -> None:
    """The same with every image as a grey PNG, by Pillow's rule for grey."""
    write_tfrecord(map(_gray, blocks), file)


def _gray(block: pa.Table) -> pa.Table:
    files = []
    for data in block["bytes"].to_pylist():
        out = io.BytesIO()
        _gray_image(data).save(out, "PNG")
        files.append(out.getvalue())
    return block.set_column(block.schema.get_field_index("bytes"), "bytes", pa.array(files))


def _gray_image(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("L")


def _masked_crc(data: bytes) -> bytes:
    crc: int = google_crc32c.value(data)
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def _example(encoded: bytes, filename: bytes, label: int) -> bytes:
    """Protocol buffer wire format of tensorflow/core/example/{example,feature}.proto."""
    features = (
        _field(1, _entry(b"image/encoded", _field(1, _field(1, encoded)))),
        _field(1, _entry(b"image/filename", _field(1, _field(1, filename)))),
        _field(1, _entry(b"label", _field(3, _field(1, _varint(label))))),
    )
    return _field(1, b"".join(features))


def _entry(name: bytes, feature: bytes) -> bytes:
    return _field(1, name) + _field(2, feature)


def _field(number: int, payload: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def write_parquet(blocks: Iterator[pa.Table], file: Path) -> None:
    """``image: struct<bytes, path>, label``, as the Hugging Face ``datasets`` library writes images."""
    writer = None
    for block in blocks:
        image = pa.StructArray.from_arrays(
            [block["bytes"].combine_chunks(), block["path"].combine_chunks()], names=["bytes", "path"]
        )
        table = pa.table({"image": image, "label": block["label"]})
        writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd")
        writer.write_table(table, row_group_size=1_000)
    if writer:
        writer.close()


def write_tar(blocks: Iterator[pa.Table], file: Path) -> None:
    """WebDataset: ``NNNNNNN.jpg``, and ``NNNNNNN.cls`` where there is a label, as a POSIX ustar archive."""
    with file.open("wb") as out:
        for block in blocks:
            for row in block.to_pylist():
                _member(out, f"{row['number']:07d}.jpg", row["bytes"])
                if row["label"] is not None:
                    _member(out, f"{row['number']:07d}.cls", str(row["label"]).encode())
        out.write(bytes(2 * tarfile.BLOCKSIZE))


def _member(out: BinaryIO, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    out.write(info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE))


def mosaic(data: Path, work: Path, side: int) -> Path:
    """A directory with one grey PNG of ``side`` x ``side`` pixels, which is made unless it is there.

    Photographs of ``bsd400`` lie side by side in rows, with noise of standard deviation ``NOISE`` on them.

    Raises:
      FileNotFoundError: ``data`` has no photographs.
    """
    target = work / f"mosaic-{side}"
    if target.is_dir():
        return target
    _check_source(data / "bsd400")
    pixels, partial_directory = _noisy(_photographs(data / "bsd400"), side), _fresh(target)
    Image.fromarray(pixels).save(partial_directory / "mosaic.png", compress_level=1)
    partial_directory.rename(target)
    return target


def _photographs(folder: Path) -> Iterator[np.ndarray]:
    """The photographs of a folder as grey pixels of the shape ``PHOTOGRAPH``, again and again."""
    rows = next(_blocks(folder, 0, BLOCK))
    while True:
        for file in rows["bytes"].to_pylist():
            pixels = np.asarray(_gray_image(file))
            yield pixels if pixels.shape == PHOTOGRAPH else pixels.T


def _noisy(photographs: Iterator[np.ndarray], side: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    pixels = np.empty((side, side), np.uint8)
    height, width = PHOTOGRAPH
    for top in range(0, side, height):
        row = np.concatenate([next(photographs) for _ in range(0, side, width)], axis=1)[: side - top, :side]
        pixels[top : top + height] = np.clip(np.rint(row + rng.normal(0, NOISE, row.shape)), 0, 255)
    return pixels


SETS = {
    "mnist-tfrecord": ShardSet(
        source="mnist", suffix=".tfrecord", records=480_000, per_shard=30_000, write=write_tfrecord
    ),
    "mnist-parquet": ShardSet(
        source="mnist", suffix=".parquet", records=480_000, per_shard=30_000, write=write_parquet
    ),
    "cifar-gray-tfrecord": ShardSet(
        source="cifar10", suffix=".tfrecord", records=8_000, per_shard=1_000, write=write_gray_tfrecord
    ),
    "cifar-tfrecord": ShardSet(
        source="cifar10", suffix=".tfrecord", records=8_000, per_shard=1_000, write=write_tfrecord
    ),
    "cifar-tar": ShardSet(source="cifar10", suffix=".tar", records=480_000, per_shard=30_000, write=write_tar),
    "bsd-tar": ShardSet(source="bsd400", suffix=".tar", records=4_000, per_shard=500, write=write_tar),
}


def main() -> int:
    """Make the sets named on the command line, all of them by default, and print their directories."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"one of {', '.join(SETS)}; all by default")
    parser.add_argument("--data", type=Path, required=True, help="directory of the Parquet sources")
    parser.add_argument("--work", type=Path, required=True, help="directory to keep the shards in")
    parser.add_argument("--records", type=int, help="records in each set, for a smaller run")
    options = parser.parse_args()
    unknown = sorted(set(options.sets) - set(SETS))
    if unknown or (options.records is not None and options.records < 1):
        parser.error(f"no set is called {unknown[0]}" if unknown else "--records must be 1 or more")
    for name in options.sets or SETS:
        print(make(name, options.data, options.work, options.records))
    return 0


if __name__ == "__main__":
    sys.exit(main())
