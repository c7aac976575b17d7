import random

import numpy as np
import pyarrow as pa
import pytest

from lake.formats.common.rebatch import Blocks


def expected(sizes: list[int], rows: int, room: int) -> list[list[int]]:
    blocks: list[list[int]] = [[]]
    for at in range(len(sizes)):
        blocks[-1].append(at)
        if len(blocks[-1]) == rows or sum(sizes[row] for row in blocks[-1]) >= room:
            blocks.append([])
    return [block for block in blocks if block]


@pytest.mark.parametrize("seed", range(20))
def test_edges_depend_on_the_rows_alone(seed: int) -> None:
    dice = random.Random(seed)
    sizes = [dice.choice([0, 1, 5, 40, 200]) for _ in range(300)]
    wanted = expected(sizes, 17, 150)
    for most in (1, 10, 400):
        blocks, found, at = Blocks(17, 150), list[list[int]](), 0
        while at < len(sizes):
            count = dice.randrange(most + 1)
            rows = pa.RecordBatch.from_arrays([pa.array(range(at, min(at + count, 300)), pa.int64())], ["row"])
            added = blocks.add(rows, np.array(sizes[at : at + count], np.int64))
            found += [block.column(0).to_pylist() for block in added]
            at += count
        found += [block.column(0).to_pylist() for block in blocks.rest()]
        assert found == wanted
        assert list(blocks.rest()) == []
