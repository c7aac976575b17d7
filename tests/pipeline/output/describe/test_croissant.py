"""The text of ``croissant.json``: what it says of parts and columns, and what people wrote in it."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.output.describe.croissant import croissant, is_croissant
from tests.pipeline.output.describe.test_card import SCHEMA, make_part, make_summary


def described(*parts: Any, before: str | None = None, **changes: Any) -> dict[str, Any]:
    text = croissant(before, parts, make_summary(**changes), ["photos/*.tar"])
    assert is_croissant(text)
    return dict(json.loads(text))


def fields(schema: pa.Schema) -> dict[str, tuple[str, bool]]:
    (records,) = described(make_part(schema=schema))["recordSet"]
    return {field["name"]: (field["dataType"], field.get("repeated", False)) for field in records["field"]}


def test_tables_are_records() -> None:
    found = described(make_part(schema=SCHEMA), make_part("images", ".png", rows=1))
    assert found["name"] == "digits"
    assert found["description"].endswith("of photos/*.tar: 3 records read, 2 results, 1 rejects.")
    assert [files["@id"] for files in found["distribution"]] == ["latents-files", "images-files"]
    assert [files["encodingFormat"] for files in found["distribution"]] == [["application/x-parquet"], ["image/png"]]
    (records,) = found["recordSet"]
    assert records["@id"] == "latents"
    source = {"fileSet": {"@id": "latents-files"}, "extract": {"column": "latent"}}
    latent = {"@type": "cr:Field", "@id": "latents/latent", "name": "latent", "dataType": "cr:Float32"}
    assert records["field"][1] == {**latent, "repeated": True, "source": source}


@pytest.mark.parametrize("names", [("a.parquet", "d/e/b.parquet"), ("x.PNG", "d/y.jpg")])
def test_patterns_find_all_files(tmp_path: Path, names: tuple[str, ...]) -> None:
    files = {tmp_path / "images" / name for name in names}
    for file in (*files, tmp_path / "images/d/note.txt", tmp_path / "other/a.parquet"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (part,) = described(make_part("images", *sorted({Path(name).suffix for name in names})))["distribution"]
    assert {found for pattern in part["includes"] for found in tmp_path.glob(pattern)} == files


def test_types_of_columns() -> None:
    kinds = {
        "text": pa.dictionary(pa.int32(), pa.string()),
        "number": pa.int64(),
        "half": pa.list_(pa.float16()),
        "day": pa.date32(),
        "time": pa.timestamp("us"),
        "bytes": pa.binary(),
        "struct": pa.struct([("a", pa.int8())]),
        "nested": pa.list_(pa.list_(pa.int8())),
    }
    assert fields(pa.schema(kinds)) == {
        "text": ("sc:Text", False),
        "number": ("sc:Integer", False),
        "half": ("cr:Float16", True),
        "day": ("sc:Date", False),
        "time": ("sc:DateTime", False),
    }


def test_what_people_wrote_stays() -> None:
    theirs = described(make_part()) | {"name": "mine", "license": "mit", "description": "old", "recordSet": []}
    again = described(make_part(schema=SCHEMA), before=json.dumps(theirs))
    assert (again["name"], again["license"]) == ("mine", "mit")
    assert again["description"] != "old"
    assert again["recordSet"]


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", '{"sdPublisher": "latentlake"}', "[" * 100_000])
def test_other_files_are_none(text: str) -> None:
    assert not is_croissant(text)


def test_texts_of_others_are_no_structure() -> None:
    hostile = 'a"b\n/é \x1b[31m\u202e'
    text = croissant(
        None, [make_part(schema=pa.schema([(hostile, pa.int8())]))], make_summary(output=hostile), [hostile]
    )
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    (field,) = json.loads(text)["recordSet"][0]["field"]
    assert field["source"]["extract"]["column"] == hostile
    assert field["@id"].isascii()
    assert field["@id"].count("/") == 1


def test_an_incomplete_output_says_so() -> None:
    assert described(refused=["2 failed units"])["description"].endswith("1 rejects. Not complete: 2 failed units.")
