"""Events, against the published specification."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from jsonschema import ValidationError

from pipeline.lineage.datasets import Dataset, dataset_of
from pipeline.lineage.events import EventType, Lineage, Parent, event
from tests.pipeline.lineage.server import check_event

LINEAGE = Lineage(
    run="01a4b8f2-0000-5000-8000-000000000001",
    namespace="nights",
    verb="reconstruct",
    output="s3://lake/out",
    directories=("latents", "images"),
    inputs=("s3://raw/photos/dt=*/*.tar",),
    files=3,
    size=900,
    model="zoo:mnist-autoencoder",
    parent=Parent(namespace="airflow", name="dag.task", run="01a4b8f2-0000-5000-8000-000000000002"),
)
SUMMARY = {
    "manifest": {"crc32c": "00c0ffee"},
    "run": {"read": 8, "written": {"latents": {"files": 3, "rows": 7, "bytes": 70}}},
}
SCHEMA = pa.schema([("key", pa.string()), ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])


def facets(value: dict[str, Any]) -> dict[str, Any]:
    """Without what says where a facet is described."""
    hidden = ("_producer", "_schemaURL")
    return {name: {k: v for k, v in one.items() if k not in hidden} for name, one in value.items()}


@pytest.mark.parametrize("kind", EventType)
def test_every_event_fits_the_specification(kind: EventType) -> None:
    check_event(event(kind, LINEAGE))
    check_event(event(kind, replace(LINEAGE, parent=None, inputs=(), model=""), error="out of disk"))
    check_event(event(kind, LINEAGE, summary=SUMMARY, schema=SCHEMA, error="3 failed units"))


def test_the_check_can_fail() -> None:
    broken = event(EventType.START, LINEAGE)
    broken["run"]["facets"]["parent"]["run"] = {}
    with pytest.raises(ValidationError, match="runId"):
        check_event(broken)
    with pytest.raises(ValidationError, match="uuid"):
        check_event(event(EventType.START, replace(LINEAGE, run="monday")))


def test_what_is_told_at_the_end() -> None:
    made = event(EventType.COMPLETE, LINEAGE, summary=SUMMARY, schema=SCHEMA)
    assert made["job"]["namespace"] == "nights"
    assert made["job"]["name"] == "reconstruct.s3://lake/out"
    photos, model = made["inputs"]
    assert (photos["namespace"], photos["name"]) == ("s3://raw", "photos")
    assert facets(photos["inputFacets"]) == {"inputStatistics": {"rowCount": 8, "fileCount": 3, "size": 900}}
    assert (model["namespace"], model["name"]) == ("latentlake", "zoo:mnist-autoencoder")
    latents, images = made["outputs"]
    assert (latents["namespace"], latents["name"]) == ("s3://lake", "out/latents")
    assert facets(latents["outputFacets"]) == {"outputStatistics": {"rowCount": 7, "fileCount": 3, "size": 70}}
    nested = [{"name": "bytes", "type": "binary"}, {"name": "path", "type": "string"}]
    assert facets(latents["facets"]) == {
        "dataSource": {"name": "s3://lake", "uri": "s3://lake"},
        "version": {"datasetVersion": "00c0ffee"},
        "schema": {
            "fields": [
                {"name": "key", "type": "string"},
                {"name": "image", "type": "struct<bytes: binary, path: string>", "fields": nested},
            ]
        },
    }
    assert facets(images["outputFacets"]) == {"outputStatistics": {"rowCount": 0, "fileCount": 0, "size": 0}}


def test_counts_of_several_inputs_are_not_told() -> None:
    made = event(EventType.COMPLETE, replace(LINEAGE, inputs=("/a", "/b/*.tar", "/b/c*")), summary=SUMMARY)
    assert [one["name"] for one in made["inputs"]] == ["/a", "/b", "zoo:mnist-autoencoder"]
    assert all("inputFacets" not in one for one in made["inputs"])


@pytest.mark.parametrize(
    ("uri", "namespace", "name"),
    [
        ("s3://lake/a/b/", "s3://lake", "a/b"),
        ("gs://lake/*/b.tar", "gs://lake", "/"),
        ("s3://lake/{a,b}/c", "s3://lake", "/"),
        ("/data/[ab]/c", "file", "/data"),
        ("/", "file", "/"),
        ("file:///data/a%20b/*.tar", "file", "/data/a b"),
    ],
)
def test_names(uri: str, namespace: str, name: str) -> None:
    assert dataset_of(uri) == Dataset(namespace, name)
