import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model.bundle import MODEL, Bundle
from model.cli import main

_ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("command", [[], ["train"], ["export"], ["check"]])
def test_help_imports_nothing_heavy_and_shows_an_example(command):
    code = "import sys; from model.cli import main\ntry: main(sys.argv[1:])\nfinally: print(sorted(sys.modules))"
    run = [sys.executable, "-c", code, *command, "--help"]
    printed = subprocess.run(run, capture_output=True, text=True, check=True, cwd=_ROOT).stdout
    for heavy in ["tensorflow", "keras", "apache_beam", "numpy", "pyarrow", "PIL"]:
        assert f"'{heavy}'" not in printed
    assert not command or f"example:\n  python -m model {command[0]} " in printed


def test_train_check_and_export(digits, tmp_path, capsys):
    np.save(tmp_path / "digits.npy", digits[:300, ..., None])
    bundle = str(tmp_path / "bundle")
    given = ["--input", str(tmp_path / "digits.npy"), "--output", bundle, "--latent-dim", "8", "--epochs", "2"]
    assert main(["train", *given]) == 0
    printed = capsys.readouterr()
    assert [line.split()[:2] for line in printed.err.splitlines()[1:]] == [["epoch", "1"], ["epoch", "2"]]
    assert f"next: python -m pipeline encode --input '{tmp_path}/digits.npy' --model {bundle} --output" in printed.out

    assert main(["check", bundle, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["digest"] == Bundle.open(bundle).digest
    assert report["golden_differences"] == {"latent": 0.0, "output": 0.0}
    assert all(rate > 0 for rate in report["records_per_second"].values())

    other = str(tmp_path / "other")
    assert (
        main(["export", f"{bundle}/{MODEL}", "--latent", "encoded", "--output", other, "--value-range", "-1", "1"]) == 0
    )
    assert f"next: python -m model check {other}" in capsys.readouterr().out
    assert Bundle.open(other).spec.input.value_range == (-1.0, 1.0)

    assert main(["check", other]) == 0
    printed = capsys.readouterr().out
    assert "8 numbers from layer 'encoded'" in printed
    assert "8 x 8 x 1 gray, value range -1 to 1" in printed


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["train", "--inptu", "x"], "unknown option --inptu; did you mean --input? (see python -m model train --help)"),
        (["export", "f", "--latnt=x"], "unknown option --latnt; did you mean --latent?"),
        (["train", "--input", "x"], "the following arguments are required: --output"),
        (["train", "--input", "x", "--output", "y", "--epochs", "0"], "argument --epochs: invalid positive value: '0'"),
        (["train", "--input", "x", "--output", "y", "--kind", "magic"], "invalid choice: 'magic'"),
        (["train", "--input", "x", "--output", "y", "--learning-rate", "nan"], "invalid rate value: 'nan'"),
        (["train", "--input", "x", "--output", "y", "--seed", "-1"], "invalid natural value: '-1'"),
        (["check"], "the following arguments are required: BUNDLE"),
        (["check", "a", "b"], "unrecognized arguments: b"),
        (["check", "/nowhere/bundle"], "/nowhere/bundle/model.json: not there; name a directory made by"),
        (["magic"], "invalid choice: 'magic'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(arguments, error, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert error in printed.err
    assert printed.err.count("\n") == 1


def test_verbose_shows_the_trace(capsys):
    assert main(["check", "/nowhere", "--verbose"]) == 2
    assert "Traceback" in capsys.readouterr().err
