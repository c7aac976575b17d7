import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lake.core.errors import InputError, OutputError, UsageError
from lake.core.tensorflow import keras, tensorflow
from lake.formats.reader import ColumnSelection
from model.bundle import MODEL_FILE, Bundle
from model.keras.load import load_model
from model.runtime.runtime import Runtime
from model.training.augment import random_affine
from model.training.autoencoder import train
from model.training.epochs import Watcher
from model.training.options import TrainingOptions
from model.training.samples import load_samples


@pytest.fixture(scope="module")
def inputs(digits, tmp_path_factory) -> Path:
    """The digits as 8 x 8 images and as vectors far from 0..1, in NumPy files."""
    path = tmp_path_factory.mktemp("inputs")
    np.save(path / "images.npy", digits[..., None])
    np.save(path / "few.npy", digits[:300, ..., None])
    np.save(path / "vectors.npy", digits.reshape(-1, 64).astype(np.float32) * 20 - 1000)
    return path


def _settings(inputs: Path, output: Path, uris=None, **more) -> TrainingOptions:
    tensorflow()
    vectors = more.get("kind") == "dense"
    given = {
        "kind": "autoencoder",
        "inputs": uris or (str(inputs / ("vectors.npy" if vectors else "images.npy")),),
        "output": str(output),
        "selection": ColumnSelection(carry=(), numeric=vectors),
        "latent_dim": 16,
        "epochs": 12,
        "learning_rate": 4e-3,
    }
    return TrainingOptions(**given | more)


@pytest.fixture(scope="module")
def trained(inputs, tmp_path_factory):
    return train(_settings(inputs, tmp_path_factory.mktemp("trained") / "bundle"))


@pytest.mark.slow
def test_it_learns_the_digits(trained, digits):
    # Always saying the mean digit gives a loss of 0.07.
    mean = float(((digits / 255 - (digits / 255).mean(axis=0)) ** 2).mean())
    assert trained.best.val_loss < mean / 2
    assert trained.samples + trained.validation_samples == 1797
    result = Runtime.load(trained.bundle).reconstruct(digits[:400, ..., None])
    assert result.mse.mean() < mean / 2


def test_the_losses_are_those_of_the_bundled_model(trained, inputs):
    assert trained.psnr == pytest.approx(-10 * np.log10(trained.best.val_loss), abs=1e-3)
    curve = json.loads((Path(trained.bundle.uri) / "training.json").read_text())
    assert curve["best_epoch"] == trained.best.epoch
    assert [e["val_loss"] for e in curve["epochs"]] == [e.val_loss for e in trained.epochs]
    assert trained.best.val_loss == min(e.val_loss for e in trained.epochs)
    provenance = Bundle.open(trained.bundle.uri).spec.training
    assert (provenance["inputs"], provenance["seed"]) == ([str(inputs / "images.npy")], 0)
    assert provenance["val_loss"] == trained.best.val_loss


@pytest.mark.slow
def test_one_seed_one_bundle(inputs, tmp_path):
    one, same, other = (
        train(_settings(inputs, tmp_path / name, uris=(str(inputs / "few.npy"),), epochs=1, seed=seed))
        for name, seed in [("a", 5), ("b", 5), ("c", 6)]
    )
    assert one.bundle.digest == same.bundle.digest
    assert one.bundle.read(MODEL_FILE) == same.bundle.read(MODEL_FILE)
    assert one.best.loss != other.best.loss
    with zipfile.ZipFile(io.BytesIO(one.bundle.read(MODEL_FILE))) as archive:
        config = archive.read("config.json").decode()
        assert {info.date_time[0] for info in archive.infolist()} == {1980}
    shared = {int(number) for number in re.findall(r'"shared_object_id": ([0-9]+)', config)}
    assert shared == set(range(len(shared)))  # no addresses, which differ from process to process


@pytest.mark.slow
def test_it_stops_early_and_keeps_the_best(inputs, tmp_path):
    seen = []

    class Recorder(Watcher):
        def epoch(self, epoch):
            seen.append(epoch)

    few = (str(inputs / "few.npy"),)  # and so large a step size soon makes it worse
    settings = _settings(inputs, tmp_path / "b", uris=few, epochs=50, patience=2, learning_rate=0.03)
    stopped = train(settings, Recorder())
    assert len(seen) == stopped.best.epoch + 2 < 50
    assert tuple(seen) == stopped.epochs
    assert stopped.psnr == pytest.approx(-10 * np.log10(stopped.best.val_loss), abs=1e-3)


