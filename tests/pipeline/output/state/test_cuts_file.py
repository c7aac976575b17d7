"""What an output knows of cuts: written as it is read, and refused where it is damaged or forged."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lake.core import sealed_json
from lake.core.errors import VerifyError
from lake.formats.common.cuts import Cuts
from pipeline.output.layout import Layout
from pipeline.output.state.cuts_file import read_cuts, write_cuts
from tests.pipeline.values import guard_for

CUTS = {
    ("tfrecord", "b.tfrecord", 3000, "1"): Cuts(rows=(0, 3, 9), offsets=(0, 1000)),
    ("webdataset", "a.tar", 9000, "2"): Cuts(rows=(0, 1, 2), offsets=(0, 512), index="a.idx", index_identity="3"),
    ("webdataset", "c.tar", 9000, "2"): Cuts(),
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    assert read_cuts(layout) == {}
    write_cuts(layout, CUTS, guard_for(tmp_path))
    assert read_cuts(layout) == CUTS


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": (0, 9)},
        {"rows": (1, 3, 9)},
        {"rows": (0, 3, 3)},
        {"offsets": (0, 3000)},
        {"offsets": (512, 1000)},
        {"index": "../up"},
        {"index": ".."},
    ],
)
def test_values_of_no_use_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    layout = Layout(str(tmp_path))
    name = ("tfrecord", "b.tfrecord", 3000, "1")
    write_cuts(layout, {name: replace(CUTS[name], **changes)}, guard_for(tmp_path))
    with pytest.raises(VerifyError, match=r"_cuts\.json: damaged .* remove it and run the job again"):
        read_cuts(layout)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "_cuts.json").write_bytes(sealed_json.dumps({"shards": []}).replace(b"[]", b"[ ]"))
    with pytest.raises(VerifyError, match=r"_cuts\.json"):
        read_cuts(Layout(str(tmp_path)))
