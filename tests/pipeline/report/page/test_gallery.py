"""The page of a gallery: its images, keys and verdict, of no harm whatever the data say."""

from collections import Counter
from dataclasses import replace

import pytest

from pipeline.report.page.gallery import GalleryFacts, GalleryGroup, render_gallery
from tests.pipeline.report.page.parsed import parse
from tests.pipeline.report.page.test_render import HOSTILE, spoiled
from tests.pipeline.report.page.values import against, digit, same


def facts(*, cards: bool = False, compared: bool = False) -> GalleryFacts:
    return GalleryFacts(
        output="lake/latents",
        command="duplicates",
        sentence="4 of 1,797 records are there more than once",
        groups=[
            GalleryGroup(title="Group 1: 2 records", images=[digit(1), digit(2)], tags=("keep", "drop")),
            GalleryGroup(title="Group 2: 2 records", images=[digit(3), digit(4)], tags=("keep", "drop")),
        ],
        cards=cards,
        notes=["Nothing is deleted."],
        keys=["digits/000002.png", "digits/000004.png"],
        keys_title="Keys of the records to drop",
        against=against() if compared else None,
    )


@pytest.mark.parametrize("cards", [False, True])
def test_images_and_keys(cards: bool) -> None:
    page = parse(render_gallery(facts(cards=cards)))
    assert [image["alt"] for image in page.named("img") if image.get("id")] == [
        f"Image digits/00000{n}.png" for n in (1, 2, 3, 4)
    ]
    assert page.data["keys"] == ["digits/000002.png", "digits/000004.png"]
    for text in ("4 of 1,797 records are there more than once", "Group 2: 2 records", "keep", "Nothing is deleted."):
        assert text in page.text


def test_it_has_no_plotly_and_allows_nothing() -> None:
    html = render_gallery(facts())
    assert len(html) < 60_000
    page = parse(html)
    assert [kind for kind, _ in page.scripts] == ["application/json", ""]
    (policy,) = (one["content"] for one in page.named("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and "unsafe-eval" not in policy


def test_a_verdict() -> None:
    page = parse(render_gallery(facts(compared=True)))
    assert "0.563 ± 0.003" in page.text and "latent[0]" in page.text


def test_two_sides_that_are_the_same() -> None:
    text = parse(render_gallery(replace(facts(), against=same()))).text
    assert "every number has the same distribution on both sides" in text and "latent[0]" not in text


def test_texts_of_data_stay_texts() -> None:
    bad, harmless = (parse(render_gallery(spoiled(facts(compared=True), text))) for text in (HOSTILE, "harmless"))
    assert Counter(name for name, _ in bad.elements) == Counter(name for name, _ in harmless.elements)
    assert not set("\x00\x1b\u202e") & set(bad.text)
