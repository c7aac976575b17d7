"""Clean images come in step with the noisy ones, from any format, or the difference is named."""

import io
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import InputError, ShardError
from lake.core.records import Array
from lake.formats import FORMATS
from lake.formats.reader import ColumnSelection
from lake.inputs.discover import Found, find_shards
from lake.inputs.reference import CleanShards, Reference, find_reference, paired, with_clean
from lake.inputs.units import make_units
from tests.conftest import png

IMAGES = np.random.default_rng(0).integers(0, 256, (150, 4, 5), np.uint8)
KEYS = [f"i{number:03d}" for number in range(150)]


def write(path: Path, images: Array = IMAGES, keys: Sequence[str] = KEYS) -> None:
    """Images under a name whose suffix tells the format; a folder of files where it has none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, images)
    elif path.suffix == ".parquet":
        files = [{"bytes": png(image), "path": f"{key}.png"} for image, key in zip(images, keys, strict=True)]
        pq.write_table(pa.table({"image": files}), path)
    elif path.suffix == ".tar":
        with tarfile.open(path, "w") as tar:
            for image, key in zip(images, keys, strict=True):
                info, data = tarfile.TarInfo(f"{key}.png"), png(image)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    else:
        path.mkdir()
        for image, key in zip(images, keys, strict=True):
            (path / f"{key}.png").write_bytes(png(image))


def reference_of(noisy: Path, clean: Path, **request: Any) -> tuple[Found, Reference, CleanShards]:
    found = find_shards([str(noisy)])
    return found, *find_reference([str(clean)], found, ColumnSelection(**request))


def pairs(found: Found, reference: Reference, clean_shards: CleanShards, size: int = 7) -> list[tuple[Any, Any]]:
    """Payload of every noisy record and of the clean one that stands beside it."""
    columns = FORMATS[found.format].reader.settle(found.shards[0], ColumnSelection())
    made = []
    for unit in make_units(found, whole=True):
        for batch in paired(
            FORMATS[found.format].reader.read(unit, columns, size), with_clean(unit, clean_shards), reference
        ):
            records = batch.records()
            clean = {start + at: piece.payload[at] for start, piece in batch.clean for at in range(len(piece))}
            assert sorted(clean) == list(range(len(records)))
            made += [(plain(records.payload[at]), plain(clean[at])) for at in range(len(records))]
    return made


def plain(value: Any) -> bytes:
    """A file's bytes, or an array as the PNG of it."""
    return png(value[..., 0]) if isinstance(value, np.ndarray) else value.as_py()


@pytest.mark.parametrize("size", [1, 7, 64, 200])
@pytest.mark.parametrize(
    ("noisy", "clean"),
    [
        ("x.npy", "x.npy"),
        ("x.npy", "x.parquet"),
        ("x.tar", "x.parquet"),
        ("x.parquet", "x.tar"),
        ("x.tar", "x.npy"),
        ("d", "d"),
    ],
)
def test_records_stand_beside_their_clean_images(tmp_path: Path, noisy: str, clean: str, size: int) -> None:
    write(tmp_path / "noisy" / noisy, 255 - IMAGES)
    write(tmp_path / "clean" / clean)
    made = pairs(*reference_of(tmp_path / "noisy", tmp_path / "clean"), size=size)
    assert made == [(png(255 - image), png(image)) for image in IMAGES]


def test_shards_are_paired_by_name_through_the_tree(tmp_path: Path) -> None:
    for number, name in enumerate(("a/x", "a/y", "b/x")):
        write(tmp_path / f"noisy/{name}.tar", 255 - IMAGES[number * 50 :][:50], KEYS[:50])
        write(tmp_path / f"clean/{name}.parquet", IMAGES[number * 50 :][:50], KEYS[:50])
    write(tmp_path / "clean/c/more.parquet", IMAGES[:3], KEYS[:3])
    found, reference, shards = reference_of(tmp_path / "noisy", tmp_path / "clean")
    assert pairs(found, reference, shards) == [(png(255 - image), png(image)) for image in IMAGES]
    (tmp_path / "clean/b/x.parquet").unlink()
    with pytest.raises(
        InputError, match=r"^b/x\.tar: no shard of this name below .*clean; --reference needs one for each"
    ):
        reference_of(tmp_path / "noisy", tmp_path / "clean")
    with pytest.raises(ShardError, match=r"clean/b/x\.parquet: the store failed: .*No such file"):
        pairs(found, reference, shards)


def test_files_of_folders_are_paired_one_by_one(tmp_path: Path) -> None:
    write(tmp_path / "noisy/d", 255 - IMAGES[:3], KEYS[:3])
    write(tmp_path / "clean/d", IMAGES)
    (tmp_path / "clean/d/i001.png").rename(tmp_path / "clean/d/i001.BMP")  # of any suffix
    made = pairs(*reference_of(tmp_path / "noisy", tmp_path / "clean"))
    assert made == [(png(255 - image), png(image)) for image in IMAGES[:3]]
    (tmp_path / "clean/d/i002.png").unlink()
    with pytest.raises(InputError, match=r"^d/i002\.png: no shard of this name"):
        reference_of(tmp_path / "noisy", tmp_path / "clean")


