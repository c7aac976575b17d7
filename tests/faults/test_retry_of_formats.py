"""Shards that are cut, of formats whose records are read otherwise: what is left of them, and once they are whole."""

from pathlib import Path

import pytest

from pipeline.cli.command import main
from pipeline.output.verify import verify
from tests.conftest import Model
from tests.faults.damaged import COUNT, Container
from tests.faults.outputs import add_up, rows

pytestmark = pytest.mark.slow  # jobs from end to end

OPTIONS = {"npy chw": ["--layout", "chw"]}
LEFT = {"arrow": range(1, COUNT), "csv.gz": range(1, COUNT), "npy chw": [0], "npz": [0]}  # records of a half


@pytest.mark.parametrize("kind", LEFT)
def test_a_cut_shard(tmp_path: Path, intact: dict[str, Container], model: Model, kind: str) -> None:
    container, source = intact[kind], tmp_path / "in"
    for folder in ("a", "b"):
        (source / folder).mkdir(parents=True)
        (source / folder / container.name).write_bytes(container.data)
    named = ["encode", "--input", str(source), "--model", model.bundle, *OPTIONS.get(kind, []), "--output"]
    assert main([*named, str(tmp_path / "clean")]) == 0
    whole = rows(tmp_path / "clean")

    output = tmp_path / "out"
    # The first shard settles what a record is, so the one that is cut is the second one.
    cut = source / "b" / container.name
    cut.write_bytes(container.data[: len(container.data) // 2])
    assert main([*named, str(output)]) == 3
    assert rows(output) == whole[:COUNT]
    assert main(["retry", str(output), "--on-damage", "reject", "--max-reject-fraction", "1"]) == 0
    left = len(rows(output)) - COUNT
    assert left in LEFT[kind]
    assert rows(output) == whole[: COUNT + left]
    assert add_up(output) == (COUNT + left + 1, COUNT + left, 1)
    assert [row["reason"] for row in rows(output, "rejects")] == ["damaged_shard"]

    cut.write_bytes(container.data)
    assert main([*named, str(output)]) == 0
    assert rows(output) == whole
    assert verify(str(output), deep=True).problems == ()
