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


@pytest.mark.parametrize("late", [[], ["000000", "016383", "5"]], ids=["in order", "some late, some twice"])
def test_blocks_are_sliced_and_go_on_growing(late: list[str]) -> None:
    paths, builder = [f"{number:06d}" for number in range(40000)], Builder()
    for path in paths[:20000]:
        builder.add(path, 1, "one")
    assert len(builder.build("/in")) == 20000
    for path in [*paths[20000:], *late]:
        builder.add(path, 2, "two")
    shards, paths = builder.build("/in"), sorted({*paths, *late})
    assert [shard.path for shard in shards] == paths
    for cut in (slice(0, 3), slice(16380, 16390), slice(5, 39000), slice(40000, None), slice(7, 7)):
        assert [shard.path for shard in shards[cut]] == [shard.path for shard in [*shards][cut]] == paths[cut]
    assert (shards[16384].path, shards[-1].path) == (paths[16384], paths[-1])
    assert [shard.path for shard in shards[16000:33000][16380:16390]] == paths[32380:32390]
    assert [shards[at].identity for at in (0, 16383, 20000)] == ["one", "one", "two"], "the first of a name counts"
    assert shards.sizes.sum() == 20000 + 2 * (len(paths) - 20000)
