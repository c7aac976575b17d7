"""The registry of verbs. A new verb is one module with one class, and one line here."""

from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from importlib import import_module
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.config import JobConfig
    from pipeline.worker.process import Worker
    from pipeline.worker.verbs.verb import Verb

_CLASSES = {
    "encode": ("pipeline.worker.verbs.encode", "Encode"),
    "reconstruct": ("pipeline.worker.verbs.encode", "Reconstruct"),
    "denoise": ("pipeline.worker.verbs.denoise", "Denoise"),
    "decode": ("pipeline.worker.verbs.decode", "Decode"),
    "generate": ("pipeline.worker.verbs.decode", "Generate"),
}
# The same verbs with a model of images of any size, whose latents keep their shapes.
_ANY_SIZE = {
    "encode": ("pipeline.worker.verbs.any_size", "EncodeAnySize"),
    "reconstruct": ("pipeline.worker.verbs.any_size", "ReconstructAnySize"),
    "decode": ("pipeline.worker.verbs.decode_any_size", "DecodeAnySize"),
}


class _Verbs(Mapping[str, "type[Verb]"]):
    """A mapping from name to class that imports each class when it is first looked up.

    The command line lists the names, and must not import every verb for that.
    """

    def __getitem__(self, name: str) -> "type[Verb]":
        return _load(*_CLASSES[name])

    def __iter__(self) -> Iterator[str]:
        return iter(_CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)


VERBS: Mapping[str, "type[Verb]"] = _Verbs()
_making = Lock()


def verb_for(config: "JobConfig", worker: "Worker") -> "Verb":
    """Return the verb of a job with its model; one per process, because it holds compiled functions.

    Args:
      config: the job.
      worker: the process's worker for the job's model.
    """
    with _making:
        return _verb(config, worker)


@cache
def _load(module: str, name: str) -> "type[Verb]":
    kind: type[Verb] = getattr(import_module(module), name)
    return kind


@lru_cache(maxsize=16)  # a job has one for each format whose shards are rewritten
def _verb(config: "JobConfig", worker: "Worker") -> "Verb":
    own = _ANY_SIZE.get(config.verb) if worker.runtime.spec.input.any_size else None
    return (VERBS[config.verb] if own is None else _load(*own))(config, worker)
