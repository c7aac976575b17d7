"""The metadata of the Flex Template against the command line that its launcher starts."""

import json
import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from pipeline import main as launcher
from pipeline.cli.command import job_options
from pipeline.cli.flex_template import metadata
from pipeline.cli.parser import parse
from pipeline.worker.verbs import VERBS

FLAGS = {name: verb.flags for name, verb in VERBS.items()}

ROOT = Path(__file__).parents[3]
VALUES = {  # of each option's kind: what a template must let through, and what it must stop
    "model": (
        ["gs://lake/bundle", "s3://lake/a b/bundle", "zoo:denoiser-gray"],
        ["bundle", "/data/bundle", "gs://", "zoo:"],
    ),
    "input": (["gs://lake/in/*.tar", "gs://lake/a,s3://lake/b"], ["in", "gs://lake/a,", "gs://lake/a,/b", ""]),
    "format": (["auto", "tfrecord"], ["tar", "auto,tfrecord", "webdatasets"]),
    "max_pixels": (
        ["1", "128M", "2g", "1T", "640x480", "64 M", " 1.5K ", "0.5M", "1e-1M", "640 x 480"],
        ["0", "-1", "M", "1MB", "many", "0M", "1e3", "640x0"],
    ),
    "max_reject_fraction": (
        ["0", "1", "0.25", "1.0", "1%", "100%", "1e-3", "2.5E-02", ".5", "0.7 %", " 5% "],
        ["1.1", "-0.1", "2", "%", "101%", "1e1", "e-3", "1e-3%"],
    ),
    "reject_bytes": (
        ["1", "10MB", "1.5GiB", "64k", "9B", "64 MB", " 64 MiB ", "0.5K", "1e3K", "9 B"],
        ["0", "1.5", "2Ki", "1E", "5%", "0.0K", "1e3"],
    ),
    "max_failed_units": (["0", "12"], ["-1", "1.5", ""]),
    "threads": (["1", "16"], ["0", "-1", "all"]),
    "quality": (["1", "90", "100"], ["0", "101", "90%"]),
    "overwrite": (["true", "false"], ["yes", "1"]),
    "interpolate": (["3,8"], ["3"]),
}


def parameters() -> dict[str, dict[str, Any]]:
    return {parameter["name"]: parameter for parameter in metadata()["parameters"]}


def parsed(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> Namespace:
    """What the command line makes of a launcher's arguments."""
    seen: list[list[str]] = []
    monkeypatch.setattr(launcher, "command_line", lambda words: seen.append(list(words)) or 0)
    assert launcher.main(arguments) == 0
    options, rest = parse(seen[0])
    assert rest == []
    return options


def required(verb: str) -> list[str]:
    by_field = {"input": "gs://lake/in", "model": "gs://lake/bundle", "output": "gs://lake/out", "count": "3"}
    return [f"--{option.field}={by_field[option.field]}" for option in FLAGS[verb] if option.required]


def test_the_file_is_what_the_options_say() -> None:
    """After a change of an option: scripts/template."""
    assert json.loads((ROOT / "deploy/dataflow/metadata.json").read_text()) == metadata()


def test_every_option_is_a_parameter_of_its_verbs_and_no_other() -> None:
    of_beam = {"mode", "sdk_container_image", "dataflow_service_options"}
    for verb, options in FLAGS.items():
        flags = {option.flag for option in options} - {"--detach"}
        shown = {
            "--" + name.replace("_", "-")
            for name, parameter in parameters().items()
            if name not in of_beam and verb in parameter.get("parentTriggerValues", FLAGS)
        }
        assert shown == flags
    assert of_beam < set(parameters())


def test_what_every_verb_requires_is_required() -> None:
    needed = {name for name, parameter in parameters().items() if not parameter["isOptional"]}
    assert needed == {"mode", "model", "output", "sdk_container_image"}


def test_defaults_are_those_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A form that hands over all of its defaults asks for what one that hands over none of them does."""
    for verb in FLAGS:
        defaults = [
            f"--{name}={parameter['defaultValue']}"
            for name, parameter in parameters().items()
            if "defaultValue" in parameter and verb in parameter.get("parentTriggerValues", FLAGS)
        ]
        plain = [f"--mode={verb}", *required(verb)]
        assert len(defaults) > 5
        asked = (job_options(parsed(monkeypatch, given), verb) for given in ([*plain, *defaults], plain))
        assert next(asked) == next(asked)


def test_every_default_is_let_through() -> None:
    for parameter in parameters().values():
        for pattern in parameter.get("regexes", []) if "defaultValue" in parameter else []:
            assert re.fullmatch(pattern, parameter["defaultValue"]), parameter["name"]


@pytest.mark.parametrize("name", VALUES)
def test_values_are_let_through_as_the_command_line_takes_them(name: str) -> None:
    (pattern,) = parameters()[name]["regexes"]
    good, bad = VALUES[name]
    assert [value for value in good if not re.fullmatch(pattern, value)] == []
    assert [value for value in bad if re.fullmatch(pattern, value)] == []


@pytest.mark.parametrize("name", ["max_pixels", "max_reject_fraction", "reject_bytes", "max_failed_units", "threads"])
def test_numbers_are_let_through_if_the_command_takes_them(name: str) -> None:
    (option,) = {option.field: option for option in FLAGS["encode"] if option.field == name}.values()
    (pattern,) = parameters()[name]["regexes"]
    for value in [value for values in VALUES[name] for value in values]:
        try:
            option.parse(value)
        except ValueError:
            assert not re.fullmatch(pattern, value), value
        else:
            assert re.fullmatch(pattern, value), value


def test_the_launcher_takes_every_kind_of_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ["--mode=denoise", *required("denoise")]
    options = parsed(
        monkeypatch,
        [
            *plain,
            "--max_pixels=2M",
            "--carry=label,caption",
            "--overwrite=true",
            "--prune=false",
            "--key=",
            "--on-damage=reject",
        ],
    )
    assert (options.max_pixels, options.carry) == (2 << 20, ["label", "caption"])
    assert not hasattr(options, "key")
    assert not hasattr(options, "prune")
    assert (options.overwrite, options.on_damage) == (True, "reject")


def test_options_of_beam_reach_it_as_they_are() -> None:
    given = ["--sdk_container_image=image:1", "--dataflow_service_options=a,b", "--temp_location="]
    assert [word for argument in given for word in launcher._words(argument)] == given
