"""Stop a run early whose output can no longer be complete: more records were rejected than the gate allows in all."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from lake.core.errors import UnfinishedError
from pipeline.config import JobConfig

_RUNS = 16  # most runs that are counted; a process rarely has more than one


@dataclass(slots=True)
class _Counts:
    """Rejects by reason, in all and of each unit that has some."""

    all: Counter[str] = field(default_factory=Counter)
    units: dict[str, Counter[str]] = field(default_factory=dict)


class RejectLimit:
    """Counts the rejects of each run in this process. Thread-safe.

    Other processes count their own. So a run over many of them may go on for longer, but none stops that could
    complete.
    """

    def __init__(self) -> None:
        self._lock, self._runs = threading.Lock(), OrderedDict[tuple[str, str], _Counts]()

    def add(self, config: JobConfig, unit: str, reasons: Iterable[str]) -> None:
        """Count rejected records.

        Args:
          config: the job.
          unit: id of their unit.
          reasons: why they were rejected, one for each.

        Raises:
          UnfinishedError: there are more than ``JobConfig.reject_limit``.
        """
        if config.reject_limit is None:
            return
        more = Counter(reasons)
        with self._lock:
            counts = self._counts(config)
            counts.all.update(more)
            counts.units.setdefault(unit, Counter()).update(more)
            total, (reason, count) = counts.all.total(), counts.all.most_common(1)[0]
        if total > config.reject_limit:
            raise UnfinishedError(
                f"{config.output}: {total:,} records were rejected so far, {count:,} of them as {reason}, and "
                f"{config.reject_limit:,} may be (--max-reject-fraction); mend the input, or allow more, and run the "
                "job again, which keeps what was finished"
            )

    def forget(self, config: JobConfig, unit: str) -> None:
        """Forget the rejects of a unit: it begins anew, or its attempt does not count."""
        if config.reject_limit is not None:
            with self._lock:
                counts = self._counts(config)
                counts.all.subtract(counts.units.pop(unit, Counter()))

    def _counts(self, config: JobConfig) -> _Counts:
        counts = self._runs.setdefault((config.output, config.run), _Counts())
        self._runs.move_to_end((config.output, config.run))
        if len(self._runs) > _RUNS:
            self._runs.popitem(last=False)
        return counts


REJECT_LIMIT = RejectLimit()
