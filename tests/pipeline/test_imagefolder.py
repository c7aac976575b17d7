"""A Hugging Face imagefolder, cleaned: it loads again, with the captions of the images that it has."""

import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import InputError
from lake.inputs.discover import find_shards
from pipeline.config import Gate
from pipeline.output.commit.companions import copy_companions
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import read_manifest
from pipeline.output.verify import verify
from tests.conftest import Model, write_parquet
from tests.pipeline.conftest import run_job

pytestmark = pytest.mark.slow  # jobs, or models, from end to end

ALL = Gate(max_reject_fraction=1)


def captions(folder: Path) -> dict[str, str]:
    """The caption of each image, whose file must be there."""
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    for row in rows:
        assert (folder / row["file_name"]).stat().st_size > 0
    return {row["file_name"]: row["text"] for row in rows}


def describe(folder: Path, names: list[str], word: str = "caption") -> None:
    lines = [json.dumps({"file_name": name, "text": f"{word} {name}"}) + "\n" for name in names]
    (folder / "metadata.jsonl").write_text("".join(lines))


@pytest.fixture
def source(tmp_path: Path, digit_files: list[bytes]) -> Path:
    """Two splits, and a directory below one; an image that is none; names that change with the format."""
    for at, name in enumerate(("train/0.png", "train/d/1.jpg", "train/2.bmp", "test/3.png")):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(digit_files[at])
    (tmp_path / "in/train/bad.png").write_bytes(b"no image")
    describe(tmp_path / "in/train", ["0.png", "d/1.jpg", "2.bmp", "bad.png"])
    describe(tmp_path / "in/test", ["3.png"])
    (tmp_path / "in/nothing").mkdir()
    describe(tmp_path / "in/nothing", ["x.png"])
    return tmp_path / "in"


def test_descriptions_follow_their_images(source: Path, model: Model, digit_files: list[bytes]) -> None:
    out = source.parent / "out"
    summary = run_job("reconstruct", source, model.bundle, out, image_format="webp", gate=ALL)
    assert (summary["complete"], summary["total"]["results"]) == (True, 4)
    assert summary["run"]["passed_over"] == {"unknown_format": {"count": 1, "examples": ["nothing/metadata.jsonl"]}}
    train = {"0.webp": "caption 0.png", "d/1.webp": "caption d/1.jpg", "2.webp": "caption 2.bmp"}
    assert captions(out / "images/train") == train
    assert captions(out / "images/test") == {"3.webp": "caption 3.png"}
    verify(str(out), deep=True).raise_for_problems()
    assert run_job("reconstruct", source, model.bundle, out, image_format="webp", gate=ALL)["run"]["units"] == 0
    # A description that changes, and an image that is mended, each reach the copy.
    describe(source / "test", ["3.png"], "new")
    (source / "train/bad.png").write_bytes(digit_files[9])
    summary = run_job("reconstruct", source, model.bundle, out, image_format="webp", gate=ALL)
    assert (summary["run"]["units"], summary["total"]["results"]) == (2, 5)
    assert captions(out / "images/test") == {"3.webp": "new 3.png"}
    assert captions(out / "images/train") == {**train, "bad.webp": "caption bad.png"}
    verify(str(out), deep=True).raise_for_problems()
    # The copy goes with the file, at the next run.
    (source / "test/metadata.jsonl").unlink()
    run_job("reconstruct", source, model.bundle, out, image_format="webp", gate=ALL)
    assert sorted(path.name for path in (out / "images/test").iterdir()) == ["3.webp"]
    verify(str(out), deep=True).raise_for_problems()


