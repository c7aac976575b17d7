"""What a commit is told of its run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.output.describe.description import Description


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The part of a run that the commit needs.

    It travels in the pipeline's graph, so it stays small however many units there are.

    Attributes:
      units: number of units in the plan, finished before or not.
      todo: number of units that this run was to process.
      obsolete: URI of the list of units that the commit drops; "" for none.
      passed_over: what the input has and the job does not read, by reason: ``count`` and ``examples``.
      started: when the run began, in seconds since the epoch.
      expected: number of records that the whole input must have; None if it is not known.
      tidy: whether an earlier run may have left files that no receipt names.
      companions: URI of the list of files that the commit copies beside the images; "" for none.
      recovered: URI of what the plan counts on, and what it does not, of runs that did not come to their end; "" if
        there were none.
      description: what the commit says of the output beside the data; None for nothing.
      ranges: in how many ranges of units workers commit it; 0 if one task does. See ``pipeline.output.commit.ranges``.
    """

    units: int
    todo: int
    obsolete: str
    passed_over: Mapping[str, Any]
    started: float
    expected: int | None = None
    tidy: bool = False
    companions: str = ""
    recovered: str = ""
    description: Description | None = None
    ranges: int = 0
