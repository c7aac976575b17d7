"""The help of a command, and commands that there are not."""

import re

import pytest

from lake.cli.option import Option
from lake.cli.parser import EVERY, GROUPS, MOST_USED, OPTIONS, Parser, add_command, add_options, check_command
from lake.core.errors import UsageError
from model.cli.parser import FLAGS as MODEL_FLAGS
from pipeline.cli.command import main
from pipeline.worker.verbs import VERBS


def headings(text: str) -> list[str]:
    return re.findall(r"^(\w[\w ]*):$", text, re.MULTILINE)


def flags_below(text: str, heading: str) -> list[str]:
    (part,) = re.findall(rf"^{heading}:\n(.*?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return re.findall(r"^  (--[a-z0-9-]+)", part, re.MULTILINE)


@pytest.mark.parametrize(
    ("command", "first"),
    [
        ("encode", ["--input", "--model", "--output", "--resize", "--carry"]),
        ("denoise", ["--input", "--model", "--output", "--noise-level", "--image-format"]),
        ("generate", ["--input", "--count", "--model", "--output", "--seed"]),
        ("train", ["--kind", "--input", "--output", "--input-shape", "--latent-dim"]),
        ("export", ["--latent", "--output", "--value-range", "--input-shape", "--preset"]),
    ],
)
def test_the_five_most_used_options_come_first(
    capsys: pytest.CaptureFixture[str], command: str, first: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert flags_below(text, MOST_USED) == first
    found = [heading for heading in headings(text) if heading != "positional arguments"]
    assert found == [*sorted(found[:-1], key=GROUPS.index), "example"]
    table = VERBS[command].flags if command in VERBS else MODEL_FLAGS[command]
    listed = [flag for heading in found[:-2] for flag in flags_below(text, heading)]
    assert sorted(listed) == sorted({option.flag for option in table}), "each option once"
    assert len(text.split("\n\n")[0]) < 80, "the first line is short"


def test_every_option_of_a_job_has_a_group() -> None:
    """One without would be found below no heading that helps."""
    for verb in VERBS.values():
        assert {option.group for option in verb.flags} <= {*GROUPS} - {OPTIONS, MOST_USED, EVERY}


def test_a_short_table_has_no_first_five() -> None:
    parser = add_command(Parser(prog="x").add_subparsers(parser_class=Parser), "y", "what it does")
    add_options(parser, [Option(flag="--a", field="a", help="50% of it", metavar="N", required=True)], {}, ["--a"])
    assert headings(parser.format_help()) == [OPTIONS, EVERY]
    assert "50% of it" in parser.format_help()
    assert parser.format_help().startswith("usage: latentlake y --a N [options]\n")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["encdoe"], "unknown command 'encdoe'; did you mean encode? (see latentlake --help)"),
        (["duplicate", "out"], "unknown command 'duplicate'; did you mean duplicates?"),
        (["trian"], "unknown command 'trian'; did you mean train?"),
        (["plan", "denoice", "--input", "x"], "unknown command 'denoice'; did you mean denoise? (see latentlake plan"),
        (["zzzz"], "unknown command 'zzzz'; there are encode, "),
        (["a\x1b[2J"], "unknown command 'a\\x1b[2J'"),
    ],
)
def test_a_mistyped_command_is_told_with_the_nearest(
    capsys: pytest.CaptureFixture[str], words: list[str], text: str
) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {text}")
    assert error.count("\n") == 1


def test_a_known_command_is_none_to_correct() -> None:
    check_command("encode", ["encode", "decode"], "latentlake")
    with pytest.raises(UsageError, match=r"did you mean decode\?"):
        check_command("deocde", ["encode", "decode"], "latentlake")


def test_a_repeated_option_leaves_the_next_word() -> None:
    """``many`` would take the file, too."""
    parser = Parser(prog="x", add_help=False)
    parser.add_argument("file")
    option = Option(flag="--latent", field="latent", repeated=True, help="")
    add_options(parser, [option], {})
    assert parser.parse_args(["--latent", "a", "--latent", "b", "net.onnx"]).latent == ["a", "b"]
    assert (option.parse("a"), option.parse(["a", "b"])) == (("a",), ("a", "b"))
