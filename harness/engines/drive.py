"""``python -m pipeline`` that writes its Beam counters down: ``python -m harness.engines.drive COUNTERS encode``."""

import json
import sys
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import MetricsFilter

from pipeline.cli.command import main


def drive(counters: Path, arguments: list[str]) -> int:
    """Run one command; the result is its exit status."""
    run, results = beam.Pipeline.run, list[Any]()

    def noted(pipeline: beam.Pipeline) -> Any:
        results.append(run(pipeline))
        return results[-1]

    beam.Pipeline.run = noted
    status = main(arguments)
    if status == 0 and "--detach" not in arguments:
        found = results[0].metrics().query(MetricsFilter().with_namespace("latentlake"))["counters"]
        counters.write_text(json.dumps({counter.key.metric.name: counter.result for counter in found}))
    return status


if __name__ == "__main__":
    sys.exit(drive(Path(sys.argv[1]), sys.argv[2:]))