def test_vectors_of_any_range(inputs, tmp_path):
    trained = train(_settings(inputs, tmp_path / "b", kind="dense"))
    vectors = np.load(inputs / "vectors.npy")
    low, high = trained.bundle.spec.input.value_range
    assert vectors.min() <= low < high <= vectors.max()
    result = Runtime.load(trained.bundle).reconstruct(vectors[:500])
    assert ((result.output - vectors[:500]) ** 2).mean() < vectors.var(axis=0).mean() / 2
    model = keras().saving.load_model(Path(trained.bundle.uri) / MODEL_FILE)
    np.testing.assert_allclose(result.output, model.predict(vectors[:500], verbose=0), rtol=1e-4, atol=1e-2)


@pytest.mark.slow
def test_a_vae_is_trained_on_the_bound(inputs, tmp_path, digits):
    trained = train(_settings(inputs, tmp_path / "b", kind="vae", latent_dim=6))
    assert trained.best.val_loss < trained.epochs[0].val_loss - 5  # nats
    spec = trained.bundle.spec
    assert (spec.kind, spec.latent.layer, spec.variance) == ("vae", "z_mean", "z_log_var")
    curve = json.loads((Path(trained.bundle.uri) / "training.json").read_text())
    assert curve["measure"] == "negative ELBO, nats per image"
    # Saying of every pixel how often it is white, and nothing of a latent, is a worse bound.
    white = digits.mean(axis=0, keepdims=True).clip(1, 254) / 255
    surprise = -(digits / 255 * np.log(white) + (1 - digits / 255) * np.log(1 - white))
    assert trained.best.val_loss < surprise.sum(axis=(1, 2)).mean()
    result = Runtime.load(trained.bundle).reconstruct(digits[:400, ..., None])
    assert result.mse.mean() < ((digits / 255 - white) ** 2).mean()


@pytest.mark.slow
def test_noise_is_taken_out(inputs, tmp_path, digits):
    trained = train(_settings(inputs, tmp_path / "b", noise=80.0, epochs=20))
    held_out = load_samples(lambda: [digits[..., None]], 0.1).validation / np.float32(255)
    rng = np.random.default_rng(0)
    noise = [rng.standard_normal(part.shape, np.float32) for part in (held_out[:128], held_out[128:])]  # by batches
    noisy = held_out + np.concatenate(noise) * np.float32(80 / 255)
    made = Runtime.load(trained.bundle).reconstruct(noisy).output
    assert ((made - held_out) ** 2).mean() == pytest.approx(trained.best.val_loss, rel=1e-3)
    assert trained.best.val_loss < ((noisy.clip(0, 1) - held_out) ** 2).mean() * 0.8
    assert trained.bundle.spec.training["noise"] == 80.0


@pytest.mark.slow
def test_agreement_brings_moved_copies_together(inputs, tmp_path, digits):
    def apart(bundle):
        """How far moved copies are from their image, in units of how far images are from each other."""
        images = digits[:500, ..., None] / np.float32(255)
        latents = [
            Runtime.load(bundle).encode(np.asarray(view))
            for view in (images, random_affine(images, np.random.default_rng(9)))
        ]
        return ((latents[0] - latents[1]) ** 2).sum() / latents[0].var(axis=0).sum() / 500

    plain, agreeing = (
        train(_settings(inputs, tmp_path / name, **more)).bundle
        for name, more in [("plain", {}), ("agreeing", {"agreement": 0.1})]
    )
    assert apart(agreeing) < 0.8 * apart(plain)
    assert [layer.name for layer in load_model(agreeing.read(MODEL_FILE), "b").layers][-1] == "decoded"


def test_refusals(inputs, trained, tmp_path):
    with pytest.raises(OutputError, match="holds a bundle already"):
        train(_settings(inputs, Path(trained.bundle.uri)))
    with pytest.raises(UsageError, match=r"--kind autoencoder takes images, .* \(64,\); use --kind dense"):
        train(_settings(inputs, tmp_path / "b", uris=(str(inputs / "vectors.npy"),)))
    with pytest.raises(UsageError, match="--kind dense has no --noise; use --kind autoencoder, or leave it out"):
        train(_settings(inputs, tmp_path / "b", kind="dense", noise=5.0))
    with pytest.raises(UsageError, match="--kind vae has no --agreement"):
        train(_settings(inputs, tmp_path / "b", kind="vae", agreement=1.0))
    with pytest.raises(InputError, match=r"none\.npy"):
        train(_settings(inputs, tmp_path / "b", uris=(str(inputs / "none.npy"),)))
    with pytest.raises(UsageError, match="not finite in epoch 1; give a smaller --learning-rate"):
        train(_settings(inputs, tmp_path / "b", kind="dense", learning_rate=1e30))
    assert not (tmp_path / "b").exists()
