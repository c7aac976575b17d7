"""YAML, read back by another parser."""

import pytest
import yaml

from pipeline.output.describe.yaml_text import to_yaml


@pytest.mark.parametrize(
    "text",
    [
        *(
            "plain",
            "two words",
            "",
            " ",
            "yes",
            "No",
            "ON",
            "y",
            "null",
            "True",
            "~",
            "1e3",
            "0x1F",
            ".nan",
            "12:30:00",
        ),
        *(
            "2026-11-29",
            "- a",
            "# a",
            "a: b",
            "a #b",
            "'",
            '"',
            "\\",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "{a}",
            "[a]",
            "---",
        ),
        *("a\nb", "\t", "\x00\x07\x7f\x85\x9f", "\u2028\ufeff", "é漢", "\U0001f600", "latents/**/[!_.]*.parquet"),
    ],
)
def test_any_text_comes_back(text: str) -> None:
    value = {"a": text, "b": [text, {"c": text}]}
    assert yaml.safe_load(to_yaml(value)) == value


def test_nested_values_come_back() -> None:
    value = {"a": [{"b": [{"c": 1, "d": [True, None]}], "e": {"f": []}}, 2.5], "g": {}, "h": {"i": {"j": "k"}}}
    assert yaml.safe_load(to_yaml(value)) == value
