from collections import Counter

import numpy as np
import pytest

from lake.core.errors import UsageError
from model.training import samples as module
from model.training.samples import load_samples, normalized


def _source(parts):
    return lambda: iter(parts)


def _parts(total, size, dtype=np.uint16):
    every = np.arange(total, dtype=dtype).reshape(total, 1, 1, 1)
    return [every[start : start + size] for start in range(0, total, size)]


def _ids(batches):
    return [round(float(value) * 65535) for batch in batches for value in batch.ravel()]


def test_every_sample_is_trained_on_once_or_validates():
    loaded = load_samples(_source(_parts(5000, 333)), 0.2)
    trained = _ids(loaded.batches(64, np.random.default_rng(0)))
    assert Counter(trained + loaded.validation.ravel().tolist()) == Counter(range(5000))
    assert loaded.count == len(trained)
    assert abs(len(loaded.validation) - 1000) < 4 * np.sqrt(5000 * 0.2 * 0.8)  # four standard deviations


def test_the_split_does_not_depend_on_how_samples_arrive():
    splits = [load_samples(_source(_parts(3000, size)), 0.1).validation.ravel().tolist() for size in (1, 7, 3000)]
    assert splits[0] == splits[1] == splits[2]


def test_batches_are_shuffled_anew_in_every_epoch_and_equal_for_a_seed():
    loaded = load_samples(_source(_parts(1000, 100)), 0.1)
    rng = np.random.default_rng(3)
    first, second = _ids(loaded.batches(32, rng)), _ids(loaded.batches(32, rng))
    assert first != second
    assert sorted(first) == sorted(second)
    assert first == _ids(loaded.batches(32, np.random.default_rng(3)))
    assert [len(batch) for batch in loaded.batches(300, rng)][:-1] == [300] * (loaded.count // 300)


def test_what_does_not_fit_is_read_again(monkeypatch):
    monkeypatch.setattr(module, "_WINDOW_BYTES", 500)
    held = load_samples(_source(_parts(2000, 50)), 0.1)
    streamed = load_samples(_source(_parts(2000, 50)), 0.1, cache_bytes=1000)
    assert streamed.cached is None
    assert np.array_equal(streamed.validation, held.validation)
    trained = _ids(streamed.batches(32, np.random.default_rng(0)))
    assert sorted(trained) == sorted(_ids(held.batches(32, np.random.default_rng(0))))
    assert trained != sorted(trained)
    assert max(trained[:200]) < 300  # shuffled within windows of 250 samples


def test_validation_samples_that_do_not_fit_are_trained_on(monkeypatch):
    monkeypatch.setattr(module, "_VALIDATION_BYTES", 20)
    for cache_bytes in (1 << 30, 100):
        loaded = load_samples(_source(_parts(1000, 50)), 0.5, cache_bytes=cache_bytes)
        trained = _ids(loaded.batches(32, np.random.default_rng(0)))
        assert len(loaded.validation) == 10  # two bytes each
        assert Counter(trained + loaded.validation.ravel().tolist()) == Counter(range(1000))


def test_mixed_dtypes_become_floats():
    images = np.random.default_rng(0).integers(0, 256, (40, 2, 2, 1), np.uint8)
    parts = [images[:10], images[10:20].astype(np.uint16) * 257, images[20:] / np.float32(255)]
    loaded = load_samples(_source(parts), 0.25)
    got = np.concatenate([normalized(loaded.validation), *loaded.batches(7, np.random.default_rng(0))]).reshape(40, 4)
    want = (images / 255.0).reshape(40, 4)
    np.testing.assert_allclose(got[np.lexsort(got.T)], want[np.lexsort(want.T)], atol=1e-7)


def test_statistics_are_those_of_numpy():
    x = (np.random.default_rng(0).normal(1e4, 3, (3000, 5)) * [1, 2, 3, 4, 0]).astype(np.float32)
    loaded = load_samples(_source([x[:7], x[7:8], x[8:2000], x[2000:]]), 0.1)
    trained = np.concatenate(list(loaded.batches(100, np.random.default_rng(0)))).astype(np.float64)
    variance = trained.var(axis=0)
    np.testing.assert_allclose(loaded.statistics.mean, trained.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(loaded.statistics.variance, np.where(variance > 0, variance, 1), rtol=1e-9)
    assert (loaded.statistics.low, loaded.statistics.high) == (trained.min(), trained.max())


def test_unit_is_the_nearest_float():
    every = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(normalized(every), (every / 65535.0).astype(np.float32))
    assert np.array_equal(normalized(every[:256].astype(np.uint8)), (every[:256] / 255.0).astype(np.float32))


@pytest.mark.parametrize(("total", "fraction"), [(3, 0.0), (3, 1.0), (1, 0.5)])
def test_too_few_samples(total, fraction):
    with pytest.raises(UsageError, match=r"too few samples: [0-9]+ to train on and [0-9]+ to validate with"):
        load_samples(_source(_parts(total, 1)), fraction)
