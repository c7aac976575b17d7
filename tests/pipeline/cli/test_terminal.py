"""What reaches a terminal of names and texts that somebody else has chosen."""

import io
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from lake.cli.lines import LineFormatter, print_error
from pipeline.cli.command import main
from pipeline.cli.summary import describe
from pipeline.output.verify.report import Problem, VerifyReport
from tests.conftest import Model, png

ESCAPES = "a\x1b7\nerror: forged\u202e"


def whole(said: str) -> bool:
    """Whether each line is printable, and none was forged."""
    lines = said.splitlines()
    return all(line.isprintable() for line in lines) and not any(line.startswith("error: forged") for line in lines)


def photos(root: Path, digits: Any) -> Path:
    """Images in a directory whose name is hostile."""
    (root / ESCAPES).mkdir(parents=True)
    for number in range(3):
        (root / ESCAPES / f"{number}{ESCAPES}.png").write_bytes(png(digits[number]))
    return root


def test_a_plan(tmp_path: Path, digits: Any, model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    source = photos(tmp_path / "in", digits)
    arguments = ["plan", "encode", "--model", model.bundle, "--output", str(tmp_path / "out"), "--input"]
    for named in (source, source / ESCAPES):
        assert main([*arguments, str(named)]) == 0
        said = capsys.readouterr().out
        assert whole(said)
        assert said.count("\n") == 11


@pytest.mark.parametrize("verbose", [[], ["--verbose"]])
def test_an_error(tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str], verbose: list[str]) -> None:
    for name in (ESCAPES, "x" * 1_000_000):
        arguments = ["encode", "--model", model.bundle, "--output", str(tmp_path / "out"), "--input", name, *verbose]
        assert main(arguments) in (1, 2)
        said = capsys.readouterr().err
        assert whole(said)
        assert len(said.splitlines()[-1]) < 2100


SECRET = "s3://KEY:SEC/RET@bucket/x"


@pytest.mark.parametrize("option", ["--input", "--model", "--output", "--reference", "stray", "--beam"])
def test_a_key_is_said_nowhere(
    tmp_path: Path, model: Model, digits: Any, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    source = photos(tmp_path / "in", digits)
    values = {"--input": str(source), "--model": "zoo:denoiser-gray", "--output": str(tmp_path / "out")}
    values |= {} if option in ("stray", "--beam") else {option: SECRET}
    words = [word for pair in values.items() for word in pair]
    words += {"stray": [SECRET], "--beam": [f"--runnner={SECRET}"]}.get(option, [])
    for verb in (["denoise"], ["plan", "denoise"]):
        assert main([*verb, *words, "--noise-level", "5", "--verbose"]) == 2
        said = capsys.readouterr()
        assert not any(part in said.out + said.err for part in ("KEY", "SEC/RET")), said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [["verify"], ["retry"]])
def test_a_key_of_an_output_is_said_nowhere(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert main([*command, SECRET]) == 2
    said = capsys.readouterr()
    assert not any(part in said.out + said.err for part in ("KEY", "SEC/RET"))


def test_a_summary() -> None:
    counts = {"units": 1, "read": 2, "results": 1, "rejects": 1, "reasons": {ESCAPES: 1}, "output_bytes": 1}
    example = {"shard": ESCAPES, "index": 0, "key": ESCAPES, "detail": ESCAPES * 1000}
    ran = {"kept_units": 0, "failed_units": 1, "passed_over": {}, "store_retries": 0, "first_result": None}
    summary: dict[str, Any] = {
        "output": f"/data/{ESCAPES}",
        "verb": "encode",
        "complete": False,
        "run": {**counts, **ran, "seconds": 1.0},
        "total": counts,
        "options": {},
        "failed": [{"unit": "a", "error": ESCAPES * 10_000}],
        "examples": {ESCAPES: [example]},
    }
    said = describe(summary)
    assert whole(said)
    assert len(said) < 5000
    assert describe({**summary, "verb": "of another version"}).count("duckdb") == 0
    submitted = {"run": "r", "units": 1, "runner": ESCAPES, "job": ESCAPES}
    assert whole(describe({"output": ESCAPES, "submitted": submitted}))


def test_a_report() -> None:
    problems = tuple(Problem(name=ESCAPES, unit=ESCAPES, problem=text) for text in (ESCAPES, ESCAPES * 10_000))
    report = VerifyReport(
        output=ESCAPES,
        deep=True,
        units=1,
        files=1,
        read=1,
        results=1,
        rejects=0,
        damaged=problems,
        extra=(ESCAPES,),
        lost=problems,
        notes=(ESCAPES,),
    )
    assert whole(report.describe())
    assert len(report.describe()) < 5000
    json.dumps(report.to_value())


def test_logs() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter())
    try:
        raise OSError(ESCAPES)
    except OSError:
        record = logging.LogRecord("lake", logging.WARNING, "", 0, "%s failed", (ESCAPES,), sys.exc_info())
    handler.emit(record)
    assert stream.getvalue().startswith("a\\x1b7\\nerror: forged\\u202e failed\nTraceback")
    assert stream.getvalue().isascii()


def test_an_error_of_the_system(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(OSError(5, ESCAPES, os.fspath(ESCAPES)), trace=True)
    assert capsys.readouterr().err.isascii()
