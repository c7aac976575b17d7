"""Giant tar and TFRecord shards through whole jobs: the rows of the shard as one unit, however it is cut."""

import gzip
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from lake.formats import FORMATS
from lake.formats.common import cuts as cuts_of
from lake.formats.tfrecord.framing import framed
from lake.inputs import giants
from pipeline.beam.launch import launch
from pipeline.config import Gate
from pipeline.explore.output import Output
from pipeline.job.prepare import prepare
from pipeline.job.repair import repair_options, retry_options
from pipeline.options.job_options import JobOptions
from pipeline.output.verify import verify
from tests.conftest import Model, long_forms
from tests.lake.formats.support import archive
from tests.lake.formats.tfrecord.examples import example
from tests.pipeline.conftest import run_job

COUNT, SLICES = 200, 7
BAD = {3: b"no image", 70: b"", 71: b"\x89PNG damaged", 199: b"\xff\xd8 cut"}
LOOSE = Gate(max_reject_fraction=0.5)
FORMAT = {".tar": "webdataset", ".tfrecord": "tfrecord"}


def shard(path: Path, files: list[bytes], labels: Any) -> Path:
    """Digits, of which a few are bad, as one shard."""
    images = [BAD.get(i, data) for i, data in enumerate(files)]
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".tar":
        parts = [((f"{i:04d}.png", data), (f"{i:04d}.cls", b"%d" % labels[i])) for i, data in enumerate(images)]
        path.write_bytes(archive([member for pair in parts for member in pair], "pax"))
    else:
        some = ({"image": image, "label": int(labels[i]), "key": b"%04d" % i} for i, image in enumerate(images))
        path.write_bytes(framed([example(**values) for values in some]))
    return path


def cut(patch: pytest.MonkeyPatch, path: Path) -> None:
    """Make the shard a giant of seven slices."""
    patch.setattr(giants, "GIANT_BYTES", 10_000)
    patch.setattr(cuts_of, "SLICE_BYTES", path.stat().st_size / SLICES)


def rows(output: Path, directory: str) -> dict[str, list[Any]]:
    """All rows of a directory's tables, in the order of the shard."""
    table = ds.dataset(output / directory, format="parquet").to_table()
    table = table.set_column(table.schema.get_field_index("shard"), "shard", table.column("shard").cast(pa.string()))
    return dict(table.sort_by("index").to_pydict())


def options(model: Model, source: Path, output: Path, **changes: Any) -> JobOptions:
    return JobOptions(
        verb="encode", input=(str(source),), model=model.bundle, output=str(output), gate=LOOSE, **changes
    )


@pytest.fixture(scope="module", params=["big.tar", "big.tfrecord"])
def giant(
    tmp_path_factory: pytest.TempPathFactory, model: Model, digit_files: list[bytes], labels: Any, request: Any
) -> Path:
    """A shard in ``in``, encoded as one unit into ``one``, and in slices into ``many``."""
    root = tmp_path_factory.mktemp("giant")
    path = shard(root / "in" / request.param, digit_files[:COUNT], labels)
    run_job("encode", path, model.bundle, root / "one", gate=LOOSE)
    with pytest.MonkeyPatch.context() as patch:
        cut(patch, path)
        summary = run_job("encode", path, model.bundle, root / "many", gate=LOOSE)
    assert (summary["total"]["units"], summary["total"]["rejects"]) == (SLICES, len(BAD))
    return path


def check_same(giant: Path) -> None:
    one, many = giant.parent.parent / "one", giant.parent.parent / "many"
    names = sorted(file.name for file in (many / "latents").iterdir())
    assert names == [f"big-{i:05d}-of-{SLICES:05d}.parquet" for i in range(SLICES)]
    for directory in ("latents", "rejects"):
        assert rows(many, directory) == rows(one, directory)
    assert verify(str(many), deep=True).problems == ()


def test_a_giant_has_the_rows_of_one_unit(giant: Path) -> None:
    check_same(giant)


