"""Jobs with an encoder and a decoder that came as ONNX files of any size, compared with ONNX Runtime on these files."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import latentlake as ll
from tests.conftest import png
from tests.model.onnx_import.networks import Graph, first, last, run
from tests.pipeline.worker.verbs.test_any_size import images_of

pytestmark = pytest.mark.slow  # jobs from end to end

_SIZES = [(40, 64), (64, 40), (24, 24), (40, 64)]


def _part(kind: str, name: str, given: int, made: int) -> Graph:
    graph = Graph()
    weight = graph.weight(4, 3, 8, 8, scale=0.05)
    x = graph.node(kind, graph.take("x", ("n", given, "h", "w")), weight, strides=[8, 8])
    graph.node("Sigmoid" if made == 3 else "Identity", x, name=name)
    return graph.give(name)


def test_images_of_many_sizes_there_and_back(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pictures = [np.random.default_rng(n).integers(0, 256, (*size, 3), np.uint8) for n, size in enumerate(_SIZES)]
    for n, picture in enumerate(pictures):
        (tmp_path / f"in/{n}.png").write_bytes(png(picture))
    encoder, decoder = _part("Conv", "z", 3, 4), _part("ConvTranspose", "y", 4, 3)
    files = {"encoder": encoder.save(tmp_path / "e.onnx"), "decoder": decoder.save(tmp_path / "d.onnx")}
    bundle = ll.export(output=tmp_path / "bundle", any_output=True, **files)
    ll.encode(tmp_path / "in", model=bundle, output=tmp_path / "latents")
    rows = [
        row for path in (tmp_path / "latents/latents").rglob("*.parquet") for row in pq.read_table(path).to_pylist()
    ]
    assert len(rows) == len(pictures)
    ll.decode(tmp_path / "latents/latents", model=bundle, output=tmp_path / "back")
    images = images_of(tmp_path / "back")
    for row in rows:
        number = int(Path(row["key"]).stem)
        (z,) = run(encoder.data(), ["z"], x=first(pictures[number][None]))
        np.testing.assert_allclose(np.reshape(row["latent"], row["latent_shape"]), last(z)[0], atol=1e-6)
        (y,) = run(decoder.data(), ["y"], x=z)
        assert np.abs(images[row["key"]].astype(float) - last(y)[0] * 255).max() < 0.51