def test_a_shard_alone_may_have_another_name(tmp_path: Path) -> None:
    write(tmp_path / "noisy.npy", 255 - IMAGES)
    write(tmp_path / "clean.npy")
    found, reference, shards = reference_of(tmp_path / "noisy.npy", tmp_path / "clean.npy")
    assert reference.options()["only"] == "clean.npy"
    assert pairs(found, reference, shards) == [(png(255 - image), png(image)) for image in IMAGES]


@pytest.mark.parametrize(
    ("count", "says"), [(149, "has fewer records than record 149 with the key 'i149'"), (151, "has more")]
)
def test_a_missing_or_surplus_record_is_named(tmp_path: Path, count: int, says: str) -> None:
    write(tmp_path / "noisy/x.tar")
    write(tmp_path / "clean/x.parquet", np.resize(IMAGES, (count, 4, 5)), [*KEYS, "more"][:count])
    with pytest.raises(ShardError) as caught:
        pairs(*reference_of(tmp_path / "noisy", tmp_path / "clean"))
    assert str(caught.value).startswith(f"{tmp_path}/clean/x.parquet: {says}")


@pytest.mark.parametrize("at", [0, 70, 149])
def test_a_key_that_disagrees_is_named(tmp_path: Path, at: int) -> None:
    write(tmp_path / "noisy/x.tar")
    write(tmp_path / "clean/x.parquet", keys=[*KEYS[:at], "other", *KEYS[at + 1 :]])
    says = f"has the key 'other.png' where record {at} with the key '{KEYS[at]}' belongs"
    with pytest.raises(ShardError, match=says):
        pairs(*reference_of(tmp_path / "noisy", tmp_path / "clean"))


def test_a_damaged_record_has_no_key_to_agree(tmp_path: Path) -> None:
    import tensorflow as tf

    for folder, broken in (("noisy", 2), ("clean", 5)):
        (tmp_path / folder).mkdir()
        with tf.io.TFRecordWriter(str(tmp_path / folder / "x.tfrecord")) as out:
            for number, (image, key) in enumerate(zip(IMAGES[:9], KEYS[:9], strict=True)):
                data = {"image/encoded": png(image), "image/filename": f"{key}.png".encode()}
                feature = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in data.items()}
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                out.write(b"\xff no Example" if number == broken else example.SerializeToString())
    found, reference, shards = reference_of(tmp_path / "noisy", tmp_path / "clean")
    (unit,) = make_units(found)
    reader = FORMATS["tfrecord"].reader
    records = reader.read(unit, reader.settle(found.shards[0], ColumnSelection()), 64)
    (batch,) = paired(records, with_clean(unit, shards), reference)
    ((start, piece),) = batch.clean
    assert (start, [*batch.records().faults], [*piece.faults]) == (0, [2], [5])


def test_two_references_for_one_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "noisy/d", IMAGES[:3], KEYS[:3])
    write(tmp_path / "clean/d", IMAGES[:3], KEYS[:3])
    (tmp_path / "clean/d/i001.jpg").write_bytes(png(IMAGES[0]))
    with pytest.raises(InputError, match=r"^d/i001\.jpg and d/i001\.png below .*clean would be the reference of one"):
        reference_of(tmp_path / "noisy", tmp_path / "clean")


def test_folders_and_shards_are_no_pair(tmp_path: Path) -> None:
    write(tmp_path / "noisy/d", IMAGES[:3], KEYS[:3])
    write(tmp_path / "clean/d.tar", IMAGES[:3], KEYS[:3])
    for one, other, says in (
        ("noisy", "clean", "webdataset is no reference for folder"),
        ("clean", "noisy", "folder is no"),
    ):
        with pytest.raises(InputError, match=says):
            reference_of(tmp_path / one, tmp_path / other)


def test_names_of_columns_hold_for_the_same_format_alone(tmp_path: Path) -> None:
    write(tmp_path / "noisy/x.parquet")
    table = pq.read_table(tmp_path / "noisy/x.parquet").rename_columns(["noisy"])
    pq.write_table(table.append_column("image", table["noisy"]), tmp_path / "noisy/x.parquet")
    write(tmp_path / "clean/x.npy")
    _, alike, _ = reference_of(tmp_path / "noisy", tmp_path / "noisy", image="noisy", carry=("image",), whole=True)
    assert (alike.columns.image, alike.columns.carry.names, alike.columns.whole) == ("noisy", [], False)
    _, other, _ = reference_of(tmp_path / "noisy", tmp_path / "clean", image="noisy", carry=("image",))
    assert other.columns.image == "image"


def test_a_damaged_reference_is_refused_at_launch(tmp_path: Path) -> None:
    write(tmp_path / "noisy/x.npy")
    write(tmp_path / "clean/x.npy")
    (tmp_path / "clean/x.npy").write_bytes((tmp_path / "clean/x.npy").read_bytes()[:-1])
    with pytest.raises(InputError, match=r"the reference .*clean/x\.npy cannot be read: x\.npy: its header asks for"):
        reference_of(tmp_path / "noisy", tmp_path / "clean")


def test_it_travels_and_is_small(tmp_path: Path) -> None:
    import pickle

    for number in range(100):
        write(tmp_path / f"noisy/{number}.npy", IMAGES[:1])
    _, reference, _ = reference_of(tmp_path / "noisy", tmp_path / "noisy")
    assert pickle.loads(pickle.dumps(reference)) == reference == replace(reference)
    assert len(pickle.dumps(reference)) < 2000 and hash(reference) == hash(replace(reference))
