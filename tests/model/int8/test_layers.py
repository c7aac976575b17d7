"""Which layers stay in float32, for errors that are known."""

import numpy as np
import pytest

from model.int8.layers import SHARES, gains_in_float32, layers_to_keep, relative_error
from model.int8.samples import CalibrationSample
from tests.model.int8.specs import DENOISER, ENCODER

_ERRORS = {"a": 5.0, "b": 3.0, "c": 2.0, "d": -1.0, "e": 0.5}  # that each layer adds in 8 bits


class _Known:
    """A quantiser whose graphs are the names of the layers in 8 bits."""

    def __init__(self, costs):
        self.layers, self.multiplications = costs, 46

    def quantized(self, kept=()):
        return ",".join(name for name in self.layers if name not in kept).encode()


@pytest.mark.parametrize(
    ("costs", "wanted"),
    [
        (dict.fromkeys("abcde", 1), {"a", "b", "c", "e"}),  # all that help
        (dict.fromkeys("abcde", 5), {"a", "b"}),  # 10.1 of 46
        ({"a": 11, "b": 5, "c": 5, "d": 1, "e": 1}, {"b", "e"}),  # a is too dear, however much it helps
        ({"a": 10, "b": 2, "c": 8, "d": 1, "e": 1}, {"b", "e"}),  # b 1.5, a 0.5, e 0.5 for each multiplication
    ],
)
def test_what_helps_most_for_its_multiplications(costs, wanted):
    one = CalibrationSample(pixels=np.zeros((1, 8, 6, 3), np.uint8), level=np.zeros(1, np.float32))

    def load(graph):
        error = 10 + sum(_ERRORS[name] for name in graph.decode().split(","))
        return lambda _: np.array([[1 + np.sqrt(error)]])

    quantizer = _Known(costs)
    gains = gains_in_float32(quantizer, load, lambda _: np.ones((1, 1)), [one], ENCODER)
    kept = layers_to_keep(gains, quantizer.layers, SHARES[0] * quantizer.multiplications)
    assert set(kept) == wanted


def test_an_error_is_relative_to_what_the_model_says():
    one = CalibrationSample(pixels=np.full((1, 2, 2, 1), 51, np.uint8), level=np.zeros(1, np.float32))
    want, got = np.full((1, 2, 2, 1), 0.3, np.float32), np.full((1, 2, 2, 1), 0.31, np.float32)
    assert relative_error(got, want, one, DENOISER) == pytest.approx((0.01 / 0.1) ** 2, rel=1e-3)
    assert relative_error(got, want, one, ENCODER) == pytest.approx((0.01 / 0.3) ** 2, rel=1e-3)
