"""Units to workers: all of them, the large ones first, and about as well as the best way there is."""

import json
import random
from collections.abc import Iterable
from itertools import product

import pytest

from lake.core.records import Unit
from lake.inputs.units import SPLIT_BYTES
from pipeline.job.dealing import in_turns, lines_largest_first, work_of
from tests.pipeline.values import make_shard, make_unit


def best(work: list[int], workers: int) -> int:
    """The least that the busiest worker can have, by trying every way."""
    return min(
        max(sum(size for size, of in zip(work, way, strict=True) if of == worker) for worker in range(workers))
        for way in product(range(workers), repeat=len(work))
    )


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_the_busiest_worker_has_little_more_than_it_must(workers: int, seed: int) -> None:
    dice = random.Random(seed)
    work = sorted((dice.choice((1, 10, 100)) * dice.randint(1, 9) for _ in range(7)), reverse=True)
    turns = list(in_turns(work, workers))
    assert sorted(at for at in turns if at is not None) == list(range(7))
    mine = [[at for at in turns[worker::workers] if at is not None] for worker in range(workers)]
    assert all(positions == sorted(positions) for positions in mine)  # the large ones first
    most = max(sum(work[at] for at in positions) for positions in mine)
    assert most <= best(work, workers) * (4 / 3 - 1 / (3 * workers))


def test_one_large_unit_and_forty_small_ones() -> None:
    turns = list(in_turns([40, *[1] * 40], 2))
    assert turns[::2] == [0, *[None] * 39]
    assert turns[1::2] == list(range(1, 41))


def ordered(units: Iterable[Unit]) -> list[str]:
    """The ids of units in their order."""
    return [json.loads(line.partition(b" ")[2])["id"] for line in lines_largest_first(units)]


def test_the_large_ones_first_and_equal_ones_as_they_were() -> None:
    sizes = {"a": 10, "b": 500, "c": 10, "d": 7000, "e": 500}
    units = [make_unit(name, shards=(make_shard(name, size=size),)) for name, size in sizes.items()]
    assert ordered(units) == ["d", "b", "e", "a", "c"]


def test_a_slice_is_not_as_large_as_its_shard() -> None:
    shard = make_shard("a", size=100 * SPLIT_BYTES)
    whole, part = make_unit("a", shards=(shard,)), make_unit("b", shards=(shard,), start=0, stop=9)
    larger = make_unit("c", shards=(make_shard("c", size=2 * SPLIT_BYTES),))
    assert ordered([part, larger, whole]) == ["a", "c", "b"]
    assert work_of(part) < work_of(larger)
