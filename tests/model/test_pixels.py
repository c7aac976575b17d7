from fractions import Fraction

import numpy as np
import pytest

from model.pixels import to_pixels, to_unit


@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 65535)])
@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_every_pixel_comes_back(dtype, full, value_range):
    low, high = value_range
    every = np.arange(full + 1).astype(dtype)
    values = (every / full * (high - low) + low).astype(np.float32)
    pixels = to_pixels(values, value_range, dtype)
    assert pixels.dtype == dtype
    assert np.array_equal(pixels, every)


def test_halves_go_to_the_even_neighbour_and_the_rest_to_the_nearest():
    values = np.array([0.5, 1.5, 2.5, 253.5, 254.5, 1.49, 1.51], np.float32)
    assert to_pixels(values, (0.0, 255.0), np.uint8).tolist() == [0, 2, 2, 254, 254, 1, 2]
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 1, 1000).astype(np.float32)
    exact = [round(Fraction(float(value)) * 255) for value in values]  # as rational numbers
    assert to_pixels(values, (0.0, 1.0), np.uint8).tolist() == exact


def test_integers_are_clipped_and_floats_are_not():
    values = np.array([-3.0, -1.0, 0.0, 1.0, 9.0, np.inf, -np.inf], np.float32)
    assert to_pixels(values, (-1.0, 1.0), np.uint8).tolist() == [0, 0, 128, 255, 255, 255, 0]
    assert to_pixels(values, (-1.0, 1.0), np.float32).tolist() == [-1.0, 0.0, 0.5, 1.0, 5.0, np.inf, -np.inf]
    assert values[0] == -3.0  # what is given stays


def test_a_value_that_is_no_number_does_not_stop_the_others():
    assert to_pixels(np.array([np.nan, 1.0], np.float32), (0.0, 1.0), np.uint8)[1] == 255


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 0.5), (-0.1, 0.1)])
def test_a_value_near_the_limit_of_float32_is_black_or_white(value_range):
    values = np.array([3.4e38, -3.4e38], np.float32)
    assert to_pixels(values, value_range, np.uint16).tolist() == [65535, 0]
    with np.errstate(over="ignore"):
        exact = ((values.astype(np.float64) - value_range[0]) / (value_range[1] - value_range[0])).astype(np.float32)
    np.testing.assert_allclose(to_pixels(values, value_range, np.float32), exact, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.int16, bool])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(ValueError, match="they are one of uint8, uint16, float32"):
        to_pixels(np.zeros(1, np.float32), (0.0, 1.0), dtype)


def test_unit():
    assert to_unit(np.array([0, 51, 255], np.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    assert to_unit(np.array([0, 13107, 65535], np.uint16)).tolist() == pytest.approx([0, 0.2, 1])
    values = np.array([-1.5, 2], np.float32)
    assert to_unit(values) is values
