"""When a card is written, and when a page is left alone."""

from fnmatch import fnmatchcase
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core.errors import HeldError, OutputError
from pipeline.output.describe.card import MARK_BEGIN, MARK_END
from pipeline.output.describe.description import Description, plan_description, write_description
from pipeline.output.describe.parts import OutputPart, parts_of
from pipeline.output.layout import Layout
from tests.pipeline.output.describe.test_card import make_summary
from tests.pipeline.values import guard_for, make_file, make_receipt

PLAN = Description(pages=("card",), source=("in",), sources=1, due=True)
FIRST = {"card": True}


def test_a_first_card_replaces_no_page_of_the_user(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    assert plan_description(str(tmp_path), ["in"], FIRST) == PLAN
    page.write_text("# Mine\n")
    with pytest.raises(OutputError, match=r"README.md is none that --card wrote"):
        plan_description(str(tmp_path), ["in"], FIRST)
    assert not plan_description(str(tmp_path), ["in"], {"card": False}).due
    write_description(Layout(str(tmp_path)), PLAN, [], make_summary(), guard_for(tmp_path))
    assert page.read_text() == "# Mine\n"


def test_each_page_is_planned_apart(tmp_path: Path) -> None:
    (tmp_path / "croissant.json").write_text("{}")
    assert plan_description(str(tmp_path), ["in"], FIRST) == PLAN
    with pytest.raises(OutputError, match=r"croissant.json is none that --croissant wrote"):
        plan_description(str(tmp_path), ["in"], {**FIRST, "croissant": True})
    (tmp_path / "croissant.json").unlink()
    plan = plan_description(str(tmp_path), ["in"], {**FIRST, "croissant": True})
    write_description(Layout(str(tmp_path)), plan, [], make_summary(), guard_for(tmp_path))
    assert not plan_description(str(tmp_path), ["in"], {**FIRST, "croissant": True}).due
    assert (tmp_path / "README.md").exists()
    (tmp_path / "croissant.json").unlink()
    assert plan_description(str(tmp_path), ["in"], {"card": False, "croissant": False}).due


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"#" * (5 << 20) + f"{MARK_BEGIN}{MARK_END}".encode()])
def test_what_is_no_page_is_left_alone(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "README.md").write_bytes(data)
    write_description(Layout(str(tmp_path)), PLAN, [], make_summary(), guard_for(tmp_path))
    assert (tmp_path / "README.md").read_bytes() == data


def test_a_run_that_lost_the_output_writes_no_card(tmp_path: Path) -> None:
    with pytest.raises(HeldError):
        write_description(Layout(str(tmp_path)), PLAN, [], make_summary(), guard_for(tmp_path, held=False))
    assert not (tmp_path / "README.md").exists()


def test_many_inputs_are_cut(tmp_path: Path) -> None:
    plan = plan_description(str(tmp_path), [f"s3://lake/{i}.tar" for i in range(5_000)], FIRST)
    assert (len(plan.source), plan.sources) == (20, 5_000)
    write_description(Layout(str(tmp_path)), plan, [], make_summary(), guard_for(tmp_path))
    assert "<code>s3://lake/19.tar</code>, <code>...</code> |" in (tmp_path / "README.md").read_text()


def test_parts_are_what_receipts_name(tmp_path: Path) -> None:
    schema = pa.schema([("key", pa.string())])
    (tmp_path / "latents").mkdir()
    pq.write_table(schema.empty_table(), tmp_path / "latents/a.parquet")
    images = (make_file("images/b/x.PNG", rows=1), make_file("images/LICENSE", rows=0))
    receipts = [make_receipt("b", outputs=images), make_receipt("a")]
    assert parts_of(Layout(str(tmp_path)), receipts) == [
        OutputPart(name="latents", files=1, rows=3, size=100, suffixes=(".parquet",), schema=schema),
        OutputPart(name="images", files=2, rows=1, size=200, suffixes=("", ".PNG")),
    ]


def test_a_table_that_is_lost_costs_the_columns_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (part,) = parts_of(Layout(str(tmp_path)), [make_receipt("gone")])
    assert part.schema is None
    assert "lacks the columns of" in caplog.text


@pytest.mark.parametrize("name", [b"keykey", b"key\xff\nk"])
def test_a_damaged_table_costs_the_columns_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: bytes) -> None:
    """Its footer is cut, or a column has a name that is no text."""
    (tmp_path / "latents").mkdir()
    table = tmp_path / "latents/a.parquet"
    pq.write_table(pa.table({"keykey": ["a"]}), table, store_schema=False)
    data = table.read_bytes()
    table.write_bytes(data.replace(b"keykey", name) if name != b"keykey" else data[:-9])
    (part,) = parts_of(Layout(str(tmp_path)), [make_receipt("a")])
    assert part.schema is None
    assert "lacks the columns of" in caplog.text
    assert caplog.messages[0].isprintable()


def test_a_store_that_fails_costs_the_columns_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "latents/a.parquet").mkdir(parents=True)
    (part,) = parts_of(Layout(str(tmp_path)), [make_receipt("a")])
    assert part.schema is None
    assert "lacks the columns of" in caplog.text


@pytest.mark.parametrize("names", [("a.png", "b.png"), ("_DSC1.JPG", "d/_DSC2.JPG"), ("a.png", "_B.PNG")])
def test_the_pattern_of_images_matches_all(names: tuple[str, ...]) -> None:
    files = tuple(make_file(f"images/{name}") for name in names)
    (part,) = parts_of(Layout("/out"), [make_receipt("a", outputs=files)])
    directory, _, pattern = part.glob.partition("/**/")
    assert directory == "images"
    assert all(fnmatchcase(name.rpartition("/")[2], pattern) for name in names)
    assert not fnmatchcase(".index", pattern)


def test_a_card_names_local_inputs_without_the_directories_above(tmp_path: Path) -> None:
    plan = plan_description(str(tmp_path), ["file:///home/me/my%20photos/", "/home/me/b/*.tar"], FIRST)
    assert plan.source == ("my photos", "b/*.tar")
