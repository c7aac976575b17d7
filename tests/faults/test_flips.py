"""Single flipped bits, anywhere in a shard: each is an error, a reject, or changes no record."""

import io
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from PIL import Image

from lake.core.errors import InputError, ShardError
from tests.faults.damaged import (
    COUNT,
    MODES,
    Container,
    Outcome,
    flip,
    member,
    read,
    settle,
)

pytestmark = pytest.mark.slow  # jobs, or models, from end to end

FLIPS = 300
CHECKED = (
    "tfrecord",
    "tfrecord.gz",
    "tar.gz",
    "parquet",
    "parquet plain",
    "npz",
    "npz stored",
    "npy.gz",
    "idx.gz",
    "csv.gz",
)
NAMES = (b"\x05image", b"\x05bytes", b"\x04path", b"\x05label")  # in a Parquet footer, with their lengths
ELEMENTS = 128  # bytes before the first element of the .npy file here


@dataclass(kw_only=True)
class Tally:
    """What became of flips: how many of each kind, and the bits that nothing told of."""

    outcomes: Counter[str] = field(default_factory=Counter)
    silent: list[int] = field(default_factory=list)


def flips(container: Container, folder: Path, count: int, seed: int, *, salvage: bool) -> Tally:
    """Flip ``count`` bits, one at a time, and read."""
    columns = settle(container, folder, salvage=salvage)
    clean = read(container, folder, columns)
    assert (len(clean.good), clean.bad, clean.error) == (COUNT, {}, None)
    tally, dice = Tally(), random.Random(seed)
    for _ in range(count):
        bit = dice.randrange(8 * len(container.data))
        kind = judged(clean, read(container, folder, columns, flip(container.data, bit)), salvage=salvage)
        tally.outcomes[kind] += 1
        if kind == "silent":
            tally.silent.append(bit)
    return tally


def judged(clean: Outcome, found: Outcome, *, salvage: bool) -> str:
    """A shard that is damaged gives nothing, unless what is intact is kept: then all that it gives must be right."""
    same = all(clean.good.get(at) == values for at, values in found.good.items())
    if found.error is not None:
        return "error" if same or not salvage else "silent"
    if not same or found.lost != COUNT:
        return "silent"
    return "fault" if found.bad else "harmless"


@MODES
@pytest.mark.parametrize("kind", CHECKED)
def test_every_flip_is_found_where_there_are_checksums(
    tmp_path: Path, intact: dict[str, Container], kind: str, salvage: bool
) -> None:
    tally = flips(intact[kind], tmp_path, FLIPS, seed=1 + salvage, salvage=salvage)
    assert tally.silent == []
    assert tally.outcomes["error"] + tally.outcomes["fault"] > 0


def test_a_plain_tar_leaves_only_the_data_of_members_unchecked(tmp_path: Path, intact: dict[str, Container]) -> None:
    container = intact["tar"]
    tally = flips(container, tmp_path, FLIPS, seed=3, salvage=True)
    spans = [span_of(container.data, f"{at:04d}.{kind}") for at in range(COUNT) for kind in ("png", "cls")]
    assert 0 < len(tally.silent) < FLIPS // 2
    for bit in tally.silent:
        start, stop = next(span for span in spans if span[0] <= bit // 8 < span[1])
        data = flip(container.data, bit)[start:stop]
        assert len(data) == 1 or not is_png(data)  # a class of one digit; an image has checksums of its own


def span_of(data: bytes, name: str) -> tuple[int, int]:
    found = member(data, name)
    return found.offset_data, found.offset_data + found.size


def is_png(data: bytes) -> bool:
    try:
        Image.open(io.BytesIO(data)).verify()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


@pytest.mark.parametrize("kind", ["npy", "npy chw"])
def test_a_plain_npy_leaves_only_its_numbers_unchecked(tmp_path: Path, intact: dict[str, Container], kind: str) -> None:
    container = intact[kind]
    tally = flips(container, tmp_path, FLIPS, seed=4, salvage=True)
    assert tally.outcomes["silent"] > FLIPS // 2
    assert all(bit >= 8 * ELEMENTS for bit in tally.silent)


@pytest.mark.parametrize("kind", ["csv", "arrow"])
def test_what_has_no_checksum_changes_one_record_and_shifts_nothing(
    tmp_path: Path, intact: dict[str, Container], kind: str
) -> None:
    container = intact[kind]
    columns = settle(container, tmp_path, salvage=True)
    clean = read(container, tmp_path, columns)
    tally = flips(container, tmp_path, FLIPS, seed=5, salvage=True)
    assert tally.silent
    for bit in tally.silent:
        found = read(container, tmp_path, columns, flip(container.data, bit))
        assert found.error is None
        if kind == "csv" and container.data[bit // 8] == ord("\n"):  # two lines are one, of too many numbers
            assert (found.lost, len(found.bad)) == (COUNT - 1, 1)
            continue
        changed = [at for at, values in clean.good.items() if found.good.get(at) != values]
        shared = kind == "arrow" and bit // 8 < container.data.index(b"\x89PNG")  # values of a dictionary
        assert found.lost == COUNT
        assert shared or changed[-1] - changed[0] <= (kind == "arrow")  # an offset parts two neighbours


@pytest.mark.parametrize("kind", ["parquet", "parquet plain"])
def test_a_flip_in_a_parquet_footer_is_found_also_where_columns_are_chosen_by_it(
    tmp_path: Path, intact: dict[str, Container], kind: str
) -> None:
    """By its names above all: a column that is called otherwise would not be missed."""
    container = intact[kind]
    clean = read(container, tmp_path, settle(container, tmp_path))
    footer = len(container.data) - 8 - int.from_bytes(container.data[-8:-4], "little")
    names = [at for at in range(footer, len(container.data)) if is_of_name(container.data, at)]
    assert len(names) > 80
    for bit in (8 * at + bit for at in names for bit in range(8)):
        changed = replace(container, data=flip(container.data, bit))
        try:
            found = read(changed, tmp_path, settle(changed, tmp_path))
        except (InputError, ShardError):
            continue
        assert found.error is not None or found.good == clean.good, bit


def is_of_name(data: bytes, at: int) -> bool:
    """Whether a byte is of a name of a column, or of its length."""
    return any(name in data[at - len(name) + 1 : at + len(name)] for name in NAMES)
