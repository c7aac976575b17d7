"""2,000 mutants through every decoder, in a process of its own; ``scripts/fuzz.py`` is the long form."""

import io

import numpy as np
import pyarrow as pa
import pytest
import tifffile
from PIL import Image

from pipeline.images.base import Orientation, Target
from pipeline.images.native import NativeDecoder
from pipeline.records import Reason, Records
from scripts.fuzz import campaign, table
from tests.faults.pictures import pictures

MUTANTS = 2000
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def test_mutants_become_pixels_or_rejects() -> None:
    tally = campaign(0, MUTANTS)
    assert not tally.failures, "\n".join(table(tally))
    assert tally.outcomes.total() == MUTANTS
    assert tally.outcomes["decoded"] > MUTANTS // 10
    assert tally.outcomes[Reason.CORRUPT_IMAGE] > MUTANTS // 2
    assert tally.outcomes[Reason.UNSUPPORTED_IMAGE]
    assert tally.outcomes[Reason.TOO_MANY_PIXELS]


@pytest.mark.parametrize("name", [name for name in pictures() if not name.startswith("PNG 16 bits")])
def test_what_mutants_are_made_from_is_what_others_read(name: str) -> None:
    data, faults = pictures()[name], {}
    batch = Records(shard="", index=np.arange(1), key=pa.array([""]), payload=pa.array([data], pa.binary()), carried={})
    target = Target(shape=(None, None, 3), orientation=Orientation.IGNORE)
    (group,) = NativeDecoder(target).groups(batch, faults)
    assert not faults
    height, width, channels = group.pixels.shape[1:]
    truth = tifffile.imread(io.BytesIO(data)) if " of " in name and "TIFF" in name else _by_pillow(data, channels)
    np.testing.assert_array_equal(group.pixels[0], truth.reshape(height, width, channels))


def _by_pillow(data: bytes, channels: int) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image if image.mode == "I;16" else image.convert(MODES[channels]))
