"""Two inputs are read side by side, for a training by pairs."""

import numpy as np
import pytest

from lake.core.errors import InputError, ShardError
from lake.formats.reader import ColumnSelection
from lake.inputs.load import iter_pairs
from tests.conftest import png

SELECTION = ColumnSelection(carry=())


@pytest.fixture
def folders(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for number in range(3):
            value = 10 * number + (folder == "two")
            (tmp_path / folder / f"{number}.png").write_bytes(png(np.full((4, 4), value, np.uint8)))
    return tmp_path


def keys(folders):
    batches = list(iter_pairs([str(folders / "one")], [str(folders / "two")], SELECTION, "auto"))
    return [
        (batch.read.key[start + at].as_py(), piece.key[at].as_py(), piece.payload[at].as_py())
        for batch in batches
        for start, piece in batch.clean
        for at in range(len(piece))
    ]


def test_records_of_one_key_stand_side_by_side(folders):
    found = keys(folders)
    assert [(first, second) for first, second, _ in found] == [(f"{n}.png", f"{n}.png") for n in range(3)]
    assert [data for *_, data in found] == [png(np.full((4, 4), 10 * n + 1, np.uint8)) for n in range(3)]


def test_a_file_without_a_partner_is_an_error_of_the_option(folders):
    (folders / "two" / "1.png").rename(folders / "two" / "7.png")
    with pytest.raises(InputError, match=r"^1\.png: no shard of this name below .*two; --pairs needs one for each"):
        keys(folders)


def test_a_record_without_a_partner_is_named(tmp_path):
    for name, count in (("one", 3), ("two", 2)):
        np.save(tmp_path / f"{name}.npy", np.zeros((count, 4, 4), np.uint8))
    with pytest.raises(ShardError, match=r"two\.npy: has fewer records than record 2 "):
        list(iter_pairs([str(tmp_path / "one.npy")], [str(tmp_path / "two.npy")], SELECTION, "auto"))
