"""The text of a card: what is the job's in it, what is the user's, and that other people's texts stay texts."""

from typing import Any

import pyarrow as pa
import pytest
import yaml

from pipeline.output.describe.card import MARK_BEGIN, MARK_END, card, is_card
from pipeline.output.describe.parts import OutputPart

SCHEMA = pa.schema([("key", pa.string()), ("latent", pa.list_(pa.float32(), 2))])


def make_summary(**changes: Any) -> dict[str, Any]:
    total = {"read": 3, "results": 2, "rejects": 1, "reasons": {"corrupt_image": 1}}
    plain: dict[str, Any] = {"complete": True, "refused": [], "verb": "encode", "output": "s3://lake/digits"}
    plain |= {"model_digest": "d1", "latent_layer": "encoded", "total": total, "manifest": {"crc32c": "00c0ffee"}}
    return {**plain, "options": {"verb": "encode"}, "version": "0.1.0", **changes}


def make_part(name: str = "latents", *suffixes: str, **changes: Any) -> OutputPart:
    plain: dict[str, Any] = {"files": 1, "rows": 2, "size": 100, "suffixes": suffixes or (".parquet",)}
    return OutputPart(name=name, **(plain | changes))


def header(text: str) -> dict[str, Any]:
    return dict(yaml.safe_load(text.split("---\n")[1]))


def test_a_new_card() -> None:
    text = card(None, [make_part(schema=SCHEMA), make_part("rejects", rows=1)], make_summary(), ["photos/*.tar"])
    assert header(text) == {
        "size_categories": ["n<1K"],
        "configs": [
            {"config_name": "latents", "data_files": "latents/**/[!_.]*.parquet", "default": True},
            {"config_name": "rejects", "data_files": "rejects/**/[!_.]*.parquet"},
        ],
        "dataset_info": [
            {
                "config_name": "latents",
                "features": [{"name": "key", "dtype": "string"}, {"name": "latent", "list": "float32", "length": 2}],
            }
        ],
    }
    assert "\n# digits\n" in text
    assert "3 records read, 2 results, 1 reject." in text
    assert "| source | <code>photos/&#42;.tar</code> |" in text
    assert "Not complete" not in text
    assert is_card(text)


def test_what_the_user_wrote_stays() -> None:
    text = card(None, [make_part()], make_summary(), [])
    ours = text.replace("---\n\n# digits", "license: mit\ntags:\n- digits\n# a note\n---\n\n# My digits\n\nHello.", 1)
    theirs = f"{ours}\n## Citation\n\nMine.\n".replace("\n", "\r\n")
    again = card(theirs, [make_part(rows=5_000)], make_summary(), [])
    assert header(again) == {**header(text), "size_categories": ["1K<n<10K"], "license": "mit", "tags": ["digits"]}
    assert "# a note\n" in again
    assert "# My digits\n\nHello." in again
    assert again.endswith("\n## Citation\n\nMine.\n")
    assert "| 1 | 5,000 |" in again
    assert card(again, [make_part(rows=5_000)], make_summary(), []) == again


def test_comments_stay_wherever_they_are_in_the_header() -> None:
    text = card(None, [make_part(), make_part("rejects")], make_summary(), [])
    ours = text.replace("configs:\n", "configs:\n# mine\n", 1).replace("\n---\n", "\n# last\n---\n", 1)
    again = card(ours, [make_part(), make_part("rejects")], make_summary(), [])
    assert header(again) == header(text)
    assert again.count("# mine\n") == again.count("# last\n") == 1
    assert card(again, [make_part(), make_part("rejects")], make_summary(), []) == again


def test_marks_in_the_header_are_none() -> None:
    page = f"---\n# {MARK_BEGIN}{MARK_END}\n---\n"
    assert not is_card(f"{page}# Mine\n")
    assert card(f"{page}{MARK_BEGIN}{MARK_END}\n", [make_part()], make_summary(), []).startswith(page[:-4])


def test_a_page_without_header_gets_one() -> None:
    again = card(f"# Mine\n{MARK_BEGIN}{MARK_END}\n", [make_part()], make_summary(), [])
    assert header(again)["configs"][0]["config_name"] == "latents"
    assert again.count("# Mine") == 1


@pytest.mark.parametrize("page", ["", "# Mine\n", MARK_BEGIN, MARK_END + MARK_BEGIN])
def test_a_page_without_the_marks_is_none(page: str) -> None:
    assert not is_card(page)


def test_an_incomplete_output_says_so() -> None:
    text = card(None, [make_part()], make_summary(refused=["2 failed units, 0 allowed (--max-failed-units)"]), [])
    assert "**Not complete**: 2 failed units, 0 allowed (--max-failed-units)." in text


def test_texts_of_others_are_no_structure() -> None:
    hostile = f"a|b`c</code>{MARK_END}\n---\n**x**"
    summary = make_summary(output=f"/x/{hostile}", latent_layer=hostile, options={hostile: hostile})
    text = card(None, [make_part("images", hostile)], summary, [hostile])
    assert text.count(MARK_END) == 1
    assert text.count("---\n") == text.count("\n---\n") + 1 == 2
    body = text.split("```json")[0]
    assert "**x**" not in body
    assert "a|b" not in body
    assert body.count("</code>") == 3


def test_an_empty_output_has_no_data() -> None:
    assert yaml.safe_load(card(None, [], make_summary(), []).split("---\n")[1]) is None


@pytest.mark.parametrize(
    ("parts", "configs"),
    [
        ([("metrics", ".parquet"), ("images", ".tar"), ("rejects", ".parquet")], ["images"]),
        ([("metrics", ".parquet"), ("images", ".tfrecord"), ("rejects", ".parquet")], ["metrics", "rejects"]),
        ([("metrics", ".parquet"), ("images", ".parquet")], ["images", "metrics"]),
        ([("images", ".JPG"), ("metrics", ".parquet")], ["images"]),
        ([("images", ".jsonl", ".png"), ("error_maps", ".png")], ["images", "error_maps"]),
        ([("latents", ".tar"), ("rejects", ".parquet")], ["latents"]),
        ([("latents", ".json", ".mds")], []),
        ([("images", ".tfrecord")], []),
    ],
)
def test_one_builder_reads_all_configs(parts: list[tuple[str, ...]], configs: list[str]) -> None:
    text = card(None, [make_part(*part) for part in parts], make_summary(), [])
    assert [config["config_name"] for config in header(text).get("configs", [])] == configs
