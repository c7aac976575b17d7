"""``--reuse``: a record whose bytes were there before keeps its latent, and the output is that of a run without it."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from lake.core.errors import OutputError, UsageError
from pipeline.beam.launch import launch
from pipeline.cli.plan_text import describe_plan, plan_value
from pipeline.cli.summary import describe, headline
from pipeline.job.prepare import prepare
from pipeline.job.repair import retry_options
from pipeline.options.job_options import JobOptions, make_options
from pipeline.options.kept_options import options_to_json
from pipeline.output.verify import verify
from tests.conftest import Model, make_model, write_parquet
from tests.faults.outputs import files, rows
from tests.pipeline.conftest import run_job

LOOSE = {"max_reject_fraction": 1.0}
BAD = b"no image"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, digit_files: list[bytes]) -> Path:
    """A lake before and after it was cut anew: ``a`` and ``b`` are shards of both, with other records; 4 are new."""
    root = tmp_path_factory.mktemp("lake")
    before = [*digit_files[:300], BAD]
    after = [*digit_files[150:300], BAD, *digit_files[:150], digit_files[0], *digit_files[300:304]]
    for folder, records, edges in (("before", before, (0, 100, 301)), ("after", after, (0, 180, 200, 306))):
        for name, start, stop in zip("abc", edges, edges[1:], strict=False):
            write_parquet(root / folder / f"{name}.parquet", records[start:stop], range(start, stop))
    return root


@pytest.fixture(scope="module")
def first(lake: Path, model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of the lake as it was before."""
    output = tmp_path_factory.mktemp("first") / "out"
    encode(lake / "before", model, output, hash=True)
    return output


def encode(source: Path, model: Model, output: Path, **options: Any) -> dict[str, Any]:
    return run_job("encode", source, model.bundle, output, gate=LOOSE, **options)


def options_of(source: Path, model: Model, output: Path, **options: Any) -> JobOptions:
    return JobOptions(verb="encode", input=str(source), model=model.bundle, output=str(output), **options)


def kept(output: Path) -> list[Path]:
    """What a run keeps for reuse while it lasts."""
    return [path for path in (output / "_reuse").rglob("*") if path.is_file()]


@pytest.mark.parametrize("form", [{}, {"latent_type": "float16", "flip": True, "normalize": "l2"}])
def test_a_lake_that_was_cut_anew(lake: Path, model: Model, tmp_path: Path, form: dict[str, Any]) -> None:
    encode(lake / "before", model, tmp_path / "out", hash=True, **form)
    encode(lake / "after", model, tmp_path / "fresh", hash=True, **form)
    summary = encode(lake / "after", model, tmp_path / "out", reuse="content", **form)
    run = summary["run"]
    assert (run["read"], run["results"], run["rejects"], run["reused"]) == (306, 305, 1, 301)
    assert files(tmp_path / "out") == files(tmp_path / "fresh")
    assert kept(tmp_path / "out") == []
    assert "301 reused" in headline(summary)
    assert "reused, since their bytes were there before (--reuse): 301 latents" in describe(summary)


def test_shards_that_were_renamed(lake: Path, model: Model, first: Path, tmp_path: Path) -> None:
    """Nothing is computed, what vanished stays until it is pruned, and the plan says what there is."""
    shutil.copytree(first, tmp_path / "out")
    shutil.copytree(lake / "before", tmp_path / "in/renamed")
    value = plan_value(options_of(tmp_path / "in", model, tmp_path / "out", reuse="content"))
    assert value["reuse"] == {"tables": 2, "records": 300}
    assert "reuse: what has the bytes of one of 300 records of 2 tables keeps its latent" in describe_plan(value)
    summary = encode(tmp_path / "in", model, tmp_path / "out", reuse="content", scope={"prune": True})
    assert (summary["run"]["results"], summary["run"]["reused"], summary["total"]["units"]) == (300, 300, 2)
    wanted = [{**row, "shard": f"renamed/{row['shard']}"} for row in rows(first)]
    assert rows(tmp_path / "out") == wanted
    assert verify(str(tmp_path / "out"), deep=True).problems == ()