def test_the_next_night_does_not_look_again_and_what_is_done_as_a_whole_stays_whole(
    giant: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(monkeypatch, giant)
    reader = type(FORMATS[FORMAT[giant.suffix]].reader)
    monkeypatch.setattr(reader, "cuts", lambda *_: pytest.fail("looked through again"))
    assert prepare(options(model, giant, giant.parent.parent / "many")).nothing_to_do
    job = prepare(options(model, giant, giant.parent.parent / "one"))
    assert job.nothing_to_do
    assert [unit.id for unit in job.plan.units] == ["big"]


def test_repair_does_one_slice_and_retry_what_was_rejected_of_each(
    giant: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(monkeypatch, giant)
    many = giant.parent.parent / "many"
    (many / f"latents/big-00002-of-{SLICES:05d}.parquet").unlink()
    assert launch(repair_options(verify(str(many))), [])["run"]["units"] == 1
    launch(retry_options(str(many), {"max_pixels": 1 << 20}), [])
    check_same(giant)


def test_a_changed_giant_is_cut_anew(
    tmp_path: Path, model: Model, digit_files: list[bytes], labels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shard(tmp_path / "in/big.tfrecord", digit_files[:COUNT], labels)
    cut(monkeypatch, path)
    run_job("encode", path, model.bundle, tmp_path / "many", gate=LOOSE)
    shard(path, digit_files[100 : 2 * COUNT], labels)
    os.utime(path, ns=(1, 1))
    run_job("encode", path, model.bundle, tmp_path / "many", gate=LOOSE)
    monkeypatch.undo()
    run_job("encode", path, model.bundle, tmp_path / "one", gate=LOOSE)
    assert len(list((tmp_path / "many/latents").iterdir())) > SLICES
    assert rows(tmp_path / "many", "latents") == rows(tmp_path / "one", "latents")
    assert verify(str(tmp_path / "many"), deep=True).problems == ()


def damaged(archive: bytes) -> bytes:
    """A header in the middle, and what comes after it, are lost."""
    middle = archive.index(b"0100.png")
    return archive[:middle] + b"\xff" * 60 + archive[middle + 60 :]


def cut_off(data: bytes) -> bytes:
    return data[:-9]


UNCUT = {"big.tar": damaged, "big.tfrecord": cut_off, "big.tar.gz": gzip.compress, "big.tfrecord.gz": gzip.compress}


@pytest.mark.parametrize("name", ["big.tar", "big.tfrecord.gz", *long_forms("big.tfrecord", "big.tar.gz")])
def test_a_giant_that_cannot_be_cut_is_one_unit(
    tmp_path: Path,
    model: Model,
    digit_files: list[bytes],
    labels: Any,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    plain = shard(tmp_path / "made" / name.removesuffix(".gz"), digit_files[:COUNT], labels)
    path = tmp_path / "in" / name
    path.parent.mkdir()
    path.write_bytes(UNCUT[name](plain.read_bytes()))
    run_job("encode", path, model.bundle, tmp_path / "one", gate=LOOSE, on_damage="reject")
    cut(monkeypatch, path)
    for _ in range(2):  # the second one from what is remembered
        run_job("encode", path, model.bundle, tmp_path / "many", gate=LOOSE, on_damage="reject")
    assert [file.name for file in (tmp_path / "many/latents").iterdir()] == ["big.parquet"]
    for directory in ("latents", "rejects"):
        assert rows(tmp_path / "many", directory) == rows(tmp_path / "one", directory)


def test_images_are_cut_where_they_are_written_anew(
    tmp_path: Path, model: Model, digit_files: list[bytes], labels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shard(tmp_path / "in/big.tar", digit_files[:COUNT], labels)
    cut(monkeypatch, path)
    run_job("reconstruct", path, model.bundle, tmp_path / "same", gate=LOOSE)
    run_job("reconstruct", path, model.bundle, tmp_path / "anew", gate=LOOSE, output_format="parquet")
    assert [file.name for file in (tmp_path / "same/images").iterdir()] == ["big.tar"]
    written = sorted((tmp_path / "anew/images").iterdir())
    assert [file.name for file in written] == [f"big-{i:05d}-of-{SLICES:05d}.parquet" for i in range(SLICES)]
    keys = [key for file in written for key in pq.read_table(file).column("key").to_pylist()]
    assert keys == [f"{i:04d}" for i in range(COUNT) if i not in BAD]
    assert len(Output(str(tmp_path / "anew")).table.to_table()) == len(keys)


def test_damage_that_is_read_past_costs_a_record_also_where_an_index_cut(
    tmp_path: Path, model: Model, digit_files: list[bytes], labels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shard(tmp_path / "in/big.tfrecord", digit_files[:COUNT], labels)
    data, edges = bytearray(path.read_bytes()), [0]
    while edges[-1] < len(data):
        edges.append(edges[-1] + 16 + int.from_bytes(data[edges[-1] : edges[-1] + 8], "little"))
    path.with_suffix(".idx").write_text("".join(f"{begin} {end - begin}\n" for begin, end in pairwise(edges)))
    data[edges[100] + 60] ^= 1
    path.write_bytes(data)
    run_job("encode", path, model.bundle, tmp_path / "one", gate=LOOSE, on_damage="reject")
    cut(monkeypatch, path)
    run_job("encode", path, model.bundle, tmp_path / "many", gate=LOOSE, on_damage="reject")
    assert len([*(tmp_path / "many/latents").iterdir()]) == SLICES
    for directory in ("latents", "rejects"):
        assert rows(tmp_path / "many", directory) == rows(tmp_path / "one", directory)
    assert "corrupt_record" in rows(tmp_path / "many", "rejects")["reason"]


def test_a_lying_index_fails_its_slice_and_the_next_run_does_without_it(
    tmp_path: Path, model: Model, digit_files: list[bytes], labels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shard(tmp_path / "in/big.tfrecord", digit_files[:COUNT], labels)
    lines, offset = list[list[int]](), 0
    for i, data in enumerate(digit_files[:COUNT]):
        size = 16 + len(example(image=BAD.get(i, data), label=int(labels[i]), key=b"%04d" % i))
        lines.append([offset, size])
        offset += size
    lines[20:22] = [[lines[20][0], lines[20][1] + lines[21][1]]]
    index = path.with_suffix(".idx")
    index.write_text("".join(f"{begin} {size}\n" for begin, size in lines))
    cut(monkeypatch, path)
    asked = replace(options(model, path, tmp_path / "out"), gate=Gate(max_reject_fraction=0.5, max_failed_units=7))
    summary = launch(asked, [])
    assert [failed["unit"] for failed in summary["failed"]] == [f"big-00000-of-{SLICES:05d}"]
    assert "big.idx is wrong; remove it" in summary["failed"][0]["error"]
    index.unlink()
    assert launch(asked, [])["failed"] == []
    found = rows(tmp_path / "out", "latents")
    assert found["index"] == [i for i in range(COUNT) if i not in BAD]
    assert found["key"] == [f"{i:04d}" for i in found["index"]]
