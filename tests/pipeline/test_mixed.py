"""One job over shards of several formats: ``--format mixed``."""

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lake.core.errors import InputError
from latentlake import DenoiseShards, EncodeShards
from pipeline.cli.command import main
from pipeline.output.verify import verify
from tests.conftest import Model, Pixels, write_parquet
from tests.lake.formats.support import archive
from tests.pipeline.conftest import run_job
from tests.pipeline.test_formats import tfrecord

pytestmark = pytest.mark.slow  # jobs, or models, from end to end

EACH = 5  # records of a format
FORMATS = ("parquet", "webdataset", "array", "folder", "tfrecord")


@pytest.fixture
def lake(tmp_path: Path, digit_files: list[bytes], digits: Pixels, labels: Pixels) -> Path:
    """Digits 0 to 24 in five formats, below one directory; only some formats have labels, of different types."""
    root = tmp_path / "lake"
    (root / "raw").mkdir(parents=True)
    write_parquet(root / "a/table.parquet", digit_files[:5], labels[:5].tolist())
    table = pq.read_table(root / "a/table.parquet")
    narrow = table.set_column(1, "label", table["label"].cast(pa.int32()))
    pq.write_table(narrow.append_column("note", pa.array([f"note {i}" for i in range(5)])), root / "a/table.parquet")
    members = [
        (f"{i}.{end}", data)
        for i in range(5, 10)
        for end, data in (("png", digit_files[i]), ("cls", str(labels[i]).encode()), ("txt", f"caption {i}".encode()))
    ]
    (root / "a/samples.tar").write_bytes(archive(members))
    np.savez(root / "a/numbers.npz", images=digits[10:15], labels=labels[10:15])
    for i in range(15, 20):
        (root / f"raw/{i}.png").write_bytes(digit_files[i])
    tfrecord(root, digit_files[20:25], digits[20:25], labels[20:25])
    return root


def rows(output: Path, table: str) -> list[dict[str, Any]]:
    """All rows of the tables, in the order of the digits."""
    tables = [pq.read_table(path) for path in (output / table).rglob("*.parquet")]
    assert len({table.schema.remove_metadata() for table in tables}) == 1
    place = {"a/table.parquet": 0, "a/samples.tar": 5, "a/numbers.npz": 10, "x.tfrecord": 20}
    found = {
        place.get(row["shard"], 0) + row["index"] if row["shard"] in place else int(Path(row["shard"]).stem): row
        for table in tables
        for row in table.to_pylist()
    }
    assert sorted(found) == list(range(25))
    return [found[at] for at in range(25)]


def test_latents_with_the_columns_of_all_formats(lake: Path, model: Model, digits: Pixels, labels: Pixels) -> None:
    out = lake.parent / "out"
    summary = run_job("encode", lake, model.bundle, out, format="mixed")
    assert (summary["complete"], summary["total"]["units"], summary["total"]["results"]) == (True, 5, 25)
    found = rows(out, "latents")
    wanted = model.encode(digits[:25])
    assert np.allclose([row["latent"] for row in found], wanted, atol=1e-5)
    numbers = labels.tolist()
    assert [row["label"] for row in found] == [*numbers[:5], *[None] * 5, *numbers[10:15], *[None] * 5, *numbers[20:25]]
    assert [row["cls"] for row in found] == [*[None] * 5, *numbers[5:10], *[None] * 15]
    assert [row["txt"] for row in found] == [*[None] * 5, *(f"caption {i}" for i in range(5, 10)), *[None] * 15]
    assert str(pq.read_schema(out / "latents/a/samples.parquet").field("label").type) == "int64"
    verify(str(out), deep=True).raise_for_problems()
    assert run_job("encode", lake, model.bundle, out, format="mixed")["run"]["units"] == 0


def test_every_unit_is_as_in_a_job_of_its_format(lake: Path, model: Model) -> None:
    both = {}
    for format in ("mixed", *FORMATS):
        out = lake.parent / format
        options = {} if format == "array" else {"image_format": "same"}  # arrays keep numbers in any case
        summary = run_job("reconstruct", lake, model.bundle, out, format=format, **options)
        assert summary["complete"]
        verify(str(out), deep=True).raise_for_problems()
        both[format] = {
            path.relative_to(out): path.read_bytes() for path in (out / "images").rglob("*") if path.is_file()
        }
    alone = {name: data for format in FORMATS for name, data in both[format].items()}
    assert sorted(map(str, both["mixed"])) == sorted(
        ["images/a/numbers.npz", "images/a/samples.tar", "images/a/table.parquet", "images/x.tfrecord"]
        + [f"images/raw/{i}.png" for i in range(15, 20)]
    )
    for name in both["mixed"]:
        if name.suffix == ".parquet":  # whose metadata has the fingerprint
            one, other = (pq.read_table(pa.BufferReader(found[name])) for found in (both["mixed"], alone))
            assert one.equals(other)
        else:
            assert both["mixed"][name] == alone[name]


