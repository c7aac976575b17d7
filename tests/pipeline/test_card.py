"""Outputs with a card, read by ``datasets`` from their root."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import OutputError
from pipeline.beam.launch import launch
from pipeline.job.repair import retry_options
from pipeline.options.job_options import JobOptions
from tests.conftest import Model, long_forms, write_parquet
from tests.pipeline.conftest import run_job

pytestmark = pytest.mark.filterwarnings("ignore")  # of datasets, while it is imported


def load(output: Path, config: str | None = None) -> Any:
    from datasets import load_dataset

    return load_dataset(str(output), config, split="train", cache_dir=str(output.parent / f"cache {output.name}"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, digit_files: list[bytes]) -> Path:
    """Two shards; one record of each is no image."""
    root = tmp_path_factory.mktemp("source") / "in"
    for name, start in (("train-0", 0), ("dt=2026-11-29/train-1", 50)):
        write_parquet(root / f"{name}.parquet", [*digit_files[start : start + 50], b"none"], [*range(51)])
    return root


def test_datasets_reads_the_root(source: Path, model: Model, tmp_path: Path) -> None:
    run_job("encode", source, model.bundle, tmp_path / "out", card=True, gate={"max_reject_fraction": 1.0})
    (tmp_path / "out/latents/_index.parquet").write_bytes(b"another tool's")
    loaded, table = load(tmp_path / "out"), pq.read_table(tmp_path / "out/latents")
    columns = ("shard", "index", "latent")
    truth = sorted(zip(*(table[name].to_pylist() for name in columns), strict=True))
    assert sorted(zip(*(loaded[name] for name in columns), strict=True)) == truth
    assert loaded.features["latent"].length == 16
    rejects = load(tmp_path / "out", "rejects")
    assert rejects["reason"] == ["unknown_format"] * 2
    assert rejects["data"] == [b"none"] * 2


def test_datasets_reads_units_without_results(source: Path, model: Model, tmp_path: Path) -> None:
    """Also one whose records are all rejected, and one that has none."""
    shutil.copytree(source, tmp_path / "in")
    write_parquet(tmp_path / "in/all-bad.parquet", [b"none"] * 3, [*range(3)])
    write_parquet(tmp_path / "in/empty.parquet", [], [])
    run_job("encode", tmp_path / "in", model.bundle, tmp_path / "out", card=True, gate={"max_reject_fraction": 1.0})
    assert len(load(tmp_path / "out")) == 100


def test_without_a_card_datasets_takes_rejects_for_latents(source: Path, model: Model, tmp_path: Path) -> None:
    from datasets.exceptions import DatasetGenerationError

    run_job("encode", source, model.bundle, tmp_path / "out", gate={"max_reject_fraction": 1.0})
    with pytest.raises(DatasetGenerationError):
        load(tmp_path / "out")


@pytest.mark.parametrize("format", ["webdataset", "folder", *long_forms("parquet")])
def test_datasets_reads_images(source: Path, model: Model, tmp_path: Path, format: str) -> None:
    settings: dict[str, Any] = {"output_format": format, "gate": {"max_reject_fraction": 1.0}, "card": True}
    run_job("reconstruct", source, model.bundle, tmp_path / "made", **settings)
    run_job("decode", tmp_path / "made/latents", model.bundle, tmp_path / "out", **settings)
    loaded = load(tmp_path / "out")
    image = next(name for name in loaded.column_names if name in ("png", "image"))
    assert loaded.num_rows == 100
    assert np.asarray(loaded[0][image]).shape == (8, 8)


def test_the_next_night_keeps_it_current(source: Path, model: Model, tmp_path: Path, digit_files: list[bytes]) -> None:
    output, more = tmp_path / "out", tmp_path / "more"
    write_parquet(more / "a.parquet", digit_files[:30], [*range(30)])
    run_job("encode", more, model.bundle, output)
    assert not (output / "README.md").exists()
    # The output is complete, and gets a card all the same; no unit is run.
    assert run_job("encode", more, model.bundle, output, card=True)["run"]["units"] == 0
    page = (output / "README.md").read_text()
    assert "30 records read" in page
    (output / "README.md").write_text(page.replace("---\n", "---\nlicense: mit\n", 1))
    write_parquet(more / "b.parquet", digit_files[30:50], [*range(20)])
    run_job("encode", more, model.bundle, output)  # without --card
    page = (output / "README.md").read_text()
    assert "50 records read" in page
    assert "\nlicense: mit\n" in page
    assert load(output).num_rows == 50
    # Equal states have equal cards, however they came about.
    run_job("encode", more, model.bundle, tmp_path / "other/out", card=True)
    assert (tmp_path / "other/out/README.md").read_text() == page.replace("license: mit\n", "")


def test_croissant_is_kept_current(source: Path, model: Model, tmp_path: Path) -> None:
    """The names of its files and columns lead to the rows, also after a later run that does not ask for it."""
    output, lenient = tmp_path / "out", {"gate": {"max_reject_fraction": 1.0}}
    run_job("encode", source / "train-0.parquet", model.bundle, output, croissant=True, **lenient)
    first = json.loads((output / "croissant.json").read_text())
    (output / "croissant.json").write_text(json.dumps({**first, "license": "mit"}))
    run_job("encode", source, model.bundle, output, **lenient)
    found = json.loads((output / "croissant.json").read_text())
    assert found["license"] == "mit"
    files = {files["@id"]: files["includes"] for files in found["distribution"]}
    for records in found["recordSet"]:
        (paths,) = (
            {file for pattern in files[field["source"]["fileSet"]["@id"]] for file in output.glob(pattern)}
            for field in records["field"][:1]
        )
        table = pa.concat_tables([pq.read_table(path, partitioning=None) for path in sorted(paths)])
        assert f"{table.num_rows:,} rows" == records["description"]
        assert {field["source"]["extract"]["column"] for field in records["field"]} <= set(table.column_names)
    assert [records["@id"] for records in found["recordSet"]] == ["latents", "rejects"]


def test_a_page_of_the_user_is_never_replaced(source: Path, model: Model, tmp_path: Path) -> None:
    output, lenient = tmp_path / "out", {"gate": {"max_reject_fraction": 1.0}}
    run_job("encode", source, model.bundle, output, **lenient)
    (output / "README.md").write_text("# Mine\n")
    with pytest.raises(OutputError, match="move it away, or leave out --card"):
        run_job("encode", source, model.bundle, output, card=True, **lenient)
    assert (output / "_SUCCESS").exists()
    (output / "README.md").unlink()
    run_job("encode", source, model.bundle, output, card=True, **lenient)
    (output / "README.md").write_text("# Mine now\n")
    launch(retry_options(str(output), {"max_reject_fraction": 1.0}), [])
    run_job("encode", source, model.bundle, output, card=True, overwrite=True, hash=True, **lenient)
    assert (output / "README.md").read_text() == "# Mine now\n"


def test_an_output_without_success_says_so(source: Path, model: Model, tmp_path: Path) -> None:
    summary = run_job("encode", source, model.bundle, tmp_path / "out", card=True)
    assert not summary["complete"]
    assert "**Not complete**: 1.96% of the records were rejected" in (tmp_path / "out/README.md").read_text()
    launch(retry_options(str(tmp_path / "out"), {"max_reject_fraction": 0.5}), [])
    assert "Not complete" not in (tmp_path / "out/README.md").read_text()


def test_the_option_is_kept() -> None:
    from pipeline.options.kept_options import options_from_json, options_to_json

    plain = JobOptions(verb="encode", model="/m", output="o", input=["/in"])
    assert not {"card", "croissant"} & options_to_json(plain).keys()
    kept = options_to_json(replace(plain, card=True, croissant=True))
    assert options_from_json(kept, "o", "/m").card
    assert options_from_json(kept, "o", "/m").croissant
