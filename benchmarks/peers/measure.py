"""What the peers share: their arguments, when records passed the model, and the figures and checks at the end.

A worker calls ``passed`` after each batch; it may be a thread, a process or an actor, so the marks go through files.
The clock counts from the machine's boot and is one for all processes.
"""

import argparse
import glob
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

LATENT = "encoded"  # name of the layer whose output is wanted
KEY, IMAGE, LABEL = "image/filename", "image/encoded", "label"  # features of the Examples
SCHEMA = pa.schema([("key", pa.string()), ("label", pa.int64()), ("latent", pa.list_(pa.float32()))])


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The command line of a peer."""

    input: str
    model: Path
    output: Path
    mode: str
    verify: int

    def shards(self) -> list[str]:
        """Paths of the shards, in the order of their names."""
        return sorted(glob.glob(self.input))  # noqa: PTH207  (the pattern may be absolute)


def arguments(description: str, modes: Sequence[str]) -> Arguments:
    """Read the command line; leaves the process with status 2 where it is wrong."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--input", required=True, help="glob of the TFRecord shards")
    parser.add_argument("--model", type=Path, required=True, help="a .keras file with a layer named 'encoded'")
    parser.add_argument("--output", type=Path, required=True, help="a directory that does not exist yet")
    parser.add_argument("--mode", choices=modes, default=modes[0], help="%(choices)s; default %(default)s")
    parser.add_argument("--verify", type=int, default=0, metavar="N", help="compare N latents with the model's own")
    given = Arguments(**vars(parser.parse_args()))
    if not given.shards():
        parser.error(f"--input {given.input}: no file matches")
    if given.output.exists():
        parser.error(f"--output {given.output}: is there already; remove it or name another")
    given.output.mkdir(parents=True)
    return given


def encoder(model: Path) -> Any:
    """The part of the Keras model from its input to the latent layer."""
    import keras

    whole = keras.models.load_model(model, compile=False)
    return keras.Model(whole.input, whole.get_layer(LATENT).output)


def now() -> float:
    """Seconds since the machine booted."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def process_start() -> float:
    """When this process began, on the clock of ``now``: before the interpreter, to 10 ms."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")  # proc(5): field 22, starttime


def passed(marks: Path, records: int) -> None:
    """Note that a batch of this many records has just passed the model in this process."""
    with (marks / f"{os.getpid()}.txt").open("a") as file:
        file.write(f"{now()} {records}\n")


def finish(given: Arguments, marks: Path, end: float) -> None:
    """Check the output and print the figures as one line of JSON.

    The steady rate counts from the first batch of the process that was the last to have one, so that no worker's
    start is in it, to ``end``, when the last file was written. Records that had passed the model before that are left
    out.
    """
    start = process_start()
    workers = [np.loadtxt(file, ndmin=2) for file in sorted(marks.iterdir())]
    first = max(worker[0, 0] for worker in workers)
    batches = np.concatenate(workers)
    records, before = _rows(given.output), int(batches[batches[:, 0] <= first, 1].sum())
    figures = {
        "records": records,
        "seconds_total": round(end - start, 3),
        "seconds_startup": round(min(worker[0, 0] for worker in workers) - start, 3),
        "seconds_steady": round(end - first, 3),
        "rate_steady": round((records - before) / (end - first), 1),
        "workers": len(workers),
    }
    print(json.dumps(figures | (_verify(given, records) if given.verify else {})), flush=True)


def _rows(output: Path) -> int:
    import pyarrow.dataset as ds

    return ds.dataset(output, format="parquet").count_rows()


def _verify(given: Arguments, rows: int) -> dict[str, float]:
    """Compare every key and ``given.verify`` latents with the shards and the model itself.

    Raises:
      ValueError: records are missing or repeated, or a label or latent differs.
    """
    import pyarrow.dataset as ds
    import tensorflow as tf

    examples = [record for shard in given.shards() for record in tf.data.TFRecordDataset(shard).as_numpy_iterator()]
    table = ds.dataset(given.output, format="parquet").to_table()
    row_of = {key: row for row, key in enumerate(table["key"].to_pylist())}
    if not len(examples) == rows == len(row_of):
        raise ValueError(f"{given.output}: {rows} rows, {len(row_of)} keys for {len(examples)} records")
    chosen = [_parse(examples[i]) for i in np.linspace(0, rows - 1, min(given.verify, rows)).astype(int)]
    got = table.take([row_of[key] for key, _, _ in chosen])
    expected = encoder(given.model).predict(np.stack([image for _, image, _ in chosen]) / np.float32(255), verbose=0)
    difference = float(np.abs(np.array(got["latent"].to_pylist()) - expected).max())
    if difference > 1e-4 * np.abs(expected).max() or got["label"].to_pylist() != [label for *_, label in chosen]:
        raise ValueError(f"{given.output}: labels or latents differ from the model's own by up to {difference}")
    return {"verified": len(chosen), "max_difference": difference}


def _parse(record: bytes) -> tuple[str, np.ndarray, int]:
    """Key, uint8 pixels ``[H, W, 1]`` and label of an Example."""
    import io

    import tensorflow as tf
    from PIL import Image

    feature = tf.train.Example.FromString(record).features.feature
    image = np.asarray(Image.open(io.BytesIO(feature[IMAGE].bytes_list.value[0])).convert("L"))[..., None]
    return feature[KEY].bytes_list.value[0].decode(), image, feature[LABEL].int64_list.value[0]
