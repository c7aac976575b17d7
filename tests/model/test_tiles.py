import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
import pytest

from model.tiles import FADE, Stretch, blend, stretches

_SIDES = [1, 63, 64, 65, 100, 127, 128, 129, 200, 511, 1000]


@pytest.mark.parametrize("side", _SIDES)
@pytest.mark.parametrize(("margin", "multiple"), [(0, 1), (8, 8), (24, 8), (64, 64)])
def test_stretches_cover_a_side(side, margin, multiple):
    tiles = stretches(side, 64, margin, multiple)
    assert (tiles[0].first, tiles[-1].last) == (0, side)
    assert [tile.rises for tile in tiles] == [False] + [True] * (len(tiles) - 1)
    assert [tile.falls for tile in tiles] == [True] * (len(tiles) - 1) + [False]
    for tile, after in pairwise(tiles):
        assert tile.last - after.first == FADE
        assert tile.done == after.first
    for tile in tiles:
        assert tile.length <= 64 + FADE
        assert tile.start % multiple == 0
        assert tile.stop % multiple == 0 or tile.stop == side
        assert tile.start == 0 or tile.first - tile.start >= margin
        assert tile.stop == side or tile.stop - tile.last >= margin
        assert np.array_equal(np.arange(tile.start, tile.stop)[tile.inside], np.arange(tile.first, tile.last))


@pytest.mark.parametrize("side", _SIDES)
def test_weights_add_up_to_exactly_one(side):
    total = np.zeros(side, np.float32)
    for tile in stretches(side, 64, 8, 8):
        assert (tile.weights > 0).all()
        total[tile.first : tile.last] += tile.weights
    assert (total == 1).all()


def _run(image):
    return lambda tiles: (image[row.first : row.last, column.first : column.last] for row, column in tiles)


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (130, 400), (400, 130), (200, 200), (64, 64)])
def test_blending_tiles_of_an_image_gives_the_image(size):
    image = np.random.default_rng(0).random((*size, 3), np.float32)
    found = np.full_like(image, np.nan)
    for part in blend(stretches(size[0], 64, 8, 8), stretches(size[1], 64, 8, 8), _run(image)):
        height, width, _ = part.values.shape
        place = found[part.row : part.row + height, part.column : part.column + width]
        assert np.isnan(place).all()  # no pixel comes twice
        place[...] = part.values
    np.testing.assert_allclose(found, image, atol=1e-6)


def test_tiles_that_disagree_meet_in_a_ramp():
    rows, columns = stretches(128, 64, 8, 8), stretches(64, 64, 8, 8)

    def run(tiles: Iterable[tuple[Stretch, Stretch]]) -> Iterator[np.ndarray]:
        return (np.full((row.length, column.length, 1), float(row.rises), np.float32) for row, column in tiles)

    found = np.concatenate([part.values for part in blend(rows, columns, run)])[:, 0, 0]
    ramp = (np.arange(FADE) + 0.5) / FADE
    assert np.array_equal(found, [0] * (64 - FADE // 2) + ramp.tolist() + [1] * (64 - FADE // 2))


@pytest.mark.parametrize("size", [(40_000, 100), (100, 40_000)])
def test_only_a_band_is_held(size):
    def run(tiles: Iterable[tuple[Stretch, Stretch]]) -> Iterator[np.ndarray]:
        return (np.ones((row.length, column.length, 1), np.float32) for row, column in tiles)

    tracemalloc.start()
    pixels = sum(part.values.size for part in blend(stretches(size[0], 64, 8, 8), stretches(size[1], 64, 8, 8), run))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pixels == 4_000_000
    assert peak < 1_000_000  # of 16 MB
