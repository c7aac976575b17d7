"""Checks ``deploy/kubernetes`` against the schemas of Kubernetes and of the Flink operator: ``scripts/manifests``.

    python -m harness.manifests KUBECONFORM SCHEMAS OPERATOR

``SCHEMAS`` is the package kubernetes-validate, which has those of Kubernetes, and ``OPERATOR`` the operator's
``flink-kubernetes-operator-api`` jar, which has its custom resource definitions.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import yaml

MANIFESTS = Path(__file__).parents[1] / "deploy/kubernetes"
OLDEST, NEWEST = "1.32.0", "1.37.0"  # of Kubernetes
_NAMES = "{{.ResourceKind}}{{.KindSuffix}}.json"


def main(kubeconform: str, schemas: str, operator: str) -> None:
    """Check all manifests, as both versions of Kubernetes read them; a fault is an error."""
    with tempfile.TemporaryDirectory() as directory:
        for archive in (schemas, operator):
            zipfile.ZipFile(archive).extractall(directory)
        for definition in Path(directory).glob("META-INF/fabric8/*-v1.yml"):
            _write_schemas(yaml.safe_load(definition.read_text()), Path(directory))
        for version in (OLDEST, NEWEST):
            own = Path(directory, f"kubernetes_validate/kubernetes-json-schema/v{version}-local-strict")
            for path in own.glob("*job-batch-v1.json"):
                path.write_text(_self_contained(path.read_text(), (own / "_definitions.json").read_text()))
            where = ("-schema-location", f"{own}/{_NAMES}", "-schema-location", f"{directory}/{_NAMES}")
            subprocess.run([kubeconform, "-strict", "-summary", *where, str(MANIFESTS)], check=True)


def _self_contained(schema: str, definitions: str) -> str:
    """A schema with the definitions that it refers to in another file."""
    inner = definitions.replace('"#/$defs/', '"#/definitions/')
    outer = schema.replace('"/api/_definitions.json#/$defs/', '"#/definitions/')
    return json.dumps({**json.loads(outer), "definitions": json.loads(inner)["$defs"]})


def _write_schemas(definition: dict[str, Any], directory: Path) -> None:
    """Write the schema of each version of a custom resource, under the name that kubeconform looks for."""
    kind, group = definition["spec"]["names"]["kind"].lower(), definition["spec"]["group"].partition(".")[0]
    for version in definition["spec"]["versions"]:
        schema = _closed(version["schema"]["openAPIV3Schema"])
        del schema["additionalProperties"]  # what every resource has: apiVersion, kind, metadata
        (directory / f"{kind}-{group}-{version['name']}.json").write_text(json.dumps(schema))


def _closed(schema: Any) -> Any:
    """The schema with no further fields than it names, where a mistyped one would be dropped in silence."""
    if isinstance(schema, list):
        return [_closed(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    free = "properties" not in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    return closed if free or not isinstance(schema["properties"], dict) else {"additionalProperties": False, **closed}


if __name__ == "__main__":
    main(*sys.argv[1:])
