"""Duplicates: planted ones are found, one of each group is kept, and nothing is deleted."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lake.core.errors import UsageError
from pipeline.explore.committed import Committed
from pipeline.explore.duplicates import Sameness, find_copies, find_duplicates, grouped
from tests.pipeline.explore.values import clustered, make_output


def test_groups_are_the_connected_parts() -> None:
    pairs = (np.array([8, 3, 5, 1]), np.array([3, 5, 9, 2]))
    assert grouped(10, [pairs]).tolist() == [0, 1, 1, 3, 4, 3, 6, 7, 3, 3]


def test_fifty_planted_ones(tmp_path: Path) -> None:
    values = clustered(4000, 32)
    generator = np.random.default_rng(9)
    some = generator.permutation(4000)[:100]
    values[some[50:]] = values[some[:50]] + 0.02 * generator.standard_normal((50, 32), np.float32)
    found = find_duplicates(Committed.read(make_output(tmp_path / "o", values)), Sameness())
    rows = found.table.to_pylist()
    pairs = {frozenset(pair) for pair in np.sort(some.reshape(2, 50).T).tolist()}
    groups = {number: [row for row in rows if row["group"] == number] for number in {row["group"] for row in rows}}
    assert {frozenset(int(row["key"][1:]) for row in group) for group in groups.values()} == pairs
    assert all([row["keep"] for row in group] == [True, False] for group in groups.values())
    assert [row["by"] for row in rows] == ["", "latent"] * 50
    assert found.compared == ("latent",)
    assert len(found.dropped) == 50
    apart = [float(np.linalg.norm(values[int(a["key"][1:])] - values[int(b["key"][1:])])) for a, b in groups.values()]
    np.testing.assert_allclose([group[1]["distance"] for group in groups.values()], apart, rtol=1e-5)


def hashed(count: int, equal: dict[int, int]) -> tuple[pa.Array, pa.Array]:
    """Columns sha256 and phash of records that differ in half of their bits, but for some that are equal."""
    generator = np.random.default_rng(0)
    digests = [generator.bytes(32) for _ in range(count)]
    hashes = generator.integers(-(1 << 63), (1 << 63) - 1, count, np.int64)
    for row, other in equal.items():
        digests[row], hashes[row] = digests[other], hashes[other]
    return pa.array(digests, pa.binary(32)), pa.array(hashes)


def test_the_surest_reason_is_named(tmp_path: Path) -> None:
    values = clustered(200, 8)
    digests, hashes = hashed(200, {10: 3})
    near = hashes.to_numpy().copy()
    near[20] = near[4] ^ 0b11  # two bits
    values[30] = values[5]
    more = {"sha256": digests, "phash": pa.array(near)}
    found = find_duplicates(Committed.read(make_output(tmp_path / "o", values, more=more)), Sameness())
    dropped = {row["key"]: row["by"] for row in found.table.to_pylist() if not row["keep"]}
    assert dropped == {"k10": "sha256", "k20": "phash", "k30": "latent"}
    assert found.compared == ("sha256", "phash", "latent")
    none = find_duplicates(Committed.read(str(tmp_path / "o")), Sameness(phash_bits=1, threshold=1e-9))
    assert none.dropped.column("key").to_pylist() == ["k10", "k30"]


def test_records_that_another_output_has_too(tmp_path: Path) -> None:
    train, test = clustered(800, 8), clustered(300, 8, seed=4)
    test[[7, 100]] = train[[20, 3]]
    sides = [Committed.read(make_output(tmp_path / name, side)) for name, side in (("a", test), ("b", train))]
    rows = find_copies(sides[0], sides[1], Sameness(threshold=1e-3)).table.to_pylist()
    assert [(row["key"], row["against_key"], row["by"], row["distance"]) for row in rows] == [
        ("k7", "k20", "latent", 0.0),
        ("k100", "k3", "latent", 0.0),
    ]


def test_no_duplicates(tmp_path: Path) -> None:
    output = Committed.read(make_output(tmp_path / "o", clustered(300, 8)))
    assert len(find_duplicates(output, Sameness(threshold=1e-6)).table) == 0


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    a, b = (Committed.read(make_output(tmp_path / str(size), clustered(9, size))) for size in (4, 5))
    with pytest.raises(UsageError, match=r"latents of 4 and of 5 values cannot be compared"):
        find_copies(a, b, Sameness())
    with pytest.raises(UsageError, match="phash_bits: 9 is not from 0 to 6"):
        Sameness(phash_bits=9)
