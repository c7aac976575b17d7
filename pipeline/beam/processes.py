"""How many processes a job on this machine has: one with a thread for each core, or one for each core."""

import math
from collections.abc import Sequence
from dataclasses import replace

from lake.core.container import cores, limits
from lake.core.records import Unit
from lake.images.turns import SHORT
from lake.inputs.units import input_bytes
from pipeline.job.prepare import Job
from pipeline.job.record_counts import about_records

# What is worth another process, which takes more than a second to start: as many records, or where nothing tells how
# many there are, as many bytes of input.
_WORTH = 50_000
_WORTH_BYTES = 32 << 20
_HEADS = 8  # most shards that are looked at to tell the records
_UNITS = 2  # units for each process, so that none waits long for the last one
_MEMORY = 512 << 20  # bytes of a process


def with_processes_beside(job: Job) -> tuple[Job, int]:
    """Return how many processes run units beside this one, and the job with the threads that are left to each.

    There are none where the user says how many threads there are, where threads do not get in each other's way, and
    where there is little to do.

    Args:
      job: a job that runs on this machine.
    """
    count = _count(job)
    if not count:
        return job, 0
    return replace(job, config=replace(job.config, threads=max(1, cores() // (count + 1)))), count


def _count(job: Job) -> int:
    target, memory = job.config.target, limits().memory
    # TensorFlow decodes many images in a call, outside of the interpreter lock.
    threads_do = job.config.executor != "onnx" or target.any_size or math.prod(target.fixed) > SHORT
    if job.options.threads is not None or threads_do or len(target.shape) != 3:
        return 0
    most = min(cores(), len(job.plan.todo) // _UNITS)
    if memory is not None:
        most = min(most, memory // _MEMORY)
    return 0 if most < 2 else max(0, min(most, _worth(job.plan.todo, job.plan.todo_bytes)) - 1)


def _worth(units: Sequence[Unit], size: int) -> int:
    """How many processes units of so many bytes are worth."""
    some = [units[at] for at in range(0, len(units), -(-len(units) // _HEADS))]
    if (told := about_records(some)) is None:
        return size // _WORTH_BYTES
    return int(told * size / max(1, sum(map(input_bytes, some)))) // _WORTH
