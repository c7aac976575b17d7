"""Where the latents of ``generate`` come from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import BundleError, InputError, UsageError
from lake.inputs.sampled import LatentSampling
from model.spec import Spec
from pipeline.job.sampling import latent_sampling
from pipeline.options.job_options import JobOptions
from tests.pipeline.job.conftest import asked, make_spec

VAE: Spec = make_spec(kind="vae", functions=("encode", "reconstruct", "decode", "generate"))


def test_samples_of_the_prior() -> None:
    assert latent_sampling(asked("encode", count=5), VAE) is None
    assert latent_sampling(asked("generate", count=5), VAE) == LatentSampling(count=5)
    assert latent_sampling(asked("generate", count=5, seed=7), VAE) == LatentSampling(count=5, seed=7)
    with pytest.raises(UsageError, match="how many images"):
        latent_sampling(asked("generate"), VAE)
    with pytest.raises(BundleError, match="cannot generate"):
        latent_sampling(asked("generate", count=5), make_spec())
    with pytest.raises(UsageError, match="--input goes with --interpolate"):
        latent_sampling(asked("generate", count=5, input=("/in",)), VAE)


def write_latents(path: Path, latents: dict[str, tuple[float, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.list_(pa.field("element", pa.float32(), nullable=False), 3)
    columns = {"key": [*latents], "latent": pa.array([*latents.values()], kind), "index": range(len(latents))}
    pq.write_table(pa.table(columns), path)


def between(root: Path, *keys: str, **changes: Any) -> JobOptions:
    plain = {"count": 5, "interpolate": keys, "input": (str(root),), "image": "latent", "key": "key"}
    return asked("generate", **(plain | changes))


def test_ends_are_looked_up(tmp_path: Path) -> None:
    write_latents(tmp_path / "a.parquet", {"x": (1, 2, 3), "y": (4, 5, 6)})
    write_latents(tmp_path / "b.parquet", {"z": (7, 8, 9), "x": (1, 2, 3)})
    spec = make_spec()
    wanted = LatentSampling(count=5, ends=((1.0, 2.0, 3.0), (7.0, 8.0, 9.0)))
    assert latent_sampling(between(tmp_path, "x", "z"), spec) == wanted
    assert latent_sampling(between(tmp_path, "z", "x"), spec) == replace(wanted, ends=wanted.ends[::-1])  # type: ignore[index]
    assert latent_sampling(between(tmp_path, "x", "x"), spec) == replace(wanted, ends=((1.0, 2.0, 3.0),) * 2)
    assert latent_sampling(between(tmp_path, "x", "z", format="parquet", image=None, key=None), spec) == wanted


def test_ends_are_looked_up_by_the_names_that_are_asked_for(tmp_path: Path) -> None:
    kind = pa.list_(pa.field("element", pa.float32(), nullable=False), 3)
    vectors = {"code": pa.array([[1, 2, 3], [4, 5, 6]], kind), "latent": pa.array([[0, 0, 0]] * 2, kind)}
    pq.write_table(pa.table({"name": ["x", "y"], "key": ["y", "x"], **vectors}), tmp_path / "a.parquet")
    (tmp_path / "b.tar").write_bytes(b"another format")
    options = between(tmp_path, "x", "y", image="code", key="name", format="parquet")
    assert latent_sampling(options, make_spec()) == LatentSampling(count=5, ends=((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)))


def test_ends_that_are_not_there_once_are_refused(tmp_path: Path) -> None:
    write_latents(tmp_path / "a.parquet", {"x": (1, 2, 3), "y": (4, 5, 6)})
    with pytest.raises(InputError, match=f"no record with the key 'other' in {tmp_path}"):
        latent_sampling(between(tmp_path, "x", "other"), make_spec())
    write_latents(tmp_path / "b.parquet", {"x": (1, 2, 4)})
    with pytest.raises(InputError, match="several records have the key 'x'"):
        latent_sampling(between(tmp_path, "x", "y"), make_spec())
    with pytest.raises(UsageError, match="name them with --input"):
        latent_sampling(between(tmp_path, "x", "y", input=()), make_spec())
    with pytest.raises(BundleError, match="cannot decode"):
        latent_sampling(between(tmp_path, "x", "y"), make_spec(functions=("encode",)))
    with pytest.raises(UsageError, match="how many images"):
        latent_sampling(between(tmp_path, "x", "y", count=None), make_spec())
    with pytest.raises(InputError):
        latent_sampling(between(tmp_path, "x", "y", format="webdataset"), make_spec())
    with pytest.raises(InputError):
        latent_sampling(between(tmp_path, "x", "y", key="none"), make_spec())


def test_ends_have_the_length_of_the_models_latents(tmp_path: Path) -> None:
    write_latents(tmp_path / "a.parquet", {"x": (1, 2, 3), "y": (4, 5, 6)})
    spec = make_spec()
    assert spec.latent is not None
    with pytest.raises(InputError):
        latent_sampling(between(tmp_path, "x", "y"), replace(spec, latent=replace(spec.latent, shape=(4,))))
