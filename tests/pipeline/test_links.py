"""Links in the input of a whole job: what is not there fails by name; what is elsewhere is read when asked for."""

import json
from pathlib import Path

import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from pipeline.cli.command import main
from pipeline.config import Gate
from pipeline.job.repair import retry_options
from pipeline.output.verify import verify
from tests.conftest import Model, write_parquet
from tests.pipeline.conftest import run_job


def test_a_shard_that_is_not_fetched_fails_by_name_and_is_done_once_it_is(
    tmp_path: Path, model: Model, digit_files: list[bytes]
) -> None:
    write_parquet(tmp_path / "in/a.parquet", digit_files[:20], range(20))
    (tmp_path / "in/0.parquet").symlink_to(".annex/1.parquet")
    out = tmp_path / "out"
    summary = run_job("encode", tmp_path / "in", model.bundle, out)
    assert (summary["complete"], summary["total"]["results"]) == (False, 20)
    (failed,) = summary["failed"]
    assert failed["unit"] == "0"
    assert failed["error"].startswith(
        "0.parquet: a link to .annex/1.parquet, which does not exist; fetch it (git annex"
    )
    assert summary["run"]["passed_over"] == {"link_missing": {"count": 1, "examples": ["0.parquet"]}}
    write_parquet(tmp_path / "in/.annex/1.parquet", digit_files[20:30], range(10))
    summary = run_job("encode", tmp_path / "in", model.bundle, out)
    assert (summary["complete"], summary["run"]["units"], summary["total"]["results"]) == (True, 1, 30)
    assert run_job("encode", tmp_path / "in", model.bundle, out)["run"]["units"] == 0


def test_an_image_that_is_not_fetched_is_a_reject_by_name(
    tmp_path: Path, model: Model, digit_files: list[bytes]
) -> None:
    (tmp_path / "in").mkdir()
    for name, data in (("_a.png", digit_files[0]), ("b.png", digit_files[1])):
        (tmp_path / "in" / name).write_bytes(data)
    (tmp_path / "in/c.png").symlink_to("../annex/c")
    summary = run_job("encode", tmp_path / "in", model.bundle, tmp_path / "out")
    assert (summary["complete"], summary["total"]["results"]) == (False, 2)
    (reject,) = pq.read_table(tmp_path / "out/rejects/part-00000000.parquet").to_pylist()
    assert (reject["shard"], reject["reason"]) == ("c.png", "missing_image")
    assert reject["detail"].startswith("a link to ../annex/c, which does not exist")
    assert sorted(pq.read_table(tmp_path / "out/latents").column("key").to_pylist()) == ["_a.png", "b.png"]


def test_links_out_of_the_input(
    tmp_path: Path, model: Model, digit_files: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    write_parquet(tmp_path / "in/a.parquet", digit_files[:20], range(20))
    write_parquet(tmp_path / "lake/b.parquet", digit_files[20:30], range(10))
    (tmp_path / "in/b.parquet").symlink_to("../lake/b.parquet")
    (tmp_path / "in/.cache").mkdir()
    words = ["encode", "--input", f"{tmp_path}/in", "--model", model.bundle, "--output", f"{tmp_path}/out"]
    assert main(["plan", *words]) == 0
    told = capsys.readouterr().out.splitlines()
    assert "  passed over, since their names begin with '.' or '_': 1, .cache/" in told
    assert (
        "  passed over, since they are links that lead out of the input (--follow-links reads them): 1, b.parquet"
        in told
    )
    assert main(words) == 0
    assert "(--follow-links reads them): 1, b.parquet" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0, "nothing to do, and still told"
    passed_over = json.loads(capsys.readouterr().out)["run"]["passed_over"]
    assert passed_over["link_outside"] == {"count": 1, "examples": ["b.parquet"]}
    assert main([*words, "--follow-links"]) == 0
    assert "1 kept: 10 results" in capsys.readouterr().out
    assert retry_options(f"{tmp_path}/out", {}).follow_links


def test_a_followed_link_to_the_output_is_refused(
    tmp_path: Path, model: Model, digit_files: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    write_parquet(tmp_path / "in/a.parquet", digit_files[:20], range(20))
    (tmp_path / "out").mkdir()
    (tmp_path / "in/earlier").symlink_to("../out")
    words = ["encode", "--input", f"{tmp_path}/in", "--model", model.bundle, "--output", f"{tmp_path}/out"]
    assert main([*words, "--follow-links"]) == 2
    assert f"lies inside the linked directory {tmp_path}/out" in capsys.readouterr().err


def test_the_table_of_a_shard_with_an_underscore_is_seen_by_readers(
    tmp_path: Path, model: Model, digit_files: list[bytes]
) -> None:
    for name, rows in (("a", 20), ("_b", 10)):
        write_parquet(tmp_path / f"in/{name}.parquet", [*digit_files[:rows], b"no image"], range(rows + 1))
    summary = run_job("encode", tmp_path / "in", model.bundle, tmp_path / "out", gate=Gate(max_reject_fraction=1))
    assert (summary["complete"], summary["total"]["results"]) == (True, 30)
    for table, rows in (("latents", 30), ("rejects", 2)):
        assert pyarrow.dataset.dataset(tmp_path / "out" / table).count_rows() == rows
    verify(str(tmp_path / "out"), deep=True).raise_for_problems()
