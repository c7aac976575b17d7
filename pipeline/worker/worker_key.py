"""What tells one worker of a process from another."""

from dataclasses import dataclass

from lake.images.types import Target
from pipeline.options.reject_retry import RejectRetry


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerKey:
    """The model of a worker, and how it is run.

    Attributes:
      model: URI of the bundle.
      digest: digest that the bundle had when the job was planned.
      target: what images are decoded to.
      threads: threads of the pool; None for one per core of this process, or fewer if its container has little memory.
      retry: how rejected images are decoded once more; None to reject them.
      executor: what computes the model's functions; None for the first one that runs the bundle.
      allow_code: whether the bundle's own code may be run.
    """

    model: str
    digest: str
    target: Target
    threads: int | None = None
    retry: RejectRetry | None = None
    executor: str | None = None
    allow_code: bool = False
