"""``generate``: each image a function of (seed, number) alone, or a point between two images."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lake.core.errors import BundleError, InputError, UsageError
from lake.core.records import Unit
from lake.inputs import sampled
from lake.inputs.sampled import LatentSampling
from pipeline.beam.launch import launch
from pipeline.job.prepare import prepare
from pipeline.options.job_options import JobOptions
from pipeline.output.verify import verify
from tests.conftest import Model, Pixels
from tests.pipeline.conftest import run_job


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An untrained variational autoencoder of 8 x 8 grey images with latents of 3 dimensions."""
    from lake.core.tensorflow import keras
    from model.export import export
    from model.training.networks import build_vae

    path = tmp_path_factory.mktemp("vae")
    keras().utils.set_random_seed(5)
    build_vae((8, 8, 1), 3).save(path / "vae.keras")
    export(path / "vae.keras", "z_mean", str(path / "bundle"), variance="z_log_var")
    return str(path / "bundle")


def generate(bundle: str, output: Path, **settings: object) -> list[dict]:
    launch(JobOptions(verb="generate", model=bundle, output=str(output), **settings), [])
    files = sorted((output / "images").rglob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def pixels_of(row: dict) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))


def latents_of(seed: int, start: int, stop: int, size: int) -> Pixels:
    unit = Unit(id="x", format="drawn", shards=(), start=start, stop=stop)
    return np.concatenate(
        [b.payload for b in sampled.read_sampled(unit, LatentSampling(count=stop, seed=seed), 16, size)]
    )


def test_latents_depend_on_seed_and_number_alone() -> None:
    whole = latents_of(1, 0, 300, 300)
    assert np.array_equal(whole[120:200], latents_of(1, 120, 200, 7))
    assert not np.isin(whole, latents_of(2, 0, 300, 300)).any()


def test_latents_are_standard_normal() -> None:
    latents = latents_of(3, 0, 4000, 1000).astype(np.float64)
    np.testing.assert_allclose(latents.mean(0), 0, atol=5 / np.sqrt(4000))
    np.testing.assert_allclose(np.cov(latents.T), np.eye(16), atol=0.1)
    np.testing.assert_allclose((latents**4).mean(), 3, atol=0.1)


@pytest.mark.slow
def test_more_images_keep_those_there_are(vae: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled, "UNIT_IMAGES", 50)
    first = generate(vae, tmp_path / "out", count=120, seed=4)
    more = generate(vae, tmp_path / "out", count=170, seed=4)
    assert [row["key"] for row in more] == [f"{i:08d}" for i in range(170)]
    assert [row["image"]["bytes"] for row in more[:120]] == [row["image"]["bytes"] for row in first]
    assert verify(str(tmp_path / "out")).problems == ()
    fewer = generate(vae, tmp_path / "out", count=60, seed=4)
    assert [row["image"]["bytes"] for row in fewer] == [row["image"]["bytes"] for row in first[:60]]
    assert verify(str(tmp_path / "out")).problems == ()


def test_images_are_the_decoder_of_the_prior(vae: str, tmp_path: Path) -> None:
    from model.keras.load import load_model

    made = np.stack([pixels_of(row) for row in generate(vae, tmp_path / "out", count=20, seed=9)])
    whole = load_model((Path(vae) / "model.keras").read_bytes(), vae)
    latents = np.concatenate(
        [
            b.payload
            for b in sampled.read_sampled(
                Unit(id="", format="", shards=(), stop=20), LatentSampling(count=20, seed=9), 3, 20
            )
        ]
    )
    x, after = latents, False
    for layer in whole.layers:  # the decoder is a plain chain after the sampling
        if after:
            x = layer(x)
        after = after or type(layer).__name__ == "Sampling"
    wanted = np.rint(np.clip(np.asarray(x)[..., 0], 0, 1) * 255)
    assert np.abs(made - wanted).max() <= 1


def test_a_line_between_two_images(encoded: Path, model: Model, digits: Pixels, tmp_path: Path) -> None:
    rows = generate(
        model.bundle, tmp_path / "out", count=5, input=(f"{encoded}/latents/a/train-0.parquet",),
        interpolate=("00003.png", "00007.png"),
    )  # fmt: skip
    ends = np.rint(np.clip(model.reconstruct(digits[[3, 7]]), 0, 1) * 255)
    assert np.abs(pixels_of(rows[0]) - ends[0]).max() <= 1
    assert np.abs(pixels_of(rows[4]) - ends[1]).max() <= 1
    from lake.core.tensorflow import keras

    decoder_input = model.encode(digits[[3, 7]]).mean(0, keepdims=True)
    layers = model.autoencoder.layers
    x = decoder_input
    for layer in layers[[layer.name for layer in layers].index("encoded") + 1 :]:
        x = layer(x)
    middle = np.rint(np.clip(keras().ops.convert_to_numpy(x)[0, ..., 0], 0, 1) * 255)
    assert np.abs(pixels_of(rows[2]) - middle).max() <= 1


