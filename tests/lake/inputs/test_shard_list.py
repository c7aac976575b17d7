"""Shards as columns are the shards they were made of."""

import random

import pytest

from lake.core.records import Shard
from lake.inputs.shard_list import Builder, Shards


def build(paths: list[str], root: str = "gs://bucket/in") -> Shards:
    builder = Builder()
    for path in paths:
        builder.add(path, len(path), f"id-{path}")
    return builder.build(root)


PATHS = ["b/2.png", "a/1.png", "a-b/3.png", "a/é.png", "a/b/0.png", "z.png"]


@pytest.mark.parametrize(
    ("root", "prefix"), [("gs://bucket/in", "gs://bucket/in/"), ("/", "/"), (".", ""), ("/in/", "/in/")]
)
def test_shards_come_in_the_order_of_their_paths(root: str, prefix: str) -> None:
    expected = [Shard(uri=prefix + p, path=p, size=len(p), identity=f"id-{p}") for p in sorted(PATHS)]
    shards = build(PATHS, root)
    assert list(shards) == expected
    assert [shards[at] for at in range(-len(shards), len(shards))] == expected + expected
    assert list(shards[1:4]) == expected[1:4]
    assert shards.sizes.tolist() == [len(p) for p in sorted(PATHS)]
    with pytest.raises(IndexError):
        shards[len(PATHS)]


def test_a_shard_named_twice_is_one() -> None:
    assert [shard.path for shard in build(["b", "a", "b", "a", "c"])] == ["a", "b", "c"]


def test_directories_are_gathered() -> None:
    groups = [[shard.path for shard in shards] for shards in build(PATHS).by_directory()]
    assert groups == [["z.png"], ["a/1.png", "a/é.png"], ["a-b/3.png"], ["a/b/0.png"], ["b/2.png"]]


def test_many_blocks_are_one_sequence() -> None:
    paths = [f"{number:06d}" for number in range(40000)]
    random.Random(0).shuffle(paths)
    assert [shard.path for shard in build(paths)] == sorted(paths)
