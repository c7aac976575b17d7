"""What bad images cost: the rate of decoding by the share of records that are bad, in memory, on all cores.

    python -m benchmarks.damage [--rounds N] [--seed N]

Prints, for each kind of image, records per second (records read, good or bad) of clean batches and of batches where 5%
and 50% of the records are bad, their ratio to clean ones by time and by time of the processor, which tells more where
other work goes on beside, (medians over rounds in which all three take turns), and by how much the resident memory grew
over the second half of the rounds. Bad are in equal parts: a file of zero bytes, a page of HTML, a file cut off in its
image data, one with a flipped bit there, and an image of another size.
"""

import argparse
import io
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from PIL import Image

from harness.machine import machine, on_machine
from lake.core.container import cores
from lake.core.records import Array, Records
from lake.images.decoder import Decoder
from lake.images.types import Target

BATCH = 1024  # records, as in the job
SHARES = (0.0, 0.05, 0.5)
KINDS = (("PNG", (28, 28, 1)), ("PNG", (32, 32, 3)), ("JPEG", (32, 32, 3)), ("JPEG", (64, 64, 3)))
HTML = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body>".ljust(1200)
_DATA = {"PNG": (b"IDAT", 4), "JPEG": (b"\xff\xda", 14)}  # what image data begins with, and how long that is

Shape: TypeAlias = tuple[int, int, int]
Damage: TypeAlias = Callable[[np.random.Generator, bytes, str, Shape], bytes]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(on_machine(machine()), flush=True)
    for kind, shape in KINDS:
        rng = np.random.default_rng(given.seed)
        batches = {share: [batch(rng, kind, shape, share) for _ in range(2 * cores())] for share in SHARES}
        name = f"{kind} {shape[1]}x{shape[0]}x{shape[2]}"
        report(name, *measured(Decoder(Target(shape=shape)), batches, given.rounds))


def measured(decoder: Decoder, batches: dict[float, list[Records]], rounds: int) -> tuple[dict[float, Array], float]:
    """Seconds of wall and processor time for a record by share, ``[rounds, 2]``, and MiB that memory grew by."""
    seconds: dict[float, list[Array]] = {share: [] for share in batches}
    resident = []
    with ThreadPoolExecutor(cores()) as pool:
        for _ in range(rounds + 1):
            for share, some in batches.items():
                started = _clocks()
                list(pool.map(decoder.decode, some))
                seconds[share].append((_clocks() - started) / BATCH / len(some))
            resident.append(_resident())
    # The first round builds graphs, and does not count.
    return {share: np.array(some[1:]) for share, some in seconds.items()}, resident[-1] - resident[len(resident) // 2]


def report(name: str, seconds: dict[float, Array], growth: float) -> None:
    """One line for a kind of image."""
    parts = [f"{name:<13}"]
    for share, some in seconds.items():
        wall, processor = np.median(seconds[0.0] / some, axis=0)
        parts.append(f"{share:3.0%} bad: {1 / np.median(some[:, 0]):7,.0f}/s ({wall:.2f}, cpu {processor:.2f})")
    print("   ".join([*parts, f"memory {growth:+.1f} MiB"]), flush=True)


def _clocks() -> Array:
    return np.array([time.perf_counter(), time.process_time()])


def batch(rng: np.random.Generator, kind: str, shape: Shape, share: float) -> Records:
    """A batch of images of which a share is bad."""
    files = [_file(picture(rng, shape), kind) for _ in range(BATCH)]
    chosen = rng.permutation(BATCH)[: round(BATCH * share)].tolist()
    for position, damage in zip(chosen, cycle(_DAMAGES), strict=False):
        files[position] = damage(rng, files[position], kind, shape)
    key = pa.array([""] * BATCH)
    return Records(shard="", index=np.arange(BATCH), key=key, payload=pa.array(files, pa.binary()), carried={})


def picture(rng: np.random.Generator, shape: Shape) -> Array:
    """Smooth noise under a little grain, uint8 ``[H, W, C]``: it compresses as small photographs do."""
    height, width, channels = shape
    coarse = rng.integers(0, 256, (height // 4 + 2, width // 4 + 2, channels), np.uint8)
    planes = [np.asarray(Image.fromarray(coarse[..., c]).resize((width, height))) for c in range(channels)]
    grain = rng.normal(0, 5, shape)
    return np.clip(np.stack(planes, axis=-1) + grain, 0, 255).astype(np.uint8)


def _file(pixels: Array, kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(out, kind)
    return out.getvalue()


def _cut(rng: np.random.Generator, data: bytes, kind: str, _: Shape) -> bytes:
    return data[: rng.integers(_start(data, kind), len(data) - 16)]


def _flipped(rng: np.random.Generator, data: bytes, kind: str, _: Shape) -> bytes:
    position = int(rng.integers(_start(data, kind), len(data) - 16))
    return data[:position] + bytes((data[position] ^ 1 << int(rng.integers(8)),)) + data[position + 1 :]


def _start(data: bytes, kind: str) -> int:
    name, length = _DATA[kind]
    return data.index(name) + length


def _resized(rng: np.random.Generator, _: bytes, kind: str, shape: Shape) -> bytes:
    return _file(picture(rng, (shape[0], shape[1] + 3, shape[2])), kind)


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) / 256


_DAMAGES: Sequence[Damage] = (lambda *_: b"", lambda *_: HTML, _cut, _flipped, _resized)


if __name__ == "__main__":
    main()
