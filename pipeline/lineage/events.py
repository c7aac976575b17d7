"""OpenLineage events of a run: START when it is staged, COMPLETE, FAIL or ABORT at its end.

Each event stands for itself, as the specification 2-0-2 and its facets have it
(https://openlineage.io/spec/2-0-2/OpenLineage.json).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias

import pyarrow as pa

from lake import __version__
from pipeline.lineage.datasets import Dataset, dataset_of

Facet: TypeAlias = dict[str, Any]

PRODUCER = f"https://github.com/latentlake/latentlake/tree/v{__version__}"
_SPEC = "https://openlineage.io/spec"
_VERSIONS = {  # of the facets' definitions
    "DatasetVersionDatasetFacet": "1-0-1",
    "DatasourceDatasetFacet": "1-0-1",
    "ErrorMessageRunFacet": "1-0-1",
    "InputStatisticsInputDatasetFacet": "1-0-0",
    "JobTypeJobFacet": "2-0-4",
    "OutputStatisticsOutputDatasetFacet": "1-0-2",
    "ParentRunFacet": "1-2-0",
    "ProcessingEngineRunFacet": "1-1-1",
    "SchemaDatasetFacet": "1-2-0",
}


class EventType(StrEnum):
    """What has become of a run."""

    START = "START"
    COMPLETE = "COMPLETE"
    FAIL = "FAIL"
    ABORT = "ABORT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The run that started this one, such as a task of Airflow. The attributes are those of its facet."""

    namespace: str
    name: str
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """What is told of a run from its beginning. It travels to the step that commits a detached one.

    Attributes:
      run: id of the run, a UUID.
      namespace: of the job.
      verb: what it computes.
      output: URI of the output.
      directories: of data that it writes, relative to the output; the one with tables first.
      inputs: URIs that records are read of.
      files: number of shards of the units that are run.
      size: bytes of these.
      model: URI of the bundle, as the user names it; "" if that is not known.
      tables: URIs of tables of which one may tell the columns, if the run writes it.
      parent: what started the run; None if it is not known.
    """

    run: str
    namespace: str
    verb: str
    output: str
    directories: tuple[str, ...]
    inputs: tuple[str, ...]
    files: int
    size: int
    model: str
    tables: tuple[str, ...] = ()
    parent: Parent | None = None


def event(
    kind: EventType,
    lineage: Lineage,
    *,
    summary: Mapping[str, Any] | None = None,
    schema: pa.Schema | None = None,
    error: str = "",
) -> dict[str, Any]:
    """Make an event.

    Args:
      kind: what has become of the run.
      lineage: what is known of it from its beginning.
      summary: of the run, as ``_SUCCESS`` holds it; None where there is none.
      schema: of its tables; None if it is not known.
      error: why it failed.
    """
    run_facets = {"processing_engine": _facet("ProcessingEngineRunFacet", version=__version__, name="latentlake")}
    if lineage.parent is not None:
        parent = lineage.parent
        job = {"namespace": parent.namespace, "name": parent.name}
        run_facets["parent"] = _facet("ParentRunFacet", run={"runId": parent.run}, job=job)
    if error:
        run_facets["errorMessage"] = _facet("ErrorMessageRunFacet", message=error, programmingLanguage="PYTHON")
    job_type = _facet("JobTypeJobFacet", processingType="BATCH", integration="LATENTLAKE", jobType="JOB")
    name = f"{lineage.verb}.{lineage.output}"
    return {
        "eventType": str(kind),
        "eventTime": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "producer": PRODUCER,
        "schemaURL": f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": lineage.run, "facets": run_facets},
        "job": {"namespace": lineage.namespace, "name": name, "facets": {"jobType": job_type}},
        "inputs": _inputs(lineage, summary),
        "outputs": _outputs(lineage, summary, schema),
    }


def _inputs(lineage: Lineage, summary: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    found = [_dataset(name) for name in _names(lineage.inputs)]
    # What was read of each of several inputs is not counted.
    if summary is not None and len(found) == 1:
        counts = {"rowCount": summary["run"]["read"], "fileCount": lineage.files, "size": lineage.size}
        found[0]["inputFacets"] = {"inputStatistics": _facet("InputStatisticsInputDatasetFacet", **counts)}
    return [*found, *map(_dataset, _names([lineage.model] if lineage.model else []))]


def _outputs(lineage: Lineage, summary: Mapping[str, Any] | None, schema: pa.Schema | None) -> list[dict[str, Any]]:
    found = []
    for at, directory in enumerate(lineage.directories):
        one = _dataset(dataset_of(f"{lineage.output}/{directory}"))
        if schema is not None and at == 0:
            one["facets"]["schema"] = _facet("SchemaDatasetFacet", fields=_fields(schema))
        if summary is not None:
            version = str(summary["manifest"]["crc32c"])
            one["facets"]["version"] = _facet("DatasetVersionDatasetFacet", datasetVersion=version)
            written = summary["run"]["written"].get(directory, {"files": 0, "rows": 0, "bytes": 0})
            counts = {"rowCount": written["rows"], "fileCount": written["files"], "size": written["bytes"]}
            one["outputFacets"] = {"outputStatistics": _facet("OutputStatisticsOutputDatasetFacet", **counts)}
        found.append(one)
    return found


def _names(uris: Sequence[str]) -> list[Dataset]:
    """The datasets that URIs name, each once."""
    return list(dict.fromkeys(map(dataset_of, uris)))


def _dataset(dataset: Dataset) -> dict[str, Any]:
    source = _facet("DatasourceDatasetFacet", name=dataset.namespace, uri=dataset.uri)
    return {"namespace": dataset.namespace, "name": dataset.name, "facets": {"dataSource": source}}


def _fields(fields: pa.Schema | pa.StructType) -> list[dict[str, Any]]:
    return [
        {
            "name": field.name,
            "type": str(field.type),
            **({"fields": _fields(field.type)} if pa.types.is_struct(field.type) else {}),
        }
        for field in fields
    ]


def _facet(kind: str, /, **values: Any) -> Facet:
    url = f"{_SPEC}/facets/{_VERSIONS[kind]}/{kind}.json#/$defs/{kind}"
    return {"_producer": PRODUCER, "_schemaURL": url, **values}
