"""Hidden pixels: where they are, and that nothing of them is left."""

import numpy as np
import pytest

from model.training.self_supervised.masks import hidden_pixels, hide


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).standard_normal((3, 40, 52, 2)).astype(np.float32)


def test_one_pixel_of_a_box_is_hidden_wherever_it_is(images):
    masks = np.concatenate([hidden_pixels(np.random.default_rng(seed), images.shape) for seed in range(200)])
    boxes = masks[:, :, :48, 0].reshape(-1, 5, 8, 6, 8).sum(axis=(2, 4))
    assert (boxes == 1).all()
    assert masks[:, :, 48:].sum(axis=(1, 2)).max() <= 5
    each = masks.mean(axis=(0, 3))
    assert each.mean() == pytest.approx(1 / 64, rel=0.01)
    assert each.min() > 0


def test_a_hidden_pixel_is_one_of_its_neighbours_at_random(images):
    """Pixels tell their place, so that a copy tells where it was taken."""
    places = np.arange(images[..., 0].size, dtype=np.float32).reshape(*images.shape[:3], 1).repeat(2, axis=3)
    offsets = []
    for seed in range(30):
        mask = hidden_pixels(np.random.default_rng(seed), images.shape)
        made = hide(np.random.default_rng(seed), places, mask)
        assert np.array_equal(made[~mask[..., 0]], places[~mask[..., 0]])
        n, row, column, _ = np.nonzero(mask)
        taken = made[n, row, column, 0].astype(int)
        assert np.array_equal(made[..., 0], made[..., 1])
        from_n, from_row, from_column = np.unravel_index(taken, images.shape[:3])
        assert np.array_equal(from_n, n)
        assert not mask[n, from_row, from_column].any()
        offsets += zip((from_row - row).tolist(), (from_column - column).tolist(), strict=True)
    found, counts = np.unique(offsets, axis=0, return_counts=True)
    assert len(found) == 24
    assert np.abs(found).max() == 2
    assert counts.min() > 0.6 * counts.mean()


def test_nothing_of_a_hidden_pixel_is_left(images):
    """The noise of a hidden pixel, whatever it is, changes nothing of what the network is given."""
    mask = hidden_pixels(np.random.default_rng(3), images.shape)
    first, second = (hide(np.random.default_rng(4), shown, mask) for shown in (images, images + np.float32(100) * mask))
    assert np.array_equal(first, second)
