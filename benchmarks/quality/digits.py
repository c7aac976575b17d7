"""Sections: how well latents tell digits apart, and how likely a variational autoencoder finds them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.quality.place import Place
from benchmarks.quality.sheets import draw_digits, draw_samples
from model.runtime.runtime import Runtime

_DRAWS = 64  # of a latent for each image of which the bound is measured


def mnist(place: Place) -> dict[str, Any]:
    """How well latents tell digits apart: a linear probe and the 5 nearest neighbours, on latents of unseen digits."""
    runtime = Runtime.load(place.bundle("mnist-autoencoder"))
    (train, labels), (test, wanted) = (place.images("mnist", split) for split in ("train", "test"))
    learned, unseen = (_encoded(runtime, np.stack(images)) for images in (train, test))
    probe, nearest = _probe(), KNeighborsClassifier(5, algorithm="brute")
    digits = np.stack(test)[:1000, ..., None]
    draw_digits(runtime, np.stack(test))
    return {
        "dimension": runtime.spec.dimension,
        "linear probe": float(probe.fit(learned, labels).score(unseen, wanted)),
        "5 nearest neighbours": float(nearest.fit(learned, labels).score(unseen, wanted)),
        "linear probe, test set alone": float(cross_val_score(_probe(), unseen, wanted, cv=10).mean()),
        "5 nearest neighbours, test set alone": float(cross_val_score(nearest, unseen, wanted, cv=10).mean()),
        "psnr of reconstructions": float(np.mean(-10 * np.log10(_reconstructed(runtime, digits)))),
    }


def _probe() -> Any:
    """Multinomial logistic regression on standardized latents."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=300, tol=1e-3))


def _parts(pixels: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (pixels[start : start + size] for start in range(0, len(pixels), size))


def _encoded(runtime: Runtime, pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([runtime.encode(part) for part in _parts(pixels[..., None], runtime.batch_size)])


def _reconstructed(runtime: Runtime, pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([runtime.reconstruct(part).mse for part in _parts(pixels, runtime.batch_size)])


def vae(place: Place) -> dict[str, Any]:
    """Evidence lower bound of binary test digits, in nats: 64 draws of each latent, divergence in closed form."""
    runtime = Runtime.load(place.bundle("mnist-vae"))
    digits = np.stack(place.images("mnist", "test")[0]) / np.float32(255)
    drawn = np.random.default_rng(0).random(digits.shape, np.float32) < digits
    draw_samples(runtime)
    return {
        "dimension": runtime.spec.dimension,
        "elbo, pixels drawn": float(np.mean(_bounds(runtime, drawn))),
        "elbo, pixels above one half": float(np.mean(_bounds(runtime, digits > 0.5))),
    }


def _bounds(runtime: Runtime, binary: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.concatenate([_bound(runtime, part, rng) for part in _parts(binary[..., None], runtime.batch_size)])


def _bound(runtime: Runtime, binary: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    mean, variance = runtime.encode_variance(binary.astype(np.float32))
    divergence = 0.5 * (variance + mean.astype(np.float64) ** 2 - 1 - np.log(variance)).sum(axis=1)
    likelihoods: list[np.ndarray] = []
    for _ in range(_DRAWS):
        latents = mean + np.sqrt(variance) * rng.standard_normal(mean.shape, np.float32)
        white = runtime.decode(latents.astype(np.float32)).astype(np.float64).clip(1e-7, 1 - 1e-7)
        likelihoods.append(np.log(np.where(binary, white, 1 - white)).sum(axis=(1, 2, 3)))
    bound: np.ndarray = np.mean(likelihoods, axis=0) - divergence
    return bound