def test_latents_of_another_output(model: Model, first: Path, digit_files: list[bytes], tmp_path: Path) -> None:
    """Its records were of another format, with columns that this one does not have."""
    (tmp_path / "in").mkdir()
    for number, data in enumerate([digit_files[5], digit_files[400], BAD, digit_files[9]]):
        (tmp_path / f"in/{number}.png").write_bytes(data)
    summary = encode(tmp_path / "in", model, tmp_path / "out", reuse=str(first))
    assert (summary["run"]["results"], summary["run"]["reused"]) == (3, 2)
    encode(tmp_path / "in", model, tmp_path / "fresh", hash=True)
    assert files(tmp_path / "out") == files(tmp_path / "fresh")
    assert files(first), "the other output is only read"


def test_what_was_rejected_or_tried_again_is_not_reused(lake: Path, model: Model, tmp_path: Path) -> None:
    """A retry decodes by other policies, and its table does not say which rows are of it."""
    shutil.copytree(lake / "before", tmp_path / "in")
    encode(tmp_path / "in", model, tmp_path / "out", hash=True)
    launch(retry_options(str(tmp_path / "out"), {"resize": "crop", "max_reject_fraction": 1.0}), [])
    (tmp_path / "in/a.parquet").rename(tmp_path / "in/c.parquet")
    (tmp_path / "in/b.parquet").rename(tmp_path / "in/d.parquet")
    job = prepare(options_of(tmp_path / "in", model, tmp_path / "out", reuse="content"))
    assert [table.unit for table in job.reusable] == ["a"], "of b a reject was tried again"


def test_a_table_that_another_run_replaced(lake: Path, model: Model, first: Path, tmp_path: Path) -> None:
    """Its latents are of another model by now, and are not taken."""
    other = make_model(tmp_path / "model", 8)
    shutil.copytree(first, tmp_path / "other")
    encode(lake / "before", other, tmp_path / "replaced", hash=True)
    shutil.copy(tmp_path / "replaced/latents/a.parquet", tmp_path / "other/latents/a.parquet")
    (tmp_path / "other/latents/b.parquet").unlink()
    summary = encode(lake / "after", model, tmp_path / "out", reuse=str(tmp_path / "other"))
    assert "reused" not in summary["run"]
    encode(lake / "after", model, tmp_path / "fresh", hash=True)
    assert files(tmp_path / "out") == files(tmp_path / "fresh")


def test_nothing_is_reused_of_other_options(lake: Path, model: Model, first: Path, tmp_path: Path) -> None:
    asked = options_of(lake / "after", model, tmp_path / "out", reuse=str(first), latent_type="float16")
    with pytest.raises(OutputError, match=r"--reuse .*other options \(latents.storage None -> .*float16"):
        prepare(asked)
    shutil.copytree(first, tmp_path / "own")
    again = options_of(lake / "after", model, tmp_path / "own", reuse="content", normalize="l2", overwrite=True)
    assert prepare(again).reusable == ()
    carry = options_of(lake / "after", model, tmp_path / "own", reuse="content", carry=(), overwrite=True)
    assert len(prepare(carry).reusable) == 2, "carried columns are no part of a latent"
    with pytest.raises(OutputError, match="not an output of latentlake"):
        prepare(options_of(lake / "after", model, tmp_path / "new", reuse=str(tmp_path / "none")))


def test_what_cannot_be_reused_is_refused_by_name(lake: Path, model: Model, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--reuse content: latents are looked up in tables"):
        prepare(options_of(lake / "after", model, tmp_path / "out", reuse="content", latent_format="webdataset"))
    scored = JobOptions(
        verb="reconstruct", input=str(lake / "after"), model=model.bundle, output=str(tmp_path / "out"), reuse="content"
    )
    with pytest.raises(UsageError, match="--reuse content: reconstruct makes more than latents"):
        prepare(scored)
    with pytest.raises(UsageError, match="reuse is no option of reconstruct"):
        make_options("reconstruct", {"input": "in", "model": "m", "output": "o", "reuse": "content"})


def test_an_output_keeps_the_hashes_and_not_the_reuse(lake: Path, model: Model, tmp_path: Path) -> None:
    value = options_to_json(options_of(lake / "after", model, tmp_path / "out", reuse="content"))
    assert value["hash"] is True
    assert "reuse" not in value
