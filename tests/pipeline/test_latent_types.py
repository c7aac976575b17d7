"""Latents in smaller types, scaled, pooled, sampled and mirrored: through whole jobs, and back by ``decode``."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import InputError, OutputError, UsageError
from pipeline.job.prepare import prepare
from pipeline.options.job_options import JobOptions
from pipeline.output.verify import verify
from tests.conftest import Model, Pixels
from tests.pipeline.conftest import run_job

FIRST = "a/train-0.parquet"


def table_of(output: Path, name: str = "latents") -> pa.Table:
    return pa.concat_tables(pq.read_table(file) for file in sorted((output / name).rglob("*.parquet")))


def numbers(table: pa.Table, column: str = "latent") -> Pixels:
    return np.stack(table[column].to_numpy())


def said(output: Path, name: str = FIRST) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(pq.read_schema(output / "latents" / name).metadata[b"latentlake.latent"])
    return value


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory, shards: Path, model: Model) -> Path:
    """``encode`` of two shards in 8 bits."""
    root = tmp_path_factory.mktemp("int8")
    shutil.copytree(shards / "a", root / "in" / "a")
    run_job("encode", root / "in", model.bundle, root / "out", latent_type="int8")
    return root


def test_half_precision_is_the_latent_rounded(encoded: Path, shards: Path, model: Model, tmp_path: Path) -> None:
    run_job("encode", shards / FIRST, model.bundle, tmp_path / "out", latent_type="float16", latent_scale=0.18215)
    wanted = numbers(pq.read_table(encoded / "latents" / FIRST)) * np.float32(0.18215)
    found = numbers(table_of(tmp_path / "out"))
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, wanted.astype(np.float16))
    assert verify(str(tmp_path / "out"), deep=True).problems == ()


def test_scale_and_offset_last_as_long_as_the_output(int8: Path, shards: Path, model: Model, encoded: Path) -> None:
    output, options = int8 / "out", {"latent_type": "int8"}
    first = said(output)
    assert len(first["scale"]) == len(first["offset"]) == 16
    plain = numbers(table_of(encoded))[:1000]
    found = numbers(table_of(output))
    assert found.dtype == np.int8
    back = found * np.float32(first["scale"]) + np.float32(first["offset"])
    assert (np.abs(back - plain) <= np.array(first["scale"]) * 0.51).all()
    shutil.copytree(shards / "b", int8 / "in" / "b", dirs_exist_ok=True)
    summary = run_job("encode", int8 / "in", model.bundle, output, **options)
    assert (summary["run"]["units"], summary["run"]["kept_units"]) == (1, 2), "what was done is not done again"
    assert said(output, "b/train-2.parquet") == first
    with pytest.raises(OutputError, match="latents"):
        prepare(
            JobOptions(
                verb="encode", input=(str(int8 / "in"),), model=model.bundle, output=str(output),
                latent_type="int8", latent_quantization="table",
            )
        )  # fmt: skip


def test_decode_takes_every_type_back(int8: Path, encoded: Path, model: Model, tmp_path: Path) -> None:
    stated = said(int8 / "out")
    table = pq.read_table(int8 / "out" / "latents" / FIRST)
    plain = numbers(table) * np.float32(stated["scale"]) + np.float32(stated["offset"])
    kind = pa.list_(pa.float32(), 16)
    (tmp_path / "plain").mkdir()
    floats = table.replace_schema_metadata({}).set_column(3, "latent", pa.array(list(plain), kind))
    pq.write_table(floats, tmp_path / "plain" / "x.parquet")
    run_job("decode", int8 / "out" / "latents" / FIRST, model.bundle, tmp_path / "a")
    run_job("decode", tmp_path / "plain", model.bundle, tmp_path / "b")
    one, other = table_of(tmp_path / "a", "images"), table_of(tmp_path / "b", "images")
    assert one["image"].to_pylist() == other["image"].to_pylist()


def test_decode_refuses_what_it_cannot_have_back(int8: Path, model: Model, tmp_path: Path) -> None:
    table = pq.read_table(int8 / "out" / "latents" / FIRST)
    metadata = dict(table.schema.metadata)
    stated = json.loads(metadata[b"latentlake.latent"])

    def with_metadata(**changes: Any) -> dict[bytes, bytes]:
        return metadata | {b"latentlake.latent": json.dumps(stated | changes).encode()}

    cases = {
        "does not say with what scale": {},
        "says uint8; it is damaged": with_metadata(type="uint8"),
        "divided by their lengths": with_metadata(normalize="l2"),
        "pooled": with_metadata(pool="mean"),
        "a scale that is not above 0": with_metadata(scale=[-1.0] * 16),
    }
    for number, (text, value) in enumerate(cases.items()):
        file = tmp_path / f"{number}.parquet"
        pq.write_table(table.replace_schema_metadata(value), file)
        with pytest.raises(InputError, match=text):
            prepare(JobOptions(verb="decode", input=(str(file),), model=model.bundle, output=str(tmp_path / "out")))


def test_given_scales_are_used_and_what_they_do_not_reach_is_counted(
    encoded: Path, shards: Path, model: Model, tmp_path: Path
) -> None:
    plain = numbers(pq.read_table(encoded / "latents" / FIRST))
    scale = float(plain.max()) / 300
    (tmp_path / "scale.json").write_text(json.dumps({"scale": scale, "offset": [0]}))
    summary = run_job(
        "encode", shards / FIRST, model.bundle, tmp_path / "out",
        latent_type="uint8", latent_quantization=str(tmp_path / "scale.json"),
    )  # fmt: skip
    steps = np.rint(plain / np.float32(scale))
    np.testing.assert_array_equal(numbers(table_of(tmp_path / "out")), np.clip(steps, 0, 255).astype(np.uint8))
    assert summary["run"]["clipped"] == int(((steps < 0) | (steps > 255)).sum()) > 0
    for text in ("[]", "{", '{"scale": 1}', '{"scale": [1, 2], "offset": [1, 2]}', '{"scale": 0, "offset": 0}'):
        (tmp_path / "scale.json").write_text(text)
        with pytest.raises(UsageError, match=r"--latent-quantization .*scale\.json"):
            prepare(
                JobOptions(
                    verb="encode", input=(str(shards),), model=model.bundle, output=str(tmp_path / "new"),
                    latent_type="uint8", latent_quantization=str(tmp_path / "scale.json"),
                )
            )  # fmt: skip


def test_bits_of_reconstructed_images(shards: Path, model: Model, encoded: Path, tmp_path: Path) -> None:
    run_job("reconstruct", shards / FIRST, model.bundle, tmp_path / "out", latent_type="binary", images=False)
    offset = np.array(said(tmp_path / "out", "train-0.parquet")["offset"], np.float32)
    plain = numbers(pq.read_table(encoded / "latents" / FIRST))
    found = np.unpackbits(numbers(table_of(tmp_path / "out")), axis=1)
    sure = np.abs(plain - offset) > 1e-4  # reconstruct and encode differ in last bits
    np.testing.assert_array_equal(found[sure], (plain > offset)[sure])


def test_unit_length_and_mirror_images(shards: Path, model: Model, digits: Pixels, tmp_path: Path) -> None:
    run_job("encode", shards / FIRST, model.bundle, tmp_path / "out", normalize="l2", flip=True)
    table = table_of(tmp_path / "out")
    for column, pixels in (("latent", digits[:700]), ("latent_flip", digits[:700, :, ::-1])):
        latents = model.encode(pixels)
        lengths = np.linalg.norm(latents, axis=1, keepdims=True)
        np.testing.assert_allclose(numbers(table, column), latents / lengths, atol=1e-5)
    assert said(tmp_path / "out", "train-0.parquet")["normalize"] == "l2"


def test_a_grid_becomes_one_vector(shards: Path, digits: Pixels, tmp_path: Path) -> None:
    from lake.core.tensorflow import keras
    from model.export import export

    keras().utils.set_random_seed(2)
    image = keras().Input((8, 8, 1))
    grid = keras().layers.Conv2D(3, 2, strides=2, name="grid")(image)
    net = keras().Model(image, keras().layers.Conv2DTranspose(1, 2, strides=2)(grid))
    net.save(tmp_path / "net.keras")
    bundle = export(tmp_path / "net.keras", "grid", str(tmp_path / "bundle")).uri
    run_job("encode", shards / FIRST, bundle, tmp_path / "out", pool="mean")
    wanted = keras().Model(image, grid).predict(digits[:700, ..., None].astype(np.float32) / 255, verbose=0)
    np.testing.assert_allclose(numbers(table_of(tmp_path / "out")), wanted.mean(axis=(1, 2)), atol=1e-5)
    assert said(tmp_path / "out", "train-0.parquet")["shape"] == [4, 4, 3]
    options = {"verb": "encode", "input": (str(shards),), "model": bundle, "output": str(tmp_path / "new")}
    with pytest.raises(UsageError, match="no tokens"):
        prepare(JobOptions(**options, pool="cls"))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"latent_quantization": "table"}, "of int8, uint8 and binary"),
        ({"sample": 1}, "gives no distributions"),
        ({"pool": "mean"}, "one vector already"),
        ({"latent_scale": 1e-60}, "no positive number of 32 bits"),
        ({"latent_type": "int4"}, "int4"),
        ({"latent_scale": -1}, "latent_scale"),
        ({"sample": -1}, "sample"),
    ],
)
def test_options_that_make_no_sense(
    options: dict[str, Any], text: str, shards: Path, model: Model, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=text):
        prepare(
            JobOptions(verb="encode", input=(str(shards),), model=model.bundle, output=str(tmp_path / "out"), **options)
        )
