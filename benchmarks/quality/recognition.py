"""Section: accuracy of classifiers that were trained on clean images, on noisy, denoised and clean ones."""

from typing import Any

import numpy as np

from benchmarks.quality.networks import network
from benchmarks.quality.place import AbsentError, Place
from benchmarks.quality.protocol import LEVELS
from lake.core.tensorflow import keras
from model.pixels import Floats

_TASKS = {  # set -> how it is read, and what denoises it
    "mnist": ("L", ("zoo:denoiser-gray",)),
    "cifar10": ("RGB", ("zoo:denoiser-color", "zoo:denoiser-gray")),
}
_EPOCHS = {"mnist": 1, "cifar10": 4}
_TESTED = 2_000  # the first ones of the test set
_CALL = 500  # images


def recognition(place: Place) -> dict[str, Any]:
    """Accuracy of a small convolutional network, trained on clean images, on 2,000 test images with noise and denoised.

    Noisy and denoised images are clipped to 0..1. The denoisers are told the level.
    """
    found: dict[str, Any] = {}
    for name, (mode, denoisers) in _TASKS.items():
        try:
            found[name] = _recognised(place, name, mode, denoisers)
        except AbsentError as why:
            found[name] = {"absent": str(why)}
        print(f"  {name}: {found[name]}", flush=True)
    return found


def _recognised(place: Place, name: str, mode: str, denoisers: tuple[str, ...]) -> dict[str, Any]:
    images, labels = _stacked(place, name, "train", mode)
    judge = _classifier(images.shape[1:])
    judge.fit(images / np.float32(255), labels, 128, _EPOCHS[name], verbose=0)
    images, labels = (values[:_TESTED] for values in _stacked(place, name, "test", mode))
    found: dict[str, Any] = {"clean": _accuracy(judge, images / np.float32(255), labels)}
    for level in LEVELS:
        noise = np.random.default_rng([2, level]).standard_normal(images.shape, np.float32)
        noisy = images / np.float32(255) + noise * np.float32(level / 255)
        found[str(level)] = {"noisy": _accuracy(judge, noisy, labels)}
        for one in denoisers:
            try:
                found[str(level)][one] = _accuracy(judge, _denoised(place, one, noisy, level), labels)
            except AbsentError as why:
                found[str(level)][one] = str(why)
    return found


def _denoised(place: Place, name: str, noisy: Floats, level: int) -> Floats:
    made = network(place, name, level, noisy.shape[3]).denoiser
    levels = np.full(len(noisy), level / 255, np.float32)
    parts = range(0, len(noisy), _CALL)
    return np.concatenate([made.denoise(noisy[i : i + _CALL], levels[i : i + _CALL]).pixels for i in parts])


def _stacked(place: Place, name: str, split: str, mode: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = place.images(name, split, mode)
    pixels = np.stack(images)
    return (pixels[..., None] if mode == "L" else pixels), labels


def _classifier(shape: tuple[int, ...]) -> Any:
    """Three convolutions with pooling, and a dense layer of ten classes; seeded."""
    keras().utils.set_random_seed(0)
    layers = keras().layers
    stack = [layers.Input(shape)]
    for width in (32, 64, 128):
        stack += [layers.Conv2D(width, 3, padding="same", activation="relu"), layers.MaxPooling2D()]
    stack += [layers.Flatten(), layers.Dropout(0.3), layers.Dense(10)]
    made = keras().Sequential(stack)
    made.compile("adam", keras().losses.SparseCategoricalCrossentropy(from_logits=True))
    return made


def _accuracy(judge: Any, images: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(judge.predict(images.clip(0, 1), batch_size=1000, verbose=0).argmax(axis=1) == labels))
