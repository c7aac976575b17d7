"""Damaged and forged shards and state files, one for each number; see ``mutants`` for images."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from tests.faults import forged
from tests.faults.damaged import Container, containers
from tests.faults.mutations import OF_BYTES

_MOST = 64 << 20  # bytes of a mutant
_FORMATS = {"parquet": "parquet", "npy": "array", "npz": "array", "tar": "webdataset", "tfrecord": "tfrecord"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardMutant:
    """What a file was made from and how, its format (None for state), its name and bytes."""

    steps: str
    format: str | None
    name: str
    data: bytes


@cache
def intact() -> dict[str, Container]:
    """Shards of every kind."""
    return containers(np.random.default_rng(5).integers(0, 256, (40, 8, 8), np.uint8))


def whole() -> Iterator[ShardMutant]:
    """What mutants are made from."""
    for kind, container in intact().items():
        yield ShardMutant(steps=kind, format=container.format, name=container.name, data=container.data)


def shard_mutant(seed: int) -> ShardMutant:
    """Half are damaged, half are forged; of these some are damaged too."""
    dice = random.Random(seed)
    if dice.random() < 0.5:
        kind = dice.choice(list(intact()))
        return _damaged(dice, kind, intact()[kind].format, intact()[kind].name, intact()[kind].data)
    forger = dice.choice(forged.SHARDS + forged.STATE)
    name, data = forger(dice)
    format = None if forger in forged.STATE else _FORMATS[name.split(".")[1]]
    if dice.random() < 0.2:
        return _damaged(dice, forger.__name__, format, name, data)
    return ShardMutant(steps=forger.__name__, format=format, name=name, data=data)


def _damaged(dice: random.Random, kind: str, format: str | None, name: str, data: bytes) -> ShardMutant:
    steps = [kind]
    for _ in range(dice.choice((1, 1, 2, 3))):
        mutation = dice.choice(OF_BYTES)
        steps.append(mutation.__name__)
        data = mutation(dice, data)[:_MOST]
    return ShardMutant(steps=" ".join(steps), format=format, name=name, data=data)
