"""A job before it runs: a bundle whose model nobody loads, and shards of which one image is decoded."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.bundle import write_bundle
from model.input_spec import Input
from model.spec import Golden, Latent, Spec
from pipeline.options.job_options import JobOptions
from tests.conftest import png

IMAGES = Input(shape=(8, 8, 1), dtype="uint8", value_range=(0.0, 1.0), color="gray")
BLACK = png(np.zeros((8, 8), np.uint8))
VECTORS = Input(shape=(5,), dtype="float32", value_range=(0.0, 1.0), color=None)


def asked(verb: str = "reconstruct", **changes: Any) -> JobOptions:
    """What a user asks for, of files that are not there."""
    return JobOptions(verb=verb, model="/m", output="/out", **changes)


def make_spec(**changes: Any) -> Spec:
    """Of an autoencoder of 8 x 8 grey images; ``changes`` are fields of ``Spec``."""
    plain: dict[str, Any] = {
        "kind": "autoencoder",
        "input": IMAGES,
        "latent": Latent(layer="encoded", shape=(3,)),
        "functions": ("encode", "reconstruct", "decode"),
        "golden": Golden(count=1, seed=0, tolerance=1e-3),
        "files": {},
    }
    return Spec(**(plain | changes))


def write_shard(path: Path, rows: int = 3, **columns: Any) -> None:
    """A Parquet shard of black images of 8 x 8, with a label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": BLACK, "path": f"{row}.png"} for row in range(rows)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    plain = {"image": pa.array(images, kind), "label": pa.array(range(rows), pa.int64())}
    pq.write_table(pa.table(plain | columns), path)


class Place:
    """Where a job is: its input, its model and its output."""

    def __init__(self, root: Path, models: Path) -> None:
        self.source, self.output, self.models = root / "in", root / "out", models
        write_shard(self.source / "a.parquet")
        write_shard(self.source / "b.parquet")

    def bundle(self, name: str = "plain", content: bytes = b"model", **changes: Any) -> str:
        """A bundle of a model that nobody loads."""
        uri = self.models / name
        if not uri.exists():
            write_bundle(str(uri), make_spec(**changes), {"model.keras": content, "golden.npz": b"golden"})
        return str(uri)

    def options(self, verb: str = "encode", **changes: Any) -> JobOptions:
        """What a user asks for."""
        plain = JobOptions(
            verb=verb,
            model=changes.pop("model", "") or self.bundle(),
            output=str(self.output),
            input=(str(self.source),),
        )
        return replace(plain, **changes)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def place(tmp_path: Path, models: Path) -> Place:
    return Place(tmp_path, models)
