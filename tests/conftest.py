"""Data that tests share: real digits as images, shards of them, and a small model."""

import io
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # for tests that use ONNX Runtime by themselves

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

Pixels = np.ndarray


def pytest_configure() -> None:
    # A shell starts what is in the background with interruptions ignored, and jobs that tests interrupt inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the long forms too, which are marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked slow, unless asked for: all of it, by a marker, or a single test by name."""
    if config.option.all or config.option.markexpr or any("::" in word for word in config.args):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if not item.get_closest_marker("slow")]


def _log_level() -> Iterator[None]:
    """The command line quiets the logs of its process, which tests share."""
    loggers = [logging.getLogger(name) for name in (None, "lake", "model", "pipeline", "apache_beam")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


log_level = pytest.fixture(autouse=True)(_log_level)
log_level_of_fixtures = pytest.fixture(autouse=True, scope="module")(_log_level)


def long_forms(*cases: Any) -> list[Any]:
    """Cases that only the long form of a test has; of several arguments, each is a tuple."""
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow) for case in cases]


@pytest.fixture(scope="session")
def digits() -> Pixels:
    """scikit-learn's handwritten digits as uint8 ``[1797, 8, 8]``."""
    from sklearn.datasets import load_digits

    return (load_digits().images * 15.9375).astype(np.uint8)


@pytest.fixture(scope="session")
def labels() -> Pixels:
    from sklearn.datasets import load_digits

    return load_digits().target.astype(np.int64)


def png(pixels: Pixels) -> bytes:
    """An image as the bytes of a PNG file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()


@pytest.fixture(scope="session")
def digit_files(digits: Pixels) -> list[bytes]:
    return [png(image) for image in digits]


def write_parquet(path: Path, files: Sequence[bytes | None], labels: Sequence[int], **options: object) -> None:
    """Images as Hugging Face lays them out."""
    images = [{"bytes": data, "path": f"{i:05d}.png"} for i, data in enumerate(files)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(images, kind), "label": pa.array(labels, pa.int64())})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)


@dataclass(frozen=True)
class Model:
    """A bundle, and the Keras models that it must agree with."""

    bundle: str
    autoencoder: object
    encoder: object

    def encode(self, pixels: Pixels) -> Pixels:
        """What Keras itself gives for uint8 ``[n, 8, 8]``."""
        return self.encoder.predict(pixels[..., None].astype(np.float32) / 255, verbose=0)

    def reconstruct(self, pixels: Pixels) -> Pixels:
        return self.autoencoder.predict(pixels[..., None].astype(np.float32) / 255, verbose=0)[..., 0]


def make_model(path: Path, seed: int) -> Model:
    """An untrained autoencoder of 8 x 8 grey images with latents of 16 dimensions."""
    path.mkdir(parents=True, exist_ok=True)
    from lake.core.tensorflow import keras
    from model.export import export
    from model.training.networks import build_autoencoder

    keras().utils.set_random_seed(seed)
    autoencoder = build_autoencoder((8, 8, 1), 16)
    autoencoder.save(path / "autoencoder.keras")
    export(path / "autoencoder.keras", "encoded", str(path / "bundle"))
    encoder = keras().Model(autoencoder.input, autoencoder.get_layer("encoded").output)
    return Model(bundle=str(path / "bundle"), autoencoder=autoencoder, encoder=encoder)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """What most tests run."""
    return make_model(tmp_path_factory.mktemp("model"), 7)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory, digit_files: list[bytes], labels: Pixels) -> Path:
    """Three Parquet shards in two directories, 1,797 digits in all."""
    root = tmp_path_factory.mktemp("shards")
    edges = [0, 700, 1000, 1797]
    for name, start, stop in zip(("a/train-0", "a/train-1", "b/train-2"), edges, edges[1:], strict=False):
        write_parquet(
            root / f"{name}.parquet", digit_files[start:stop], labels[start:stop].tolist(), row_group_size=128
        )
    return root
