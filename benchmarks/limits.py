"""What the machine can do at most: each step of a job alone, in memory, on all cores.

    python -m benchmarks.limits VERB --input GLOB --model BUNDLE [--resize MODE] [--decode MODE] [--noise-level SIGMA]

Prints one line of JSON with the rate of each step and the composed limit 1 / (1/one + 1/other + ...): what a job would
reach whose reading, parsing, writing and Python cost nothing. Each step counts as the best of the executors does it,
and the decoder that goes with it. The steps are, on the batches that the job itself makes:

    encode       decode, model
    reconstruct  decode, model, encode (the images to files)
    denoise      model
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from lake.core.container import cores
from lake.core.records import Array, Records
from lake.formats import FORMATS
from lake.images.encoder import ImageEncoder, ImageFormat
from lake.images.native_decoder import NativeDecoder
from lake.images.types import DecodeMode, Group, Resize
from model.bundle import Bundle
from model.denoiser import Denoiser
from model.pixels import to_pixels
from model.runtime import executors_of
from pipeline.job.prepare import Job, prepare
from pipeline.options.job_options import JobOptions
from pipeline.worker.process import Worker, worker_for
from pipeline.worker.verbs import verb_for
from pipeline.worker.worker_key import WorkerKey


class Step(NamedTuple):
    """One step of a job, and what it is given of each batch."""

    work: Callable[[Any], object]
    items: Sequence[Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", type=str, choices=list(_STEPS), metavar="VERB")
    parser.add_argument("--input", nargs="+", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--resize", type=Resize)
    parser.add_argument("--decode", type=DecodeMode, default=DecodeMode.EXACT)
    parser.add_argument("--noise-level")
    parser.add_argument("--batches", type=int, default=24, help="batches of each pass")
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each step is measured")
    given = vars(parser.parse_args())
    most, seconds = given.pop("batches"), given.pop("seconds")
    with tempfile.TemporaryDirectory() as output:
        job = prepare(JobOptions(output=output, **given))
    known, first = Bundle.open(given["model"]), job.config.executor
    key = WorkerKey(model=known.uri, digest=known.digest, target=job.config.target)
    workers = {
        name: partial(worker_for, replace(key, executor=name)) for name in dict.fromkeys((first, *executors_of(known)))
    }
    batches = read(job, workers[first](), most)
    records = sum(map(len, batches))
    rates: dict[str, float] = {}
    for load in workers.values():  # the job's own one is first: once TensorFlow is started, it decodes as well
        for name, step in _STEPS[job.config.verb](job, load(), batches).items():
            rates[name] = max(rates.get(name, 0.0), rate(step, records, seconds))
    print(json.dumps({**rates, "composed": 1 / sum(1 / value for value in rates.values())}))


def read(job: Job, worker: Worker, count: int) -> list[Records]:
    """The first batches of the input, parsed; for a model of one size the full ones alone, if there are any."""
    config = job.config
    verb = verb_for(config, worker)
    units = ((FORMATS[unit.format].reader, unit) for unit in job.plan.todo)
    raw = (batch for reader, unit in units for batch in reader.read(unit, config.columns, verb.size, verb.room))
    found = [batch.records() for batch in islice(raw, count)]
    full = [] if worker.runtime.spec.input.any_size else [batch for batch in found if len(batch) == verb.size]
    return full or found


def rate(step: Step, records: int, seconds: float) -> float:
    """Records per second of a step over its items, with the better of as many callers as cores, and two more."""
    step.work(step.items[-1])  # warm; the last batch is the smallest
    return max(_rate(step, records, seconds / 2, callers) for callers in (cores(), cores() + 2))


def _rate(step: Step, records: int, seconds: float, callers: int) -> float:
    passes = 0
    with ThreadPoolExecutor(callers) as pool:
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            list(pool.map(step.work, step.items))
            passes += 1
        return passes * records / (time.perf_counter() - started)


def _encode(_: Job, worker: Worker, batches: Sequence[Records]) -> dict[str, Step]:
    pixels = [worker.decoder.decode(batch).groups[0].pixels for batch in batches]
    return {"decode": Step(worker.decoder.decode, batches), "model": Step(worker.runtime.encode, pixels)}


def _reconstruct(_: Job, worker: Worker, batches: Sequence[Records]) -> dict[str, Step]:
    runtime = worker.runtime
    pixels = [worker.decoder.decode(batch).groups[0].pixels for batch in batches]
    made = [to_pixels(runtime.reconstruct(some).output, runtime.spec.output_range, some.dtype) for some in pixels]
    return {
        "decode": Step(worker.decoder.decode, batches),
        "model": Step(runtime.reconstruct, pixels),
        "encode": Step(partial(_files, ImageEncoder(ImageFormat.LOSSLESS, 90)), made),
    }


def _files(encoder: ImageEncoder, images: Array) -> None:
    for image in images:
        encoder.encode(image, None)


def _denoise(job: Job, worker: Worker, batches: Sequence[Records]) -> dict[str, Step]:
    decoder, noise = NativeDecoder(job.config.target), job.config.noise
    groups = [list(decoder.groups(batch, {})) for batch in batches]
    level = None if noise is None or noise.level is None else noise.level / 255
    return {"model": Step(partial(_denoised, Denoiser(worker.runtime), level), groups)}


def _denoised(denoiser: Denoiser, level: float | None, groups: Sequence[Group]) -> None:
    for group in groups:
        levels = None if level is None else np.full(len(group.pixels), level, np.float32)
        denoiser.denoise(group.pixels, levels)


_STEPS: dict[str, Callable[[Job, Worker, Sequence[Records]], dict[str, Step]]] = {
    "encode": _encode,
    "reconstruct": _reconstruct,
    "denoise": _denoise,
}


if __name__ == "__main__":
    main()
