"""How latents are pooled, normalized and sampled, against scikit-learn and the statistics of the noise."""

import numpy as np
from sklearn.preprocessing import normalize

from pipeline.worker.make_latents import noise_of, of_unit_length, pooled


def test_unit_length_is_scikit_learns() -> None:
    latents = np.random.default_rng(0).normal(size=(50, 9)).astype(np.float32)
    latents[7] = 0
    np.testing.assert_allclose(of_unit_length(latents), normalize(latents), atol=1e-7)


def test_a_row_is_the_same_in_every_batch() -> None:
    grids = np.random.default_rng(0).normal(size=(50, 17, 9)).astype(np.float32)
    for how in ("mean", "cls"):
        whole = pooled(grids, how)
        np.testing.assert_array_equal(pooled(grids[13:14], how)[0], whole[13])
    np.testing.assert_allclose(pooled(grids, "mean"), grids.astype(np.float64).mean(axis=1), atol=1e-6)
    np.testing.assert_array_equal(pooled(grids, "cls"), grids[:, 0])


def test_noise_is_standard_normal_and_of_the_record_alone() -> None:
    records = [(f"shard-{number % 3}", number // 3) for number in range(3000)]
    noise = noise_of(5, records, 16)
    np.testing.assert_array_equal(noise_of(5, records[70:75], 16), noise[70:75])
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=5 / np.sqrt(3000))
    np.testing.assert_allclose(np.cov(noise.T), np.eye(16), atol=0.1)
    for other in (noise_of(6, records, 16), noise_of(5, records, 16, flipped=True)):
        assert (other == noise).mean() < 1e-3
    assert len(np.unique(noise, axis=0)) == len(records)
