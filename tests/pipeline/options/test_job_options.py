"""How options are checked, whoever gives them, and how an output keeps those that it was made by."""

import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import model.zoo
from lake.cli.options import STORES
from lake.core.errors import OutputError, UsageError
from lake.images.types import Color, DecodeMode, Orientation, Resize
from lake.storage import StoreOptions
from pipeline.cli import parser
from pipeline.cli.command import job_options, main
from pipeline.config import Gate
from pipeline.options.job_options import JobOptions, Scope, make_options
from pipeline.options.kept_options import options_from_json, options_to_json
from pipeline.worker.verbs import VERBS
from tests.pipeline.conftest import run_job

PLAIN = {"input": "in", "model": "m", "output": "out"}
# Texts that some option takes and others do not.
TEXTS = ("", "0", "1", "99", "101", "-1", "0.5", "1.5", "2K", "nan", "crop", "corp", "png", "convert", "reject", "none")


def asked(verb: str, flag: str, words: list[str]) -> JobOptions | None:
    """The options that a command line gives; None if it refuses them."""
    required = ["--count", "3"] if verb == "generate" else ["--input", "in"]
    line = [verb, "--model", "m", "--output", "out", *([] if flag == required[0] else required), flag, *words]
    try:
        return job_options(parser.parse(line)[0], verb)
    except UsageError:
        return None


def made(verb: str, field: str, value: object) -> JobOptions | None:
    """The options that keyword arguments give; None if they are refused."""
    required = {"count": 3} if verb == "generate" else {"input": "in"}
    try:
        return make_options(verb, {"model": "m", "output": "out", **required, field: value})
    except UsageError:
        return None


@pytest.mark.parametrize("verb", VERBS)
def test_keyword_arguments_are_checked_as_the_command_line_is(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "_build", cache(parser._build))  # which takes most of the time
    taken = 0
    for option in VERBS[verb].flags:
        if option.switch or option in STORES or option.field in ("input", "model", "output"):
            continue
        for text in TEXTS:
            words = [text] * (option.arity or 1)
            expected = asked(verb, option.flag, words)
            assert made(verb, option.field, words if option.arity else text) == expected, (option.flag, text)
            taken += expected is not None
    assert taken > 20


def test_every_value_may_be_text() -> None:
    options = make_options(
        "denoise",
        {
            **PLAIN,
            "input": Path("shards"),
            "carry": "label",
            "reference": "clean/",
            "resize": "crop",
            "decode": "fast",
            "orientation": "ignore",
            "color": "convert",
            "max_pixels": "64K",
            "quality": "75",
            "noise_level": 25,
            "expect_records": 10,
            "overwrite": "false",
            "max_reject_fraction": "0.5",
            "prune": True,
            "anonymous": "true",
        },
    )
    assert (options.input, options.carry, options.reference) == (("shards",), ("label",), ("clean/",))
    assert options.resize is Resize.CROP
    assert options.decode is DecodeMode.FAST
    assert options.orientation is Orientation.IGNORE
    assert options.color is Color.CONVERT
    assert (options.max_pixels, options.quality, options.overwrite) == (65536, 75, False)
    assert (options.noise_level, options.expect_records) == ("25", "10")
    assert options.gate == Gate(max_reject_fraction=0.5)
    assert (options.scope, options.stores) == (Scope(prune=True), StoreOptions(anonymous=True))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"qualty": 5}, "unknown option 'qualty'; did you mean quality?"),
        ({"exif_orientation": "apply"}, "did you mean orientation?"),
        ({"noise_level": 25}, "noise_level is no option of reconstruct"),
        ({"quality": 0}, "quality: invalid percent value: 0"),
        ({"max_reject_fraction": 2}, "max_reject_fraction: invalid fraction value: 2"),
        ({"max_failed_units": -1}, "max_failed_units: invalid count value: -1"),
        ({"color": "covert"}, "did you mean convert?"),
        ({"orientation": None}, "orientation: invalid choice: None"),
        ({"output": ""}, "output: invalid word value: ''"),
        ({"gate": 0.5}, "gate: 0.5 is no Gate"),
        ({"gate": {"max_reject_fracton": 0.5}}, "did you mean max_reject_fraction?"),
        ({"images": "no"}, "images: invalid switch value: 'no'"),
    ],
)
def test_a_wrong_option_is_named(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError) as error:
        make_options("reconstruct", {**PLAIN, **wrong})
    assert text in str(error.value)


def test_options_that_are_made_directly_are_checked_too() -> None:
    assert JobOptions(verb="encode", **PLAIN, gate={"max_failed_units": "2"}).gate == Gate(max_failed_units=2)
    for wrong in ({"verb": "encod"}, {"verb": "encode", "qualty": 5}, {"verb": "encode", "seed": -1}):
        with pytest.raises(UsageError):
            JobOptions(**{**PLAIN, **wrong})
    with pytest.raises(UsageError, match="did you mean max_failed_units"):
        Gate(max_failed_unit=1)
    with pytest.raises(UsageError, match="max_pixels"):
        JobOptions(verb="encode", **PLAIN, retry_policies={"max_pixels": 0})
    with pytest.raises(UsageError, match="anonymous"):
        StoreOptions(anonymous="false")


def test_an_output_with_options_that_are_none_is_refused() -> None:
    kept = options_to_json(JobOptions(verb="encode", **PLAIN))
    for wrong in ({"quality": 0}, {"color": "covert"}, {"gate": {"max_failed_units": -1}}, {"new": 1}):
        with pytest.raises(OutputError, match="does not say how it was made"):
            options_from_json({**kept, **wrong}, "out", "m")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("bundle", "{here}/bundle"),
        ("/data/bundle", "/data/bundle"),
        ("gs://lake/bundle", "gs://lake/bundle"),
        ("zoo:mnist-vae", "zoo:mnist-vae"),
    ],
)
def test_a_relative_path_becomes_absolute_and_a_name_stays(
    given: str, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = JobOptions(verb="encode", model=given, output="out", input=("in", "s3://lake/in"))
    value = json.loads(json.dumps(options_to_json(options)))
    assert value["model"] == kept.format(here=tmp_path)
    assert value["input"] == [f"{tmp_path}/in", "s3://lake/in"]
    read = options_from_json(value, "/out", value["model"])
    assert (read.verb, read.output, read.model) == ("encode", "/out", value["model"])


def test_an_output_made_by_a_bundle_of_the_zoo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It names no directory of this machine's packages, and a lost copy of the model comes from the zoo again."""
    np.save(tmp_path / "digits.npy", np.zeros((4, 28, 28, 1), np.uint8))
    run_job("encode", tmp_path / "digits.npy", "zoo:mnist-vae", tmp_path / "out")
    job_file = (tmp_path / "out/_job.json").read_text()
    assert json.loads(job_file)["settings"]["model"] == "zoo:mnist-vae"
    assert str(Path(model.zoo.__file__).parent) not in job_file
    shutil.rmtree(tmp_path / "out/_model")
    assert main(["verify", str(tmp_path / "out")]) == 3
    assert main(["verify", str(tmp_path / "out"), "--repair"]) == 0
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "out"), "--deep"]) == 0
