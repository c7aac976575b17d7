"""The generalized Anscombe transform against sums over the distribution of electrons and of read noise."""

import numpy as np
import pytest
from scipy.stats import norm, poisson

from lake.core.records import Array
from lake.images.anscombe import PoissonGaussian

CAMERAS = [(1, 0, 0), (1, 1, 0), (2.3, 4, 100), (0.1, 0.5, 10), (30, 0, 0), (0.001, 0.002, 0.05)]


def moments(camera: PoissonGaussian, electrons: float) -> tuple[float, float]:
    """Mean and standard deviation of transformed pixels, by summation."""
    counts = np.arange(int(electrons + 12 * np.sqrt(electrons) + 20))
    read = np.linspace(-6, 6, 601)
    weights = poisson.pmf(counts, electrons)[:, None] * norm.pdf(read) / norm.pdf(read).sum()
    pixels = camera.gain * counts[:, None] + camera.black_level + camera.read_noise * read
    values = camera.stabilised(pixels).astype(np.float64)
    mean = float((weights * values).sum())
    return mean, float(np.sqrt((weights * (values - mean) ** 2).sum()))


@pytest.mark.parametrize(("gain", "read_noise", "black_level"), CAMERAS)
@pytest.mark.parametrize("electrons", [0.2, 1, 2, 5, 20, 500])
def test_the_inverse_is_unbiased(gain: float, read_noise: float, black_level: float, electrons: float) -> None:
    camera = PoissonGaussian(gain=gain, read_noise=read_noise, black_level=black_level)
    mean, deviation = moments(camera, electrons)
    found = (float(camera.restored(np.array([mean]))[0]) - black_level) / gain
    assert found == pytest.approx(electrons, abs=0.04)
    if electrons >= 5:
        assert deviation == pytest.approx(1, abs=0.03)


def test_the_algebraic_inverse_would_be_too_dark() -> None:
    camera = PoissonGaussian(gain=1, read_noise=0)
    mean, _ = moments(camera, 20)
    root = (3 / 8) ** 0.5
    assert (mean / 2 + root) ** 2 - 3 / 8 == pytest.approx(19.75, abs=0.02)


def test_without_gain_it_divides_by_the_read_noise() -> None:
    pixels: Array = np.array([90.0, 100.0, 130.0])
    for gain in (0.0, 1e-9):
        camera = PoissonGaussian(gain=gain, read_noise=5, black_level=100)
        np.testing.assert_allclose(camera.stabilised(pixels), [-2, 0, 6], rtol=1e-5)
        np.testing.assert_allclose(camera.restored(np.array([0.0, 6.0])), [100, 130], rtol=1e-5)


def test_units_do_not_matter() -> None:
    pixels = np.random.default_rng(0).uniform(100, 4000, 1000)
    camera = PoissonGaussian(gain=2, read_noise=3, black_level=100)
    other = PoissonGaussian(gain=2 / 65535, read_noise=3 / 65535, black_level=100 / 65535)
    np.testing.assert_allclose(other.stabilised(pixels / 65535), camera.stabilised(pixels), rtol=1e-4)
    values = np.linspace(-2, 80, 100)
    np.testing.assert_allclose(other.restored(values) * 65535, camera.restored(values), rtol=1e-4)


def test_below_black_it_stays_finite() -> None:
    camera = PoissonGaussian(gain=2, read_noise=0, black_level=100)
    values = camera.stabilised(np.array([0.0, 50.0, 99.0, 100.0]))
    assert np.isfinite(values).all() and values[-1] == 0
    assert camera.restored(np.array([-100.0, -1.0, 0.0])).min() >= 100


@pytest.mark.parametrize(("gain", "read_noise"), [(-1, 1), (1, -1), (0, 0), (np.nan, 1)])
def test_impossible_cameras(gain: float, read_noise: float) -> None:
    with pytest.raises(ValueError, match="gain"):
        PoissonGaussian(gain=gain, read_noise=read_noise)