@pytest.mark.parametrize("format", ["auto", "folder"])
def test_a_description_in_parquet(source: Path, model: Model, format: str) -> None:
    for path in source.rglob("metadata.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
        path.unlink()
    (source / "nothing/metadata.parquet").unlink()
    out, options = source.parent / "out", {"image_format": "webp", "gate": ALL, "format": format}
    summary = run_job("reconstruct", source, model.bundle, out, **options)
    assert (summary["complete"], summary["total"]["results"], summary["run"]["passed_over"]) == (True, 4, {})
    rows = pq.read_table(out / "images/train/metadata.parquet").to_pylist()
    assert {row["file_name"]: row["text"] for row in rows} == {
        "0.webp": "caption 0.png",
        "d/1.webp": "caption d/1.jpg",
        "2.webp": "caption 2.bmp",
    }
    verify(str(out), deep=True).raise_for_problems()
    assert run_job("reconstruct", source, model.bundle, out, **options)["run"]["units"] == 0


def test_a_shard_called_like_a_description(tmp_path: Path, model: Model, digit_files: list[bytes]) -> None:
    write_parquet(tmp_path / "in/a/metadata.parquet", digit_files[:3], [1, 2, 3])
    out = tmp_path / "out"
    assert run_job("reconstruct", tmp_path / "in", model.bundle, out)["total"]["results"] == 3
    verify(str(out), deep=True).raise_for_problems()
    pq.write_table(pa.table({"x": [1]}), out / "images/a/metadata.parquet")
    assert verify(str(out)).problems
    # beside images of another directory it is a shard too
    (tmp_path / "in/b").mkdir()
    (tmp_path / "in/b/1.png").write_bytes(digit_files[0])
    with pytest.raises(InputError, match="mixes formats"):
        run_job("reconstruct", tmp_path / "in", model.bundle, tmp_path / "o")


def test_a_job_without_images_passes_over_descriptions(source: Path, model: Model) -> None:
    summary = run_job("encode", source, model.bundle, source.parent / "out", gate=ALL)
    assert summary["run"]["passed_over"]["unknown_format"]["count"] == 3


def test_new_shards_have_no_copy(source: Path, model: Model) -> None:
    out = source.parent / "out"
    run_job("reconstruct", source, model.bundle, out, output_format="webdataset", gate=ALL)
    assert not list(out.rglob("metadata.jsonl"))


def test_the_same_images_without_a_description_are_the_same_units(source: Path, model: Model) -> None:
    for path in source.rglob("metadata.jsonl"):
        path.unlink()
    out = source.parent / "out"
    run_job("reconstruct", source, model.bundle, out, gate=ALL)
    describe(source / "nothing", ["x.png"])  # describes no image
    assert run_job("reconstruct", source, model.bundle, out, gate=ALL)["run"]["units"] == 0


def test_a_commit_that_is_tried_again_after_its_cleanup_keeps_the_copies(source: Path, model: Model) -> None:
    out = source.parent / "out"
    run_job("reconstruct", source, model.bundle, out, gate=ALL)
    layout = Layout(str(out))
    before = read_manifest(layout)
    bare = {
        unit: replace(receipt, outputs=tuple(one for one in receipt.outputs if not one.name.endswith("jsonl")))
        for unit, receipt in before.items()
    }
    assert bare != before
    assert copy_companions(layout, layout.companions("ended"), bare, before) == before


def img2dataset(root: Path, files: list[bytes], *, tars: bool) -> None:
    """Two shards of three images as img2dataset writes them, with captions, records, statistics and tables."""
    for shard in range(2):
        stem = root / f"{shard:05}"
        stem.mkdir(parents=True)
        for at in range(3):
            key = stem / f"{shard:05}{at:04}"
            key.with_suffix(".jpg").write_bytes(files[shard * 3 + at])
            key.with_suffix(".txt").write_text(f"caption {key.name}")
            key.with_suffix(".json").write_text(json.dumps({"key": key.name}))
        if tars:
            with tarfile.open(stem.with_suffix(".tar"), "w") as tar:
                for path in sorted(stem.iterdir()):
                    tar.add(path, path.name)
            shutil.rmtree(stem)
        (root / f"{shard:05}_stats.json").write_text(json.dumps({"successes": 3}))
        pq.write_table(pa.table({"key": [f"{shard:05}{at:04}" for at in range(3)]}), stem.with_suffix(".parquet"))


@pytest.mark.parametrize("tars", [False, True])
def test_what_img2dataset_writes_is_read_and_written_again(
    tmp_path: Path, model: Model, digit_files: list[bytes], tars: bool
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    img2dataset(source, digit_files, tars=tars)
    summary = run_job("reconstruct", source, model.bundle, out, expect_records="6")
    assert (summary["complete"], summary["total"]["results"]) == (True, 6)
    tables = {"count": 2, "examples": ["00000.parquet", "00001.parquet"]}
    assert summary["run"]["passed_over"]["description"] == tables
    images = out / "images"
    if tars:
        for name in ("00000.tar", "00001.tar"):
            with tarfile.open(images / name) as tar:
                assert len(tar.getnames()) == 9
    else:
        keys = [f"{shard:05}/{shard:05}{at:04}" for shard in range(2) for at in range(3)]
        assert sorted(path.relative_to(images).as_posix() for path in images.rglob("*.*")) == sorted(
            f"{key}.{suffix}" for key in keys for suffix in ("jpg", "txt", "json")
        )
        for key in keys:
            assert (images / f"{key}.txt").read_bytes() == (source / f"{key}.txt").read_bytes()
    verify(str(out), deep=True).raise_for_problems()


def test_captions_go_with_their_images(tmp_path: Path, model: Model, digit_files: list[bytes]) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name, data in {"a.jpg": digit_files[0], "a.png": digit_files[1], "b.png": b"no image"}.items():
        (source / name).write_bytes(data)
        (source / name).with_suffix(".txt").write_text(name)
    (source / "alone.txt").write_text("alone")
    summary = run_job("reconstruct", source, model.bundle, out, image_format="same", gate=ALL)
    assert summary["run"]["passed_over"] == {"unknown_format": {"count": 1, "examples": ["alone.txt"]}}
    assert sorted(path.name for path in (out / "images").iterdir()) == ["a.jpg", "a.png", "a.txt"]
    verify(str(out), deep=True).raise_for_problems()
    (source / "a.txt").write_text("another caption")
    run_job("reconstruct", source, model.bundle, out, image_format="same", gate=ALL)
    assert (out / "images/a.txt").read_text() == "another caption"


def test_tables_that_are_shards_are_still_a_mixture(tmp_path: Path, digit_files: list[bytes]) -> None:
    img2dataset(tmp_path, digit_files, tars=True)
    shutil.copy(tmp_path / "00000.parquet", tmp_path / "other.parquet")
    with pytest.raises(InputError, match=r"mixes formats \(3 parquet, 2 webdataset\)"):
        find_shards([str(tmp_path)])
    assert len(find_shards([str(tmp_path)], "webdataset").shards) == 2
