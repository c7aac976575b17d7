"""Which rows can be near a leaf, against all distances."""

import numpy as np

from pipeline.explore.leaves import make_leaves, principal_axes


def test_near_rows_are_kept_and_most_others_are_not() -> None:
    generator = np.random.default_rng(0)
    values = generator.standard_normal((20_000, 24), np.float32)
    others = values[:5000] + generator.standard_normal((5000, 24), np.float32) / 50
    axes = principal_axes(values, np.ones(20_000, np.float32))
    left, right = (make_leaves(some, np.ones(len(some), np.float32), *axes, 3) for some in (others, values))
    squares = np.square(left.low[:, None, :3] - right.low[None, ::40, :3]).sum(2)  # of every fortieth row
    kept = 0
    for leaf in range(len(left)):
        places = right.places_near(left, leaf, np.float32(0.01), 3)
        own = slice(left.edges[leaf], left.edges[leaf + 1])
        near = np.flatnonzero((squares[own] <= 0.0099).any(0)) * 40
        assert np.isin(near, places).all()
        assert len(near) > 0
        kept += len(places)
    assert kept < 0.2 * len(left) * len(values)