def test_refusals(encoded: Path, model: Model, vae: str, tmp_path: Path) -> None:
    base = {"verb": "generate", "output": str(tmp_path / "out"), "count": 3}
    with pytest.raises(BundleError, match="cannot generate"):
        prepare(JobOptions(model=model.bundle, **base))
    with pytest.raises(InputError, match="no record with the key 'nobody'"):
        prepare(
            JobOptions(model=model.bundle, input=(f"{encoded}/latents",), interpolate=("00796.png", "nobody"), **base)
        )
    with pytest.raises(InputError, match=r"several records have the key '00003\.png'"):
        prepare(
            JobOptions(
                model=model.bundle, input=(f"{encoded}/latents",), interpolate=("00003.png", "00004.png"), **base
            )
        )
    assert not (tmp_path / "out").exists()


def test_variances_on_request(vae: str, model: Model, shards: Path, digits: Pixels, tmp_path: Path) -> None:
    from lake.core.tensorflow import keras
    from model.keras.load import load_model

    run_job("encode", shards / "b", vae, tmp_path / "out", variance=True)
    rows = pq.read_table(tmp_path / "out/latents/train-2.parquet").to_pylist()
    whole = load_model((Path(vae) / "model.keras").read_bytes(), vae)
    outputs = [whole.get_layer(name).output for name in ("z_mean", "z_log_var")]
    mean, log_variance = keras().Model(whole.input, outputs)(digits[1000:, ..., None].astype(np.float32) / 255)
    np.testing.assert_allclose([row["latent"] for row in rows], mean, atol=1e-4)
    np.testing.assert_allclose([row["latent_variance"] for row in rows], np.exp(log_variance), rtol=1e-4)
    base = {"verb": "encode", "input": (str(shards),), "output": str(tmp_path / "refused"), "variance": True}
    with pytest.raises(UsageError, match="gives no variances"):
        prepare(JobOptions(model=model.bundle, **base))


def test_samples_on_request(vae: str, shards: Path, tmp_path: Path) -> None:
    source = shards / "b"
    run_job("encode", source, vae, tmp_path / "mean", variance=True)
    run_job("encode", source, vae, tmp_path / "a", variance=True, sample=3, latent_scale=0.5, latent_shift=2, threads=1)
    run_job("encode", source, vae, tmp_path / "b", sample=4, flip=True)
    mean, a, b = (pq.read_table(tmp_path / name / "latents/train-2.parquet") for name in ("mean", "a", "b"))
    latents, variances = (np.stack(mean[name].to_numpy()) for name in ("latent", "latent_variance"))
    np.testing.assert_array_equal(np.stack(a["latent_variance"].to_numpy()), variances * np.float32(0.25))
    first = (np.stack(a["latent"].to_numpy()) / 0.5 + 2 - latents) / np.sqrt(variances)
    other = (np.stack(b["latent"].to_numpy()) - latents) / np.sqrt(variances)
    for noise in (first, other):
        np.testing.assert_allclose(noise.mean(axis=0), 0, atol=5 / np.sqrt(len(noise)))
        np.testing.assert_allclose(noise.std(axis=0), 1, atol=0.15)
    assert np.abs(np.corrcoef(first[:, 0], other[:, 0])[0, 1]) < 0.2, "another seed, another noise"
    mirrored = np.stack(b["latent_flip"].to_numpy())
    assert not np.isclose(mirrored, np.stack(b["latent"].to_numpy())).all()
    run_job("decode", tmp_path / "a/latents", vae, tmp_path / "decoded")
    assert len(pq.read_table(tmp_path / "decoded/images/train-2.parquet")) == len(latents)


def test_a_decoder_alone_gives_what_the_whole_model_gives(tmp_path: Path) -> None:
    from lake.core.tensorflow import keras
    from model.export import export
    from model.parts import Parts

    layers = keras().layers
    keras().utils.set_random_seed(6)
    image, code = layers.Input((8, 8, 1)), layers.Input((3,))
    flat = layers.Flatten()(image)
    encoder = keras().Model(image, [layers.Dense(3, name="mean")(flat), layers.Dense(3, name="logarithm")(flat)])
    decoder = keras().Model(code, layers.Reshape((8, 8, 1))(layers.Dense(64, activation="sigmoid")(code)))
    encoder.save(tmp_path / "e.keras")
    decoder.save(tmp_path / "d.keras")
    both = Parts(encoder=tmp_path / "e.keras", decoder=tmp_path / "d.keras")
    whole = export(both, "mean", str(tmp_path / "whole"), variance="logarithm").uri
    alone = export(Parts(decoder=tmp_path / "d.keras", normal_prior=True), None, str(tmp_path / "alone")).uri
    images = [
        [row["image"]["bytes"] for row in generate(bundle, tmp_path / name, count=20, seed=1)]
        for bundle, name in ((whole, "a"), (alone, "b"))
    ]
    assert images[0] == images[1]
    settings = {"output": str(tmp_path / "c"), "input": [str(tmp_path / "images")]}
    with pytest.raises(BundleError, match="cannot encode: a bundle of kind 'decoder'"):
        prepare(JobOptions(verb="encode", model=alone, **settings))
