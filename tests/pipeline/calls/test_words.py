"""Options of Python as words, which the parser reads as they were meant."""

import pytest

from lake.core.errors import UsageError
from model.cli.parser import parse
from pipeline.calls.words import command_words


def test_what_the_parser_makes_of_them() -> None:
    values = {"input": ["a b/", "-c"], "output": "bundle", "kind": "vae", "epochs": 3, "resize": None}
    options = parse(command_words("train", values))
    assert options.input == ["a b/", "-c"]
    assert (options.output, options.kind, options.epochs) == ("bundle", "vae", 3)
    options = parse(command_words("export", {"output": "o", "value_range": (-1, 1), "latent": "--z"}, "-m.keras"))
    assert (options.file, options.value_range, options.latent) == ("-m.keras", [-1.0, 1.0], ["--z"])


@pytest.mark.parametrize(
    ("values", "text"),
    [({"epoch": 3}, "did you mean epochs"), ({"epochs": 0}, "epochs: invalid positive value"), ({"kind": "x"}, "kind")],
)
def test_wrong_options(values: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        command_words("train", values)
