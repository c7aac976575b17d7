"""What the machine can do at most: decoding alone and the model alone, in memory, on all cores.

    python benchmarks/limits.py --input GLOB --model BUNDLE [--resize MODE]

Prints one line of JSON with both rates and the composed limit 1 / (1/decode + 1/model): what a job would reach whose
reading, parsing, writing and Python cost nothing.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from model.backend import cores
from model.bundle import Bundle
from model.runtime import Runtime
from pipeline.images.base import Resize, Target
from pipeline.images.decode import Decoder
from pipeline.job import settle
from pipeline.listing import find_shards
from pipeline.plan import make_units
from pipeline.readers import Request, reader_for


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", nargs="+", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--resize", type=Resize)
    parser.add_argument("--batches", type=int, default=24, help="batches of each pass")
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each side is measured")
    given = parser.parse_args()
    bundle = Bundle.open(given.model)
    runtime = Runtime.load(bundle)
    decoder = Decoder(Target(shape=bundle.spec.input.shape, resize=given.resize))
    batches = read(given.input, runtime.batch_size, given.batches)
    pixels = [decoder.decode(batch).groups[0].pixels for batch in batches]
    decode = rate(decoder.decode, batches, given.seconds)
    model = rate(runtime.encode, pixels, given.seconds)
    print(json.dumps({"decode": decode, "model": model, "composed": 1 / (1 / decode + 1 / model)}))


def read(inputs: Sequence[str], size: int, count: int) -> list[Any]:
    """The first full batches of the input, parsed."""
    found = find_shards(inputs)
    columns = settle(found, Request())
    raw = (batch for unit in make_units(found) for batch in reader_for(unit.format).read(unit, columns, size))
    return [batch for batch in (r.records() for r in islice(raw, count)) if len(batch) == size]


def rate(work: Callable[[Any], Any], items: Sequence[Any], seconds: float) -> float:
    """Records per second of ``work`` over batches, with the better of as many callers as cores, and two more."""
    return max(_rate(work, items, seconds / 2, callers) for callers in (cores(), cores() + 2))


def _rate(work: Callable[[Any], Any], items: Sequence[Any], seconds: float, callers: int) -> float:
    done = 0
    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(work, items))  # warm
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            list(pool.map(work, items))
            done += sum(map(len, items))
        return done / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
