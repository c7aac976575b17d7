"""Training reads what links lead to, and leaves out links to nothing, with a warning."""

import logging
from pathlib import Path

import pytest

from lake.formats.reader import ColumnSelection
from lake.inputs.load import iter_records
from tests.conftest import png, write_parquet
from tests.lake.inputs.test_reference import IMAGES


def test_links_in_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "lake").mkdir()
    (tmp_path / "in/a.png").write_bytes(png(IMAGES[0]))
    (tmp_path / "lake/b.png").write_bytes(png(IMAGES[1]))
    (tmp_path / "in/b.png").symlink_to("../lake/b.png")
    (tmp_path / "in/c.png").symlink_to("../lake/c.png")
    with caplog.at_level(logging.WARNING, "lake"):
        (records,) = iter_records([str(tmp_path / "in")], ColumnSelection(), "auto")
    assert records.payload.to_pylist() == [png(IMAGES[0]), png(IMAGES[1])]
    assert [record.getMessage() for record in caplog.records] == ["1 links to nothing left out: c.png"]


def test_several_formats_in_training(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(png(IMAGES[0]))
    write_parquet(tmp_path / "a.parquet", [png(IMAGES[1])], [7])
    (tmp_path / "c.png").symlink_to("nothing")
    found = list(iter_records([str(tmp_path)], ColumnSelection(), "mixed"))
    assert [records.payload.to_pylist() for records in found] == [[png(IMAGES[1])], [png(IMAGES[0])]]
