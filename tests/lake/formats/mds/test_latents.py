"""The MDS writer, read as the specification says."""

import json
from pathlib import Path

import numpy as np
import pytest

from lake.formats.mds.latents import MdsWriter
from tests.lake.formats.latent_tables import (
    CAPTIONS,
    KEYS,
    LABELS,
    create_in,
    fixed,
    latent_of,
    of_many_shapes,
    written,
)
from tests.lake.formats.mds.specification import samples

METADATA = {"latentlake.unit": "a/b", "latentlake.model_digest": "00"}


def test_samples_are_the_rows(tmp_path: Path) -> None:
    table, rows = fixed()
    files = written(MdsWriter("a/b", create_in(tmp_path), table, METADATA), rows)
    assert [(file.name, file.rows) for file in files] == [("a/b/shard.00000.mds", 4), ("a/b/index.json", 0)]
    found = list(samples(tmp_path / "a/b"))
    numbers = np.arange(16, dtype=np.float32).reshape(4, 2, 2)
    for row, sample in enumerate(found):
        np.testing.assert_array_equal(sample.pop("latent"), numbers[row])
        np.testing.assert_array_equal(sample.pop("latent_flip"), numbers[3 - row])
    names = ("key", "txt", "label", "index", "shard")
    wanted = zip(KEYS, CAPTIONS, LABELS, [0, 1, 5, 9], ["in/a.tar"] * 4, strict=True)
    assert found == [dict(zip(names, row, strict=True)) for row in wanted]
    index = json.loads((tmp_path / "a/b/index.json").read_text())
    assert index["latentlake"] == METADATA
    assert b'"latentlake.unit": "a/b"' in (tmp_path / "a/b/shard.00000.mds").read_bytes()
    assert sorted(index["shards"][0]["column_names"]) == index["shards"][0]["column_names"]


def test_each_latent_says_its_shape(tmp_path: Path) -> None:
    table, rows = of_many_shapes()
    written(MdsWriter("x", create_in(tmp_path), table, METADATA), rows)
    for number, sample in enumerate(samples(tmp_path / "x")):
        assert sample["latent"].dtype == np.float16 and "latent_shape" not in sample
        np.testing.assert_array_equal(sample["latent"], latent_of(number))


@pytest.mark.parametrize("step", [1, 3])
def test_shards_end_where_they_are_full_whatever_the_batches(tmp_path: Path, step: int) -> None:
    table, rows = of_many_shapes()
    files = written(MdsWriter("x", create_in(tmp_path / "a"), table, METADATA, limit=1000), rows)
    same = written(MdsWriter("x", create_in(tmp_path / "b"), table, METADATA, limit=1000), rows, step)
    assert files == same and [file.rows for file in files] == [3, 1, 0]
    assert [sample["key"] for sample in samples(tmp_path / "a/x")] == KEYS
    for file in files:
        assert (tmp_path / "a" / file.name).read_bytes() == (tmp_path / "b" / file.name).read_bytes()
    assert files[0].size <= 1000 < files[1].size, "a larger sample has a shard for itself"


def test_no_rows_no_files(tmp_path: Path) -> None:
    table, rows = fixed()
    assert written(MdsWriter("x", create_in(tmp_path), table, METADATA), rows.slice(0, 0)) == ()
    assert list(tmp_path.iterdir()) == []