def test_new_shards_of_one_format(lake: Path, model: Model, digits: Pixels) -> None:
    out = lake.parent / "out"
    run_job("reconstruct", lake, model.bundle, out, format="mixed", output_format="parquet")
    tables = [pq.read_table(path) for path in (out / "images").rglob("*.parquet")]
    assert len({table.schema.remove_metadata() for table in tables}) == 1
    assert sum(map(len, tables)) == 25
    found = {(row["shard"], row["index"]): row for table in tables for row in table.to_pylist()}
    row = found["a/samples.tar", 1]
    assert (row["label"], row["txt"]) == (None, "caption 6")
    pixels = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
    assert np.abs(pixels / 255 - model.reconstruct(digits[6:7])[0]).max() < 0.51 / 255 + 1e-5


def test_a_format_that_comes_later(lake: Path, model: Model, labels: Pixels, tmp_path: Path) -> None:
    out, later = tmp_path / "out", tmp_path / "later"
    shutil.move(lake / "x.tfrecord", later)
    shutil.move(lake / "a/samples.tar", tmp_path / "samples.tar")
    run_job("encode", lake, model.bundle, out, format="mixed")
    shutil.move(later, lake / "x.tfrecord")
    shutil.move(tmp_path / "samples.tar", lake / "a/samples.tar")
    summary = run_job("encode", lake, model.bundle, out, format="mixed")
    assert (summary["complete"], summary["run"]["units"], summary["total"]["units"]) == (True, 2, 5)
    found = rows(out, "latents")  # with the columns of the first run
    assert [row["label"] for row in found[20:]] == labels[20:25].tolist()
    assert "cls" not in found[0]
    assert run_job("encode", lake, model.bundle, out, format="mixed")["run"]["units"] == 0


def test_one_format_for_now(lake: Path, model: Model) -> None:
    out = lake.parent / "out"
    run_job("encode", lake / "raw", model.bundle, out, format="mixed")
    shutil.copy(lake / "x.tfrecord", lake / "raw")
    summary = run_job("encode", lake / "raw", model.bundle, out, format="mixed")
    assert (summary["run"]["units"], summary["total"]["results"]) == (1, 10)


def test_damage_of_one_format_costs_its_unit(lake: Path, model: Model) -> None:
    out = lake.parent / "out"
    (lake / "a/samples.tar").write_bytes(b"no tar" * 999)
    summary = run_job("encode", lake, model.bundle, out, format="mixed")
    assert [failed["unit"] for failed in summary["failed"]] == ["a/samples"]
    assert summary["total"]["results"] == 20
    # and what is mended is read by the next run
    shutil.copy(lake / "raw/15.png", lake / "a/1.png")
    with tarfile.open(lake / "a/samples.tar", "w") as tar:
        tar.add(lake / "a/1.png", "1.png")
    (lake / "a/1.png").unlink()
    summary = run_job("encode", lake, model.bundle, out, format="mixed")
    assert (summary["complete"], summary["run"]["units"], summary["total"]["results"]) == (True, 1, 21)


def test_retry_and_repair(lake: Path, model: Model, digits: Pixels, capsys: pytest.CaptureFixture[str]) -> None:
    out = lake.parent / "out"
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(lake / "raw/15.png")
    (lake / "a/samples.tar").write_bytes(archive([("0.png", (lake / "raw/15.png").read_bytes())]))
    lenient = ["--max-reject-fraction", "1"]
    command = ["encode", "--format", "mixed", "--input", str(lake), "--model", model.bundle, "--output", str(out)]
    assert main([*command, *lenient]) == 0
    assert main(["retry", str(out), "--resize", "fit", *lenient]) == 0
    assert json.loads((out / "_SUCCESS").read_text())["total"]["results"] == 21
    (out / "latents/a/numbers.parquet").unlink()
    (out / "latents/x.parquet").write_bytes(b"")
    assert main(["verify", str(out), "--repair"]) == 0
    verify(str(out), deep=True).raise_for_problems()
    capsys.readouterr()
    assert main(["plan", "encode", *command[1:]]) == 0
    shown = capsys.readouterr().out
    assert "9 shards (1 parquet, 1 webdataset, 1 array, 5 folder, 1 tfrecord) below" in shown


