import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lake.cli.option import number_or_word
from lake.core.tensorflow import keras
from model import check
from model.bundle import MODEL_FILE, Bundle
from model.cli.export_options import EXPORT
from model.cli.main import main
from model.cli.train_options import TRAIN
from tests.model import nets

_ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _short_measurements(monkeypatch):
    """What ``check`` measures takes a second each time, which says nothing more here."""
    monkeypatch.setattr(check, "_SECONDS", 0.05)


@pytest.mark.parametrize("command", [[], ["train"], ["export"], ["check"]])
def test_help_imports_nothing_heavy_and_shows_an_example(command):
    code = "import sys; from model.cli.main import main\ntry: main(sys.argv[1:])\nfinally: print(sorted(sys.modules))"
    run = [sys.executable, "-c", code, *command, "--help"]
    printed = subprocess.run(run, capture_output=True, text=True, check=True, cwd=_ROOT).stdout
    for heavy in ["tensorflow", "keras", "apache_beam", "PIL"]:
        assert f"'{heavy}'" not in printed
    assert not command or f"example:\n  latentlake {command[0]} " in printed


@pytest.mark.slow
def test_train_check_and_export(digits, tmp_path, capsys):
    np.save(tmp_path / "digits.npy", digits[:300, ..., None])
    bundle = str(tmp_path / "bundle")
    given = ["--input", str(tmp_path / "digits.npy"), "--output", bundle, "--latent-dim", "8", "--epochs", "2"]
    assert main(["train", *given]) == 0
    printed = capsys.readouterr()
    assert [line.split()[:2] for line in printed.err.splitlines()[1:]] == [["epoch", "1"], ["epoch", "2"]]
    assert f"next: latentlake encode --input '{tmp_path}/digits.npy' --model {bundle} --output" in printed.out

    assert main(["check", bundle, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["digest"] == Bundle.open(bundle).digest
    assert report["executors"]["tensorflow"]["golden_differences"] == {"latent": 0.0, "output": 0.0}
    assert report["executor"] == "onnx"
    assert max(report["golden_differences"].values()) < 1e-5
    assert all(rate > 0 for rate in report["records_per_second"].values())

    other = str(tmp_path / "other")
    path = f"{bundle}/{MODEL_FILE}"
    given = ["--latent", "encoded", "--output", other, "--value-range", "-1", "1", "--any-output"]
    assert main(["export", path, *given]) == 0
    assert f"next: latentlake check {other}" in capsys.readouterr().out
    assert Bundle.open(other).spec.input.value_range == (-1.0, 1.0)

    assert main(["check", other]) == 0
    printed = capsys.readouterr().out
    assert "8 numbers from layer 'encoded'" in printed
    assert "8 x 8 x 1 gray, value range -1 to 1" in printed


def test_a_model_that_fails_for_plain_inputs_is_refused_in_one_line(layers, save, tmp_path, capsys):
    image = layers.Input((8, 8, 1))
    number = layers.Rescaling(255.0)(layers.Reshape((1,))(layers.GlobalAveragePooling2D(keepdims=True)(image)))
    code = layers.Add(name="code")([layers.Flatten()(image), layers.Flatten()(layers.Embedding(2, 64)(number))])
    path = save(keras().Model(image, layers.Reshape((8, 8, 1))(code)))
    assert main(["export", str(path), "--latent", "code", "--output", str(tmp_path / "b")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: the model fails for its golden inputs (InvalidArgumentError: indices[")
    assert "is not in [0, 2)); see" in line
    assert line.endswith("see that it takes any image of its --value-range, or train it again")
    assert not (tmp_path / "b").exists()


def _renamed(path, name: str, **more):
    """A copy of a saved model whose layer 'code' is called something else, or has other fields."""
    members = {}
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    text = members["config.json"].decode().replace('"code"', json.dumps(name))
    config = json.loads(text)
    (layer,) = (layer for layer in config["config"]["layers"] if layer["name"] == name)
    layer["config"].update(more)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path.with_name("hostile.keras"), "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return path.with_name("hostile.keras")


_FORGED = "\x1b[2J\x1b]0;pwn\x07\nerror: forged\u202e"


@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("code", {"activation": _FORGED}, "Keras cannot load it: Could not interpret activation function identifier: "),
        ("code", {"activation": _FORGED + "x" * 15_000_000}, "Keras cannot load it: Could not interpret activation"),
        ("no scope name!", {}, "is not a valid (root )?scope name"),
        (_FORGED, {}, r"\\x1b\[2J.*\\nerror: forged\\u202e' is not a valid (root )?scope name"),
        ("x" * 1_000_000, {}, "no layer 'code'; the nearest is "),
    ],
)
def test_text_of_a_model_is_one_printable_line(layers, save, tmp_path, capsys, name, more, says):
    image = layers.Input((4,))
    path = _renamed(save(keras().Model(image, layers.Dense(4, name="code")(image))), name, **more)
    assert main(["export", str(path), "--latent", "code", "--output", str(tmp_path / "b")]) == 2
    (line,) = capsys.readouterr().err.removesuffix("\n").split("\n")
    assert line.isprintable()
    assert len(line) < 3000
    assert line.startswith(f"error: {path}: ")
    assert re.search(says, line)
    assert main(["export", str(path), "--latent", "code", "--output", str(tmp_path / "b"), "--verbose"]) == 2
    assert all(line.isprintable() for line in capsys.readouterr().err.split("\n"))


@pytest.mark.slow
def test_a_denoiser_is_exported_and_checked(layers, save, tmp_path, capsys):
    path, bundle = str(save(nets.unet())), str(tmp_path / "bundle")
    # Untrained, so its outputs are anything.
    told = ["--noise-input", "noise_level", "--noise-scale", "255", "--noise-range", "5", "55"]
    assert main(["export", path, "--output", bundle, *told, "--any-output"]) == 0
    printed = capsys.readouterr().out
    reach = Bundle.open(bundle).spec.input.reach
    takes = f"any size gray, value range 0 to 1; sides padded to multiples of 8, a pixel sees {reach} around it"
    assert f"bundle {bundle} (" in printed
    assert "): denoiser: denoise\n" in printed
    assert f"input: {takes}\n" in printed
    assert main(["check", bundle]) == 0
    printed = capsys.readouterr().out
    assert f"input   {takes}\n" in printed
    learned = "255 for a deviation of all of white; learned from 5 to 55, where white is 255"
    assert f"noise   level told by input 'noise_level' (map), {learned}\n" in printed
    assert "latent" not in printed
    assert main(["check", bundle, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["executors"]["tensorflow"]["golden_differences"] == {"output": 0.0}
    assert all(rate > 0 for rate in report["records_per_second"].values())


def test_what_a_bundle_cannot_do_is_said(layers, save, tmp_path, capsys):
    image = layers.Input((8, 8, 1))
    code = layers.Conv2D(2, 3, padding="same", name="code")(image)
    skip = layers.Add()([layers.Conv2D(1, 3, padding="same")(code), image])
    assert main(["export", str(save(keras().Model(image, skip))), "--latent", "code", "--output", f"{tmp_path}/a"]) == 0
    printed = capsys.readouterr().out
    assert "latent 'code' of 8 x 8 x 2: encode, reconstruct, denoise\n" in printed
    assert "its output depends on more than the latent, so it cannot decode\n" in printed
    given = ["--latent", "code", "--output", f"{tmp_path}/b", "--json"]
    assert main(["export", str(save(keras().Model(image, code))), *given]) == 0
    assert json.loads(capsys.readouterr().out)["functions"] == ["encode"]


_TYPED = {option.flag: option for option in (*TRAIN, *EXPORT) if option.type not in (str, number_or_word)}


@pytest.mark.parametrize("flag", _TYPED)
def test_an_error_of_a_value_says_what_the_option_takes(flag):
    with pytest.raises(ValueError, match=r"'\N{SNOWMAN}'; give ."):
        _TYPED[flag].parse_one("\N{SNOWMAN}")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["train", "--inptu", "x"], "unknown option --inptu; did you mean --input? (see latentlake train --help)"),
        (["export", "f", "--latnt=x"], "unknown option --latnt; did you mean --latent?"),
        (["train", "--input", "x"], "the following arguments are required: --output"),
        (["train", "--input", "x", "--output", "y", "--epochs", "0"], "argument --epochs: invalid positive value: '0'"),
        (["train", "--input", "x", "--output", "y", "--kind", "magic"], "invalid choice: 'magic'"),
        (
            ["train", "--input", "x", "--output", "y", "--learning-rate", "nan"],
            "invalid rate value: 'nan'; give a number above 0",
        ),
        (["train", "--input", "x", "--output", "y", "--seed", "-1"], "invalid natural value: '-1'"),
        (["check"], "the following arguments are required: BUNDLE"),
        (["check", "a", "b"], "unexpected argument"),
        (["check", "/nowhere/bundle"], "/nowhere/bundle/model.json: not there; name a directory made by"),
        (["magic"], "unknown command 'magic'; there are train, export, check"),
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
