"""The commands that look at outputs."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cli.command import main
from pipeline.report.page import document
from tests.pipeline.explore.values import clustered, make_output


@pytest.fixture
def planted(tmp_path: Path) -> str:
    """Two records are the same, and one is far from all others."""
    values = clustered(400, 6)
    values[[3, 8]] = values[[70, 8]]
    values[200] += 50
    return make_output(tmp_path / "o", values, keys=[f"a/\x1b[2J{row}" for row in range(400)])


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = main(words)
    return status, capsys.readouterr().out


def test_similar(planted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("similar", planted, "--key", "a/\x1b[2J3", "--k", "2", "--output-table", str(tmp_path / "t.parquet"))
    status, text = answer(capsys, *words)
    assert status == 0
    assert "\x1b" not in text
    assert text.splitlines()[1].endswith("  1  0  a/\\x1b[2J70  (u0.tar[70])")
    status, text = answer(capsys, *words, "--json")
    assert json.loads(text)["neighbours"] == pq.read_table(tmp_path / "t.parquet").to_pylist()


def test_outliers(planted: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = answer(capsys, "outliers", planted, "--top", "3")
    assert status == 0
    assert "(u0.tar[200])" in text.splitlines()[1]
    assert len(text.splitlines()) == 4


def test_duplicates(planted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path for path in Path(planted).rglob("*.parquet"))
    status, text = answer(capsys, "duplicates", planted, "--write-list", str(tmp_path / "drop"), "--threshold", "0.001")
    assert status == 0
    assert text.splitlines()[0] == "1 of 400 records are duplicates; groups: 1 (by latent within 0.001)"
    assert [json.loads(line)["index"] for line in (tmp_path / "drop").read_text().splitlines()] == [70]
    status, text = answer(capsys, "duplicates", planted, planted, "--threshold", "0.001", "--json")
    assert json.loads(text)["dropped"] == 400
    assert sorted(path for path in Path(planted).rglob("*.parquet")) == before


def test_many_lines_are_cut(planted: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, text = answer(capsys, "outliers", planted, "--top", "100")
    assert len(text.splitlines()) == 42
    assert text.splitlines()[-1] == "  and 60 more; --json or --output-table FILE has all"


def test_a_record_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = make_output(tmp_path / "o", clustered(1, 4))
    for words in (("similar", "--key", "k0"), ("outliers",)):
        told = f"{output} has 1 record: there is nothing to compare\n"
        assert answer(capsys, words[0], output, *words[1:]) == (0, told)


def test_compare_has_its_own_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = clustered(4000, 6)
    sides = [make_output(tmp_path / name, part) for name, part in (("a", values[:2000]), ("b", values[2000:]))]
    assert answer(capsys, "compare", *sides)[0] == 0
    other = make_output(tmp_path / "c", values[2000:] + np.float32(1))
    status, text = answer(capsys, "compare", sides[0], other)
    assert status == 5
    assert text.startswith("drift: a classifier tells ")
    assert "drift from 0.5365 on, of so few records" in text
    assert len(text.splitlines()) == 7
    _, text = answer(capsys, "compare", sides[0], sides[0])
    assert text.splitlines()[1:] == ["  6 dimensions differ less or not at all; --json or --output-table FILE has all"]
    assert text.startswith("no drift above AUC 0.5365: ")
    assert "0.5 is chance, and of 2,000 and 2,000 records all below 0.5365 may be; standard error 0.0091" in text
    status, text = answer(capsys, "compare", sides[0], other, "--json")
    value = json.loads(text)
    assert (value["threshold"], value["least_auc"]) == (0.52, pytest.approx(0.5365, abs=1e-4))
    assert (status, value["drifted"], len(value["dimensions"])) == (5, True, 6)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("similar",), "give one of --key, --image and --table"),
        (("similar", "--key", "x"), "no record has the key 'x'; keys are such as "),
        (("similar", "--key", "x", "--runner=Direct"), "unknown option --runner"),
        (("outliers", "--by", "error"), "has no errors"),
        (("duplicates", "--max-auc", "0.6"), "--max-auc is no option of duplicates, but of compare"),
        (("duplicates", "--phash-bits", "7"), "phash_bits: 7 is not from 0 to 6"),
    ],
)
def test_wrong_use(planted: str, words: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([words[0], planted, *words[1:]]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert text in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "words", [("report", ""), ("verify", ""), ("compare", "o", ""), ("check", ""), ("export", "", "--output", "b")]
)
def test_an_empty_place_is_said_to_be_one(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As an unset variable of a shell gives it."""
    assert main(words) == 2
    assert "invalid word value: ''; give some text" in capsys.readouterr().err


def test_hashes_are_compared_where_there_are_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digests = pa.array([bytes([row % 30] * 32) for row in range(40)], pa.binary(32))
    output = make_output(tmp_path / "o", clustered(40, 4), more={"sha256": digests})
    _, text = answer(capsys, "duplicates", output, "--threshold", "1e-9")
    assert text.splitlines()[0] == "10 of 40 records are duplicates; groups: 10 (by sha256, latent within 1e-09)"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("similar", "{o}", "--key", "a/\x1b[2J3", "--k", "2"), "What is most like a/\\x1b[2J3, of 400 records"),
        (("outliers", "{o}", "--top", "3"), "The 3 of 400 records with the farthest neighbours"),
        (("duplicates", "{o}", "--threshold", "0.001"), "1 of 400 records are there more than once"),
        (("duplicates", "{o}", "{o}", "--threshold", "0.001"), "400 of 400 records are in {o}, too"),
        (("compare", "{o}", "{o}"), "No drift above AUC 0.582 against {o}"),
    ],
)
def test_each_answer_has_a_gallery(
    planted: str, words: tuple[str, ...], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gallery.html"
    assert answer(capsys, *(word.replace("{o}", planted) for word in words), "--gallery", str(file))[0] == 0
    html = file.read_text()
    assert f"<h1>{sentence.replace('{o}', planted)}</h1>" in html
    assert "\x1b" not in html


def test_what_a_gallery_needs_is_asked_for_first(
    planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    document._environment.cache_clear()
    assert main(["similar", planted, "--key", "a/\x1b[2J3", "--gallery", str(tmp_path / "g.html")]) == 2
    assert "pip install 'latentlake[report]'" in capsys.readouterr().err
    assert not (Path(planted) / "_cache").exists()
