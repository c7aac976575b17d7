"""What each verb makes of a batch. One file per kind of work, one line of ``_TASKS`` each."""

from functools import lru_cache
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING

from pipeline.config import JobConfig, Verb

if TYPE_CHECKING:
    from pipeline.verbs.base import Task
    from pipeline.worker import Worker

_TASKS = {
    Verb.ENCODE: ("pipeline.verbs.encode", "Encode"),
    Verb.RECONSTRUCT: ("pipeline.verbs.encode", "Reconstruct"),
    Verb.DENOISE: ("pipeline.verbs.denoise", "Denoise"),
    Verb.DECODE: ("pipeline.verbs.decode", "Decode"),
    Verb.GENERATE: ("pipeline.verbs.decode", "Decode"),
}
_making = Lock()


def task_for(config: JobConfig, worker: "Worker") -> "Task":
    """What is done with every batch of a job; one for the whole process, since it holds compiled functions."""
    with _making:
        return _task(config, worker)


@lru_cache(maxsize=4)
def _task(config: JobConfig, worker: "Worker") -> "Task":
    module, name = _TASKS[config.verb]
    task: Task = getattr(import_module(module), name)(config, worker)
    return task
