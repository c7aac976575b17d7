import numpy as np
import pytest

from model.loading import load_model


@pytest.fixture(scope="module")
def sampling(layers):
    from model.layers import Sampling

    return Sampling(name="z")


def test_inference_gives_the_mean(sampling):
    mean, log_variance = np.random.default_rng(0).normal(size=(2, 50, 7)).astype(np.float32)
    assert np.array_equal(sampling([mean, log_variance]).numpy(), mean)
    assert np.array_equal(sampling([mean, log_variance], training=False).numpy(), mean)


def test_training_draws_from_the_normal_distribution(sampling):
    count, mean, deviation = 40_000, np.array([-3.0, 0.0, 10.0]), np.array([0.1, 1.0, 4.0])
    given = [np.tile(row, (count, 1)).astype(np.float32) for row in (mean, 2 * np.log(deviation))]
    one, other = (sampling(given, training=True).numpy().astype(np.float64) for _ in range(2))
    assert not np.array_equal(one, other)
    error = 5 / np.sqrt(count)  # five standard errors
    assert (np.abs(one.mean(axis=0) - mean) < error * deviation).all()
    assert (np.abs(one.std(axis=0) / deviation - 1) < error).all()
    standard = (one - mean) / deviation
    assert np.abs((standard**3).mean(axis=0)).max() < error * np.sqrt(15)
    assert np.abs((standard**4).mean(axis=0) - 3).max() < error * np.sqrt(96)
    assert abs(np.corrcoef(standard.T)[0, 1]) < error


def test_it_is_saved_and_loaded(layers, sampling, save):
    from model.backend import keras

    vector = layers.Input((4,), name="vector")
    mean, log_variance = layers.Dense(3, name="mean")(vector), layers.Dense(3, name="log_variance")(vector)
    model = keras().Model(vector, layers.Dense(4, name="out")(sampling([mean, log_variance])))
    loaded = load_model(save(model).read_bytes(), "theirs")
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    assert np.array_equal(loaded(x).numpy(), model(x).numpy())
    assert loaded.get_layer("z").get_config() == sampling.get_config()
    assert set(sampling.get_config()) == {"name", "trainable", "dtype"}
