"""Shards that are cut, of formats whose records are read otherwise: what is left of them, and once they are whole."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.cli.command import main
from pipeline.output.verify import verify
from tests.conftest import Model
from tests.faults.damaged import COUNT, Container
from tests.faults.outputs import add_up, rows
from tests.lake.formats.parquet.tables import harmed, pages

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


WIDE = ("--on-damage", "reject", "--max-reject-fraction", "1")


@pytest.fixture
def page(tmp_path: Path, intact: dict[str, Container]) -> Path:
    """A shard of Parquet of which a page is damaged, with the labels of rows 24 to 27."""
    source = tmp_path / "in/a.parquet"
    source.parent.mkdir()
    source.write_bytes(intact["parquet"].data)
    harmed(source, intact["parquet"].data, pages(source, "label")[1][2])
    return source


def check_lost(output: Path) -> None:
    assert add_up(output) == (COUNT, COUNT - 4, 4)
    lost = [(row["index"], row["key"], row["reason"]) for row in rows(output, "rejects")]
    assert lost == [(at, f"{at}.png", "corrupt_record") for at in range(24, 28)]
    assert verify(str(output), deep=True).problems == ()


def test_a_damaged_page_costs_its_rows(tmp_path: Path, intact: dict[str, Container], model: Model, page: Path) -> None:
    words = ["encode", "--input", str(page), "--model", model.bundle, "--output", str(tmp_path / "out")]
    assert main(words) == 3
    assert main(["retry", str(tmp_path / "out"), *WIDE]) == 0
    check_lost(tmp_path / "out")
    kept = rows(tmp_path / "out")
    page.write_bytes(intact["parquet"].data)
    assert main(words) == 0
    whole = rows(tmp_path / "out")
    assert (len(whole), kept) == (COUNT, [*whole[:24], *whole[28:]])


def test_a_shard_with_a_damaged_page_is_written_again_without_its_rows(
    tmp_path: Path, model: Model, page: Path
) -> None:
    words = ["reconstruct", "--input", str(page), "--model", model.bundle, "--output", str(tmp_path / "out")]
    assert main([*words, *WIDE]) == 0
    check_lost(tmp_path / "out")
    written = pq.read_table(tmp_path / "out/images/a.parquet")
    assert written["label"].to_pylist() == [at % 10 for at in range(COUNT) if not 24 <= at < 28]
