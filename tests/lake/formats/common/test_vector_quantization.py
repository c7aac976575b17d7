"""Scales that are chosen from a sample: what they reach, and how fine they are."""

import numpy as np
import pytest

from lake.formats.common.vector_quantization import fitted
from lake.formats.common.vector_storage import VectorStorage


@pytest.mark.parametrize("kind", ["int8", "uint8"])
@pytest.mark.parametrize("whole", [False, True])
def test_the_sample_is_never_clipped_and_within_half_a_step(kind: str, whole: bool) -> None:
    sample = np.random.default_rng(0).normal(size=(500, 5)).astype(np.float32) * np.float32(3)
    sample[:, 1] = np.maximum(sample[:, 1], 0)
    sample[:, 2] = 0.7
    storage = fitted(VectorStorage(type=kind), sample, whole=whole)
    assert len(storage.scale) == (1 if whole else 5)
    stored, clipped = storage.pack(sample)
    assert clipped == 0
    assert (np.abs(storage.unpack(stored, 5) - sample) <= np.array(storage.scale) * 0.501).all()
    width = 1.5 * np.ptp(sample) if whole else 1.5 * np.ptp(sample[:, 0])
    assert storage.scale[0] * (254 if kind == "int8" else 255) == pytest.approx(width, rel=1e-5)
    if not whole:
        assert storage.scale[1] == pytest.approx(1.25 * sample[:, 1].max() / (254 if kind == "int8" else 255))
        assert storage.scale[2] == max(storage.scale), "a constant place has the widest range"
    assert fitted(VectorStorage(type=kind), np.zeros((3, 2), np.float32), whole=whole).scale[0] > 0


def test_bits_are_by_the_mean() -> None:
    sample = np.random.default_rng(0).normal(2, size=(500, 5)).astype(np.float32)
    storage = fitted(VectorStorage(type="binary"), sample, whole=False)
    np.testing.assert_allclose(storage.offset, sample.mean(axis=0, dtype=np.float64), rtol=1e-6)
    distance = np.abs(sample - sample.mean(axis=0, dtype=np.float64)).mean(axis=0)
    np.testing.assert_allclose(storage.scale, distance, rtol=1e-6)
