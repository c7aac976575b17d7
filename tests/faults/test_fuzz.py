"""Mutants through every decoder, in a process of its own; ``tests.torture.fuzz`` is the long form."""

import io

import numpy as np
import pyarrow as pa
import pytest
import tifffile
from PIL import Image

from lake.core.records import Reason, Records
from lake.images.native_decoder import NativeDecoder
from lake.images.types import Orientation, Target
from tests.faults.pictures import pictures
from tests.faults.shard_mutants import ShardMutant
from tests.torture.fuzz import campaign, once, table

WIDE = ("PNG 16 bits", "AVIF 12 bits", "JPEG-2000 12 bits")
ELSEWHERE = (*WIDE, "TIFF other", "HEIC", "JPEG-XL")  # Pillow does not read these; their formats' tests compare
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@pytest.mark.timeout(600)  # in their long forms
@pytest.mark.parametrize(("first", "mutants"), [(500, 250), pytest.param(0, 2000, marks=pytest.mark.slow)])
def test_mutants_become_pixels_or_rejects(first: int, mutants: int) -> None:
    tally = campaign(first, mutants)
    assert not tally.failures, "\n".join(table(tally))
    assert tally.outcomes.total() == mutants
    assert tally.outcomes["decoded"] > mutants // 10
    assert tally.outcomes[Reason.CORRUPT_IMAGE] > mutants // 2
    assert tally.outcomes[Reason.UNSUPPORTED_IMAGE]
    assert tally.outcomes[Reason.TOO_MANY_PIXELS]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("first", "mutants"), [(0, 40), pytest.param(1_000, 1_000, marks=pytest.mark.slow)])
def test_mutants_of_shards_and_state_become_records_or_named_errors(first: int, mutants: int) -> None:
    tally = campaign(first, mutants, kind="shards")
    assert not tally.failures, "\n".join(table(tally))
    assert tally.outcomes.total() == mutants
    assert all(tally.outcomes[outcome] > mutants // 50 for outcome in ("read", "refused", "state"))


def test_a_file_is_tried_once_and_a_failure_every_time() -> None:
    tried, outcomes = list[str](), dict[bytes, str]()

    def attempt(mutant: ShardMutant) -> str:
        tried.append(mutant.steps)
        assert mutant.data != b"bad"
        return "read"

    for steps, name, data in (
        ("a", "x", b"1"),
        ("b", "x", b"1"),
        ("c", "y", b"1"),
        ("d", "x", b"bad"),
        ("e", "x", b"bad"),
    ):
        outcome, _ = once(attempt, ShardMutant(steps=steps, format="array", name=name, data=data), outcomes)
        assert (outcome == "read") == (data == b"1")
    assert tried == ["a", "c", "d", "e"]


@pytest.mark.parametrize("name", [name for name in pictures() if not name.startswith(ELSEWHERE)])
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
