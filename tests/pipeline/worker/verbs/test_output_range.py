"""Models that take 0..255 and put out 0..1: every verb that writes images writes what goes in."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.conftest import Pixels
from tests.pipeline.conftest import run_job


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network with its scaling inside: the latent is the image in 0..1, and so is the output."""
    from lake.core.tensorflow import keras
    from model.export import export
    from model.preprocessing import Preprocessing

    path, layers = tmp_path_factory.mktemp("scaled"), keras().layers
    image = layers.Input((8, 8, 1))
    code = layers.Flatten(name="code")(layers.Rescaling(1 / 255)(image))
    keras().Model(image, layers.Reshape((8, 8, 1))(code)).save(path / "m.keras")
    given = Preprocessing(value_range=(0.0, 255.0), output_range=(0.0, 1.0))
    export(path / "m.keras", "code", str(path / "bundle"), given)
    return str(path / "bundle")


def _written(output: Path) -> list[Pixels]:
    files = sorted((output / "images").rglob("*.parquet"))
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    return [np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in rows]


def test_what_goes_in_comes_out(bundle: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (5, 8, 8), np.uint8)
    np.save(tmp_path / "in.npy", pixels[..., None])
    for verb, table in (("reconstruct", "latents"), ("denoise", "metrics")):
        output = tmp_path / verb
        more = {"images": True} if verb == "reconstruct" else {}
        run_job(verb, tmp_path / "in.npy", bundle, output, output_format="parquet", **more)
        np.testing.assert_array_equal(_written(output), pixels)
        mse = pa.concat_tables([pq.read_table(file) for file in (output / table).rglob("*.parquet")])["mse"]
        np.testing.assert_allclose(mse.to_numpy(), 0, atol=1e-12)
    run_job("decode", tmp_path / "reconstruct", bundle, tmp_path / "decode", output_format="parquet")
    np.testing.assert_array_equal(_written(tmp_path / "decode"), pixels)
