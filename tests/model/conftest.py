import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lake.core.tensorflow import keras, tensorflow
from model.bundle import Bundle
from model.export import export
from model.preprocessing import Preprocessing
from model.runtime.runtime import Runtime
from model.training.networks import build_autoencoder
from tests.model import nets


@pytest.fixture(scope="session")
def layers():
    tensorflow()
    return keras().layers


@pytest.fixture(scope="session")
def network(layers):
    """An untrained 12 x 10 x 3 autoencoder with a latent of 8, the same in every run."""
    keras().utils.set_random_seed(1)
    return build_autoencoder((12, 10, 3), 8)


@pytest.fixture(scope="session")
def saved(network, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "network.keras"
    network.save(path)
    return path


@pytest.fixture(scope="session")
def bundle(saved) -> Bundle:
    return export(saved, "encoded", str(saved.parent / "bundle"))


@pytest.fixture(scope="session", params=["onnx", "tensorflow"])
def runtime(bundle, request) -> Runtime:
    return Runtime.load(bundle, request.param)


@pytest.fixture(scope="session")
def images(bundle) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (bundle.spec.batch_size, 12, 10, 3), np.uint8)


@pytest.fixture
def save(tmp_path):
    """Save a Keras model under a fresh name."""

    def save(model, name: str = "theirs.keras") -> Path:
        model.save(tmp_path / name)
        return tmp_path / name

    return save


@pytest.fixture
def copy(bundle, tmp_path) -> Path:
    """The bundle, for a test that changes it."""
    return Path(shutil.copytree(bundle.uri, tmp_path / "copy"))


@pytest.fixture(scope="session")
def denoiser_bundle(layers, tmp_path_factory) -> Bundle:
    directory = tmp_path_factory.mktemp("denoiser")
    keras().utils.set_random_seed(5)
    nets.unet().save(directory / "unet.keras")
    given = Preprocessing(noise_input="noise_level", noise_scale=255.0)
    return export(directory / "unet.keras", None, str(directory / "bundle"), given)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Path:
    """Smooth grey images of two sizes."""
    place, (y, x) = tmp_path_factory.mktemp("photographs"), np.mgrid[:150, :170]
    for n in range(20):
        image = 128 + 60 * np.sin(x / (7 + n)) + 50 * np.cos(y / (11 + n))
        Image.fromarray(image.astype(np.uint8)[: 150 - n]).save(place / f"{n}.png")
    return place


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """Small images in colour, in one array."""
    place, (y, x) = tmp_path_factory.mktemp("pictures"), np.mgrid[:12, :10]
    phases = np.random.default_rng(0).uniform(0, 6, (40, 1, 1, 3))
    np.save(place / "stack.npy", (128 + 120 * np.sin((x + 2 * y)[..., None] / 5 + phases)).astype(np.uint8))
    return place
