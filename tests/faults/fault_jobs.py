"""Jobs over a cage of the zoo, and what must come of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from lake.core.records import Reason
from pipeline.config import Gate
from pipeline.job.stage import begin
from pipeline.options.job_options import JobOptions
from pipeline.transforms import RunJob
from tests.faults.bad_records import MOST, Bad, Record
from tests.faults.containers import Cage

Identity: TypeAlias = tuple[str, int, str]  # shard, index, key


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A job over good and bad records, and one over the good ones alone; ``counters`` are Beam's of the first."""

    verb: str
    cage: Cage
    records: Sequence[Record]
    mixed: Path
    clean: Path
    counters: dict[str, int]

    @property
    def good(self) -> list[Record]:
        return [record for record in self.records if record.bad is None]

    @property
    def bad(self) -> list[Record]:
        return [record for record in self.records if record.bad is not None]

    @property
    def table(self) -> str:
        return "metrics" if self.verb == "denoise" else "latents"

    def results(self, source: Sequence[Record]) -> list[tuple[Identity, Record]]:
        """What a job must make of a source, by shard and index."""
        found = [(self.cage.identity(record, at), record) for at, record in enumerate(source) if record.bad is None]
        return sorted(found, key=lambda pair: pair[0][:2])


def visit(verb: str, cage: Cage, bundle: str, place: Path) -> Visit:
    """Run both jobs."""
    records = herd(verb, cage)
    good = [record for record in records if record.bad is None]
    counters = {}
    for name, some in (("mixed", records), ("clean", good)):
        (place / "in" / name).mkdir(parents=True)
        cage.write(place / "in" / name, some)
        counters[name] = run(verb, place / "in" / name, bundle, place / name, **dict(cage.columns))
    outputs = {"mixed": place / "mixed", "clean": place / "clean"}
    return Visit(verb=verb, cage=cage, records=records, counters=counters["mixed"], **outputs)


def herd(verb: str, cage: Cage) -> list[Record]:
    """What a verb is given: for a denoiser, which sees colours one by one, none that is rejected for them.

    Where images are written, one of a file of several would be lost, so that such a file is a reject.
    """
    kept = [_of_one_page(record) if record.several and verb != "encode" else record for record in cage.records()]
    if verb != "denoise":
        return kept
    return [record for record in kept if not (record.bad and record.bad.reason is Reason.WRONG_CHANNELS)]


def _of_one_page(record: Record) -> Record:
    says = "[A-Z]+ of 2 (or more )?pages or frames; --pages first takes the first one.*"
    return replace(record, pixels=None, bad=Bad(Reason.SEVERAL_PAGES, says))


def run(verb: str, source: Path, bundle: str, output: Path, **settings: Any) -> dict[str, int]:
    """Run a job as ``pipeline.beam.launch`` does; gives Beam's counters."""
    named: dict[str, Any] = {"input": (str(source),), "model": bundle, "output": str(output)}
    gate = Gate(max_reject_fraction=1.0)
    job = begin(JobOptions(verb=verb, gate=gate, max_record_bytes=MOST, **named, **settings), ends_with_process=True)
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | RunJob(job)
    result = pipeline.run()
    result.wait_until_finish()
    counters = result.metrics().query(MetricsFilter().with_namespace("latentlake"))["counters"]
    return {counter.key.metric.name: counter.committed for counter in counters}