def test_shards_of_one_name(lake: Path, model: Model, digit_files: list[bytes]) -> None:
    write_parquet(lake / "a/samples.parquet", digit_files[:1], [0])
    with pytest.raises(
        InputError, match=r"a/samples\.parquet and .*a/samples\.tar would both be written as 'a/samples'"
    ):
        run_job("encode", lake, model.bundle, lake.parent / "out", format="mixed")
    assert not (lake.parent / "out").exists()


def test_names_that_only_some_formats_have(lake: Path, model: Model) -> None:
    out = lake.parent / "out"
    names = {"carry": ("note", "folder"), "key": "note", "image": "image/encoded"}
    run_job("encode", lake, model.bundle, out, format="mixed", **names)
    found = rows(out, "latents")
    assert [row["note"] for row in found] == [*(f"note {i}" for i in range(5)), *[None] * 20]
    assert [row["folder"] for row in found[14:17]] == [None, "raw", "raw"]
    assert found[3]["key"] == "note 3" and found[16]["key"] == "16.png"
    for option in ("carry", "image", "key"):
        with pytest.raises(InputError, match=rf"'?nothing'?.*--{option}"):
            run_job("encode", lake, model.bundle, lake.parent / "o", format="mixed", **{option: "nothing"})


def test_columns_that_no_type_holds(lake: Path, model: Model, digit_files: list[bytes]) -> None:
    table = pq.read_table(lake / "a/table.parquet")
    pq.write_table(table.set_column(1, "label", pa.array(["text"] * 5)), lake / "a/table.parquet")
    with pytest.raises(InputError, match=r"'label' is string in parquet and int64 in array.*--carry"):
        run_job("encode", lake, model.bundle, lake.parent / "out", format="mixed")


def test_a_reference_is_of_one_format(lake: Path, model: Model) -> None:
    with pytest.raises(InputError, match="--reference compares shards of one format"):
        run_job(
            "denoise",
            lake,
            "zoo:denoiser-gray",
            lake.parent / "out",
            format="mixed",
            reference=(str(lake),),
            noise_level="25",
        )


def test_in_a_pipeline_of_ones_own(lake: Path, model: Model) -> None:
    import apache_beam as beam

    with beam.Pipeline() as pipeline:
        pipeline | "e" >> EncodeShards(
            input=str(lake), model=model.bundle, output=str(lake.parent / "e"), format="mixed"
        )
    with beam.Pipeline() as pipeline:
        pipeline | "d" >> DenoiseShards(
            input=str(lake), model="zoo:denoiser-gray", output=str(lake.parent / "d"), format="mixed", noise_level="25"
        )
    assert len(rows(lake.parent / "e", "latents")) == len(rows(lake.parent / "d", "metrics")) == 25
    assert (lake.parent / "d/images/a/samples.tar").exists()
    assert (lake.parent / "d/images/raw/17.png").exists()


def test_descriptions_and_captions_beside_other_formats(lake: Path, model: Model) -> None:
    (lake / "raw/metadata.jsonl").write_text('{"file_name": "15.png", "text": "x"}\n')
    (lake / "raw/16.txt").write_text("caption")
    (lake / "a/samples.txt").write_text("of a tar")
    out = lake.parent / "out"
    summary = run_job("reconstruct", lake, model.bundle, out, format="mixed")
    assert (out / "images/raw/metadata.jsonl").read_text() == (lake / "raw/metadata.jsonl").read_text()
    assert (out / "images/raw/16.txt").read_text() == "caption"
    assert summary["run"]["passed_over"] == {"unknown_format": {"count": 1, "examples": ["a/samples.txt"]}}
    assert run_job("reconstruct", lake, model.bundle, out, format="mixed")["run"]["units"] == 0


def test_expected_records(lake: Path, model: Model) -> None:
    counts = {"table": 5, "samples": 5, "numbers": 5, "x.tfrecord": 5, **{f"{i}.png": 1 for i in range(15, 20)}}
    (lake.parent / "counts.json").write_text(json.dumps(counts))
    options = {"format": "mixed", "expect_records": str(lake.parent / "counts.json")}
    assert run_job("encode", lake, model.bundle, lake.parent / "out", **options)["complete"]
    (lake.parent / "counts.json").write_text(json.dumps({**counts, "15.png": 2}))
    with pytest.raises(InputError, match=r"'raw/15\.png', and an image file is one"):
        run_job("encode", lake, model.bundle, lake.parent / "o", **options)
