import numpy as np
import pytest

from lake.core.tensorflow import keras
from model.training.muon import muon

_RATE = 1e-3


def _after(optimizer, shape, gradients):
    """A variable that began at 0, after a step for each gradient."""
    variable = keras().Variable(np.zeros(shape, np.float32))
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([keras().ops.convert_to_tensor(gradient)])
    return variable.numpy()


@pytest.fixture
def gradients():
    return np.random.default_rng(0).standard_normal((3, 3, 3, 24, 32), np.float32)


def test_all_directions_of_a_kernel_are_learnt_equally_fast(gradients):
    update = _after(muon(_RATE), (3, 3, 24, 32), gradients[:1]).reshape(9 * 24, 32)
    values = np.linalg.svd(update, compute_uv=False) / (0.2 * _RATE * np.sqrt(9 * 24))
    assert 0.65 < values.min() < values.max() < 1.25  # five steps of Newton and Schulz come that near to 1
    rows, _, columns = np.linalg.svd(-gradients[0].reshape(9 * 24, 32), full_matrices=False)
    wanted = 0.2 * _RATE * np.sqrt(9 * 24) * (rows @ columns)
    assert np.sum(update * wanted) / np.linalg.norm(update) / np.linalg.norm(wanted) > 0.98


def test_a_kernel_is_learnt_as_keras_learns_its_matrix(gradients):
    ours = _after(muon(_RATE), (3, 3, 24, 32), gradients)
    matrices = gradients.reshape(3, 9 * 24, 32)
    theirs = _after(keras().optimizers.Muon(_RATE, weight_decay=None), (9 * 24, 32), matrices)
    np.testing.assert_allclose(ours.reshape(9 * 24, 32), theirs, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("shape", [(2, 2, 3, 64), (2, 2, 64, 3), (64,), (20, 30)])
def test_what_is_no_large_kernel_is_learnt_by_adam(shape):
    gradients = np.random.default_rng(1).standard_normal((3, *shape), np.float32)
    adam = _after(keras().optimizers.Adam(_RATE, beta_2=0.99), shape, gradients)
    np.testing.assert_allclose(_after(muon(_RATE), shape, gradients), adam, rtol=1e-4, atol=1e-8)
