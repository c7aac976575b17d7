"""The jobs as transforms of Beam YAML: ``deploy/beam_yaml/providers.yaml`` names them, and their config is the options.

A transform of YAML gives rows with a schema, which the next one can filter or write: here one, the summary of the run.
"""

from typing import Any, ClassVar, NamedTuple

import apache_beam as beam

from pipeline.transforms import DenoiseShards, EncodeShards


class FinishedRun(NamedTuple):
    """What a run has done, and what its output has then.

    Attributes:
      output: URI of the output.
      run: id of the run.
      units_done: number of units that this run did.
      units: number of units of the whole output.
      read: records of the whole output; likewise ``results`` and ``rejects``.
      results: of these, how many have one.
      rejects: of these, how many have none.
    """

    output: str
    run: str
    units_done: int
    units: int
    read: int
    results: int
    rejects: int


class _Job(beam.PTransform):
    """A job with the options that the YAML gives; what it results in is described with its subclasses."""

    _yaml_requires_inputs = False  # which Beam YAML asks of a transform
    job: ClassVar[type[beam.PTransform]]

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self._job = self.job(**config)

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[FinishedRun]:
        return begin | self._job | "As a row" >> beam.Map(finished_run).with_output_types(FinishedRun)


class EncodeShardsYaml(_Job):
    """``EncodeShards``, for Beam YAML. The result is one ``FinishedRun``.

    Args:
      config: the arguments of ``pipeline.transforms.EncodeShards``.
    """

    job = EncodeShards


class DenoiseShardsYaml(_Job):
    """``DenoiseShards``, for Beam YAML. The result is one ``FinishedRun``.

    Args:
      config: the arguments of ``pipeline.transforms.DenoiseShards``.
    """

    job = DenoiseShards


def finished_run(summary: dict[str, Any]) -> FinishedRun:
    """The row of a run.

    Args:
      summary: of a run that is complete.

    >>> total = {"units": 3, "read": 20, "results": 19, "rejects": 1}
    >>> finished_run({"output": "latents", "run": {"id": "1", "units": 2}, "total": total})
    FinishedRun(output='latents', run='1', units_done=2, units=3, read=20, results=19, rejects=1)
    """
    run, total = summary["run"], summary["total"]
    counts = {name: total[name] for name in ("units", "read", "results", "rejects")}
    return FinishedRun(output=summary["output"], run=run["id"], units_done=run["units"], **counts)
