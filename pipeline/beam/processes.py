"""How many processes a job on this machine has: one with a thread for each core, or one for each core."""

import math
from dataclasses import replace

from lake.core.container import cores, limits
from lake.images.turns import SHORT
from pipeline.job.prepare import Job

_WORTH = 32 << 20  # bytes of input that are worth another process, which takes more than a second to start
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
    most = min(cores(), len(job.plan.todo) // _UNITS, job.plan.todo_bytes // _WORTH)
    if memory is not None:
        most = min(most, memory // _MEMORY)
    return max(0, most - 1)
