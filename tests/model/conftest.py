from pathlib import Path

import numpy as np
import pytest

from model.backend import keras, tensorflow
from model.bundle import Bundle
from model.export import export
from model.networks import build_autoencoder
from model.runtime import Runtime


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


@pytest.fixture(scope="session")
def runtime(bundle) -> Runtime:
    return Runtime.load(bundle)


@pytest.fixture(scope="session")
def images(runtime) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (runtime.batch_size, 12, 10, 3), np.uint8)


@pytest.fixture
def save(tmp_path):
    """Save a Keras model under a fresh name."""

    def save(model, name: str = "theirs.keras") -> Path:
        model.save(tmp_path / name)
        return tmp_path / name

    return save
