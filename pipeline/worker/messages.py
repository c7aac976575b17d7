"""What a process and one that runs units for it tell each other."""

from collections.abc import Mapping
from dataclasses import dataclass

from lake.core.records import Unit
from pipeline.config import JobConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be done.

    Attributes:
      unit: the unit to run; None to load the model only, which has no answer.
      config: the job.
    """

    unit: Unit | None
    config: JobConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What was counted since the last time.

    Attributes:
      more: increments by the name of a field of ``lake.core.counters.Counts``.
    """

    more: Mapping[str, int]
