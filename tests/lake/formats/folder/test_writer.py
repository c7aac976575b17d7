"""Folders written again and anew, read back by Pillow."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import google_crc32c
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from lake.core.records import OutputFile, Records, Shard, Unit
from lake.formats import FORMATS
from lake.formats.folder.writer import FolderDatasetWriter, FolderUnitWriter
from lake.formats.reader import ColumnSelection, RecordSchema
from lake.formats.writer import Results
from lake.images.types import ImageFile
from lake.storage import Sink
from tests.conftest import Pixels, png
from tests.lake.formats.rewriting import create_in

READER = FORMATS["folder"].reader


ANY = RecordSchema(image="file", key=None, carry=pa.schema([]), numeric=False, max_record_bytes=1 << 20)


def unit_of(root: Path) -> Unit:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    paths = [path.relative_to(root).as_posix() for path in files]
    shards = [Shard(uri=f"{root}/{path}", path=path, size=(root / path).stat().st_size, identity="1") for path in paths]
    return Unit(id="part-00000", format="folder", shards=tuple(shards))


def results_of(unit: Unit, images: Sequence[ImageFile], drop: Sequence[int] = (), size: int = 7) -> list[Results]:
    columns = READER.settle(unit.shards[0], ColumnSelection(whole=True))
    found, start = [], 0
    for raw in READER.read(unit, columns, size):
        records = raw.records()
        good = [p for p in range(len(records)) if start + p not in drop]
        chosen = [images[start + p] for p in good]
        found.append(Results(records=records, positions=np.array(good, np.int64), images=chosen))
        start += len(records)
    return found


def written(
    format: FolderDatasetWriter, unit: Unit, batches: Sequence[Results], create: Callable[[str], Sink]
) -> list[OutputFile]:
    writer = format.begin(unit, create)
    for results in batches:
        writer.write(format.render(results))
    return list(writer.publish())


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def tree(tmp_path: Path, digits: Pixels) -> Path:
    """30 digits in three directories, PNG and JPEG by turns."""
    for i in range(30):
        path = tmp_path / "in" / ["", "a/", "a/b c/"][i % 3] / f"{i:02d}.{['png', 'jpg', 'JPEG', 'PNG'][i % 4]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits[i]).save(path)
    return tmp_path / "in"


@pytest.fixture
def negatives(tree: Path, digits: Pixels) -> list[ImageFile]:
    """The images that replace those of the tree, in the order of its files."""
    order = [int(Path(shard.path).stem) for shard in unit_of(tree).shards]
    return [ImageFile(data=png(255 - digits[i]), suffix="png") for i in order]


@pytest.mark.parametrize("size", [1, 7, 100])
def test_the_tree_is_written_again(
    tree: Path, tmp_path: Path, digits: Pixels, negatives: list[ImageFile], size: int
) -> None:
    unit, root = unit_of(tree), tmp_path / "out"
    outputs = written(FolderDatasetWriter(ANY, True), unit, results_of(unit, negatives, size=size), create_in(root))
    names = [shard.path.replace(".jpg", ".png").replace(".JPEG", ".png") for shard in unit.shards]
    assert [output.name for output in outputs] == names  # in the order of the records
    assert sorted(content(root)) == sorted(names)
    for name in names:
        assert np.array_equal(np.asarray(Image.open(root / name)), 255 - digits[int(Path(name).stem)])
    for output in outputs:
        data = (root / output.name).read_bytes()
        assert (output.rows, output.size, output.crc32c) == (1, len(data), f"{google_crc32c.value(data):08x}")


def test_an_extension_of_the_same_format_stays(tmp_path: Path) -> None:
    before = {
        "a.JPEG": b"\xff\xd8\xff",
        "b.jpg": b"\xff\xd8\xff",
        "c.png": b"\xff\xd8\xff",
        "d": b"\xff\xd8\xff",
        "e.gif": b"GIF89a",
    }
    (tmp_path / "in").mkdir()
    for name, data in before.items():
        (tmp_path / "in" / name).write_bytes(data)
    unit = unit_of(tmp_path / "in")
    batches = results_of(unit, [ImageFile(data=name.encode(), suffix="jpg") for name in before])
    written(FolderDatasetWriter(ANY, True), unit, batches, create_in(tmp_path / "out"))
    # c.png held a JPEG before: its format has not changed
    assert content(tmp_path / "out") == {n: n.encode() for n in ("a.JPEG", "b.jpg", "c.png", "d")} | {"e.jpg": b"e.gif"}


def test_rejects_are_missing(tree: Path, tmp_path: Path, negatives: list[ImageFile]) -> None:
    unit = unit_of(tree)
    outputs = written(
        FolderDatasetWriter(ANY, True), unit, results_of(unit, negatives, [0, 8, 29]), create_in(tmp_path / "out")
    )
    gone = {Path(unit.shards[i].path).stem for i in (0, 8, 29)}
    assert {Path(name).stem for name in content(tmp_path / "out")} == {f"{i:02d}" for i in range(30)} - gone
    assert sum(output.rows for output in outputs) == 27


def test_twice_is_once(tree: Path, tmp_path: Path, negatives: list[ImageFile]) -> None:
    unit = unit_of(tree)
    first = written(
        FolderDatasetWriter(ANY, True), unit, results_of(unit, negatives, size=5), create_in(tmp_path / "out")
    )
    before = content(tmp_path / "out")
    assert (
        written(FolderDatasetWriter(ANY, True), unit, results_of(unit, negatives), create_in(tmp_path / "out")) == first
    )
    assert content(tmp_path / "out") == before


def test_written_anew_by_the_place_in_the_unit(tmp_path: Path) -> None:
    records = Records(
        shard="x.tar",
        index=np.arange(40, 43),
        key=pa.array(["../a", "b", "b"]),
        payload=pa.array([b"x"] * 3),
        carried={},
    )

    def batch(*positions: int) -> Results:
        images = [ImageFile(data=b"%d" % p, suffix=["png", "tif", "png"][p]) for p in positions]
        return Results(records=records, positions=np.array(positions, np.int64), images=images)

    unit = Unit(id="d/x", format="webdataset", shards=())
    outputs = written(FolderDatasetWriter(ANY, False), unit, [batch(0, 1, 2), batch(), batch(1)], create_in(tmp_path))
    wanted = {"d/x/00000000.png": b"0", "d/x/00000001.tif": b"1", "d/x/00000002.png": b"2", "d/x/00000007.tif": b"1"}
    assert content(tmp_path) == wanted
    assert [output.name for output in outputs] == list(wanted)


@pytest.mark.parametrize("bad", [0, 15, 29])
def test_a_file_that_cannot_be_written_is_an_error(
    tree: Path, tmp_path: Path, negatives: list[ImageFile], bad: int
) -> None:
    unit, create = unit_of(tree), create_in(tmp_path / "out")
    stem = Path(unit.shards[bad].path).stem

    def failing(name: str) -> Sink:
        if Path(name).stem == stem:
            raise OSError(28, "No space left on device", name)
        return create(name)

    format = FolderDatasetWriter(ANY, True)
    writer = format.begin(unit, failing)
    with pytest.raises(OSError, match="No space left on device"):
        fill(writer, format, results_of(unit, negatives))
    writer.abort()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("images")]
    left = content(tmp_path / "out")  # what was published before: whole, and nothing else
    assert {name: data for name, data in left.items() if "latentlake" in name} == {}
    whole = dict(zip([Path(shard.path).stem for shard in unit.shards], negatives, strict=True))
    assert all(data == whole[Path(name).stem].data for name, data in left.items())


def fill(writer: FolderUnitWriter, format: FolderDatasetWriter, batches: Sequence[Results]) -> None:
    for results in batches:
        writer.write(format.render(results))
    writer.publish()


def test_an_abort_at_once_leaves_nothing(tmp_path: Path) -> None:
    writer = FolderDatasetWriter(ANY, True).begin(Unit(id="u", format="folder", shards=()), create_in(tmp_path))
    writer.abort()
    assert list(tmp_path.iterdir()) == []


def test_at_most_two_batches_wait(tree: Path, tmp_path: Path, negatives: list[ImageFile]) -> None:
    unit, create, gate = unit_of(tree), create_in(tmp_path / "out"), threading.Event()

    def held(name: str) -> Sink:
        gate.wait(10)
        return create(name)

    format = FolderDatasetWriter(ANY, True)
    writer = format.begin(unit, held)
    first, second, *_ = results_of(unit, negatives)
    writer.write(format.render(first))  # returns: its files wait behind the gate
    second_write = threading.Thread(target=writer.write, args=(format.render(second),))
    second_write.start()
    second_write.join(0.2)
    assert second_write.is_alive()
    gate.set()
    second_write.join()
    assert len(writer.publish()) == 14
