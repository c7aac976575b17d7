"""The page of a report: whole, small enough, and of no harm whatever the data say."""

import base64
import gzip
import hashlib
import re
from collections import Counter
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from pipeline.report.facts import Headline, ModelFacts, ReportFacts, RunFacts, Severity
from pipeline.report.page import render
from pipeline.report.shown import Fact, Picture, RecordName, Strip
from tests.pipeline.report.page.parsed import Page, parse
from tests.pipeline.report.page.values import SENTENCE, digits, make_facts, photograph, same

HOSTILE = (
    "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}<!--\x00\x1b[2J\u202e\ud800&amp;"
)
SECTIONS = ["images", "against", "partitions", "duplicates", "outliers", "rejects", "latents", "noise", "run"]


@pytest.fixture(scope="module")
def html() -> str:
    return render(make_facts(points=400))


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return parse(html)


def empty() -> ReportFacts:
    nothing = RunFacts(
        facts=(), model=ModelFacts(name="m", facts=(), figures=()), options=(), versions=(), lineage=(), timing=None
    )
    headline = Headline(sentence="No images.", severity=Severity.LOOK, findings=(), look=())
    return ReportFacts(output="out", headline=headline, run=nothing)


def ids(page: Page) -> list[str]:
    return [str(attributes["id"]) for _, attributes in page.elements if "id" in attributes]


def spoiled(value: Any, text: str) -> Any:
    """Facts of the same form in which every text is another one."""
    if isinstance(value, str) and not isinstance(value, Enum):
        return text
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: spoiled(getattr(value, one.name), text) for one in fields(value)})
    if isinstance(value, dict):
        return {spoiled(key, text): spoiled(one, text) for key, one in value.items()}
    return [spoiled(one, text) for one in value] if isinstance(value, list | tuple) else value


def test_headline_comes_first(html: str, page: Page) -> None:
    (_, _, after) = html.partition("<h1>")
    assert after.startswith(SENTENCE)
    assert html.index("<h1>") < html.index('class="look"') < html.index('id="images"')
    assert [one for one in ids(page) if one in SECTIONS] == SECTIONS


def test_the_script_is_the_only_one_that_the_policy_lets_run(page: Page) -> None:
    (policy,) = (one["content"] for one in page.named("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'; ")
    (script,) = (text for kind, text in page.scripts if kind == "")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert re.findall("'sha256-([^']+)'", policy) == [digest]
    assert "http" not in policy and "connect-src" not in policy and "*" not in policy


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), value
    (script,) = (text for kind, text in page.scripts if kind == "")
    assert not re.search(r"https?:|fetch\(|XMLHttpRequest|innerHTML|insertAdjacentHTML|document\.write|eval\(", script)
    style = files("pipeline.report.page").joinpath("static/page.css").read_text()
    assert "url(" not in style and "@import" not in style


def test_plotly_is_the_one_of_the_package(page: Page) -> None:
    (packed,) = (text for kind, text in page.scripts if kind == "text/plain")
    assert (
        gzip.decompress(base64.b64decode(packed)) == files("plotly").joinpath("package_data/plotly.min.js").read_bytes()
    )


def test_each_picture_is_there_once(html: str, page: Page) -> None:
    uris = Counter(re.findall(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+", html))
    assert set(uris.values()) == {1}
    known = set(page.data["pictures"]) | {
        one.removeprefix("picture-") for one in ids(page) if one.startswith("picture-")
    }
    for image in page.named("img"):
        assert "src" in image or image.get("data-picture") in known or image.get("alt") == ""
    for image in page.data["images"]:
        assert str(image["picture"]["id"]) in known
        for side in image["comparison"]["whole"] if image["comparison"] else ():
            assert str(side["id"]) in known


def test_the_pictures_are_those_of_the_facts(html: str) -> None:
    found = {base64.b64decode(one) for one in re.findall(r"data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)", html)}
    assert {image.picture.data for image in make_facts().headline.look if image.picture} <= found
    crop = photograph(0).comparison
    assert crop is not None and crop.crop_after is not None and crop.crop_after.data in found


def test_numbers_of_the_figures_are_those_of_the_facts(page: Page) -> None:
    facts = make_facts(points=400)
    assert facts.latents is not None and facts.latents.map is not None and facts.noise is not None
    found = page.data["map"]
    np.testing.assert_allclose(np.stack([found["x"], found["y"]], 1), facts.latents.map.points, rtol=1e-4)
    assert found["keys"] == [record.key for record in facts.latents.map.records]
    assert [found["shards"][at] for at in found["shard"]] == [record.shard for record in facts.latents.map.records]
    assert found["colors"][0]["values"] == facts.latents.map.colors[0].values.astype(int).tolist()
    assert [value is None for value in found["colors"][1]["values"]] == np.isnan(
        facts.latents.map.colors[1].values
    ).tolist()
    assert page.data["figures"]["noise"]["counts"] == facts.noise.histogram.counts.tolist()
    assert page.data["figures"]["noise"]["trained"] == [0, 50]
    assert page.data["figures"]["variance"]["dead"] == [5, 40]
    drawn = {str(one["data-figure"]) for _, one in page.elements if "data-figure" in one}
    assert drawn == set(page.data["figures"]) | {"map"}


def test_texts_of_data_stay_texts(page: Page) -> None:
    facts = make_facts(points=400)
    bad = parse(render(spoiled(facts, HOSTILE)))
    assert Counter(name for name, _ in bad.elements) == Counter(
        name for name, _ in parse(render(spoiled(facts, "harmless"))).elements
    )
    assert len(bad.scripts) == len(page.scripts) == 3
    assert [text for kind, text in bad.scripts if kind == ""] == [text for kind, text in page.scripts if kind == ""]
    for _, attributes in bad.elements:
        assert not any(name.startswith("on") for name in attributes)
        assert not {"style", "src", "href"} & attributes.keys() or "alert" not in str(
            [attributes.get(name) for name in ("style", "src", "href")]
        )
    assert "49" not in bad.text.split("{{")[0] and "{{ 7 * 7 }}" in bad.text
    assert not set("\x00\x1b\u202e") & set(bad.text)
    assert bad.data["map"]["keys"][0] == HOSTILE.replace("\ud800", "?")


def test_a_page_is_text_that_can_be_written() -> None:
    render(spoiled(make_facts(points=400), HOSTILE)).encode()


def test_sections_without_facts_are_left_out() -> None:
    page = parse(render(empty()))
    assert [one for one in ids(page) if one in SECTIONS] == ["run"]
    assert "No images." in page.text
    assert page.data == {"images": [], "pictures": {}, "figures": {}, "map": None}
    assert [kind for kind, _ in page.scripts] == ["application/json", ""]
    (policy,) = (one["content"] for one in page.named("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and "unsafe-eval" not in policy


@pytest.mark.parametrize(
    "name", ["strips", "error", "noise", "latents", "rejects", "against", "partitions", "duplicates", "outliers"]
)
def test_any_section_may_be_missing(name: str) -> None:
    facts = replace(make_facts(points=20, photographs=2), **{name: () if name == "strips" else None})
    page = parse(render(facts))
    assert f'href="#{name}"' not in str(page.elements)


def test_two_sides_that_are_the_same_have_a_sentence_in_place_of_an_empty_figure() -> None:
    page = parse(render(replace(make_facts(points=20, photographs=2), against=same())))
    assert "every number has the same distribution on both sides" in page.text
    assert "drift" not in page.data["figures"] and "What differs most" not in page.text


def test_a_small_output_has_a_page() -> None:
    """One record, in a map of one point, without pictures."""
    facts = make_facts(points=1, photographs=0)
    assert facts.latents is not None
    strips = [Strip(name="random", text="", images=[])]
    page = parse(
        render(replace(facts, strips=strips, latents=replace(facts.latents, mean=np.zeros(1), variance=np.zeros(1))))
    )
    assert page.data["map"]["keys"] == ["digits/000000.png"]


def test_a_page_has_at_most_10_mb() -> None:
    """10,000 points with the longest names, 12 columns, 1,000 thumbnails, and pictures that do not compress."""
    generator = np.random.default_rng(0)

    def noise(side: int) -> Picture:
        return Picture(data=generator.bytes(3 * side * side), media_type="image/png", width=side, height=side)

    facts = make_facts(points=10_000)
    assert facts.latents is not None and facts.latents.map is not None
    shown = facts.latents.map
    records = [RecordName(key=f"{at:05d}{'<' * 195}", shard=f"{at:05d}{'é' * 195}", index=at) for at in range(10_000)]
    shown = replace(
        shown,
        records=records,
        colors=shown.colors[1:] * 12,
        thumbnails={at: noise(64) for at in range(1_000)},
        method="pacmap",
        explained=None,
    )
    photos = [replace(photograph(0), picture=noise(512)) for _ in range(12)]
    wide = generator.standard_normal(100_000)
    facts = replace(
        facts,
        strips=[Strip(name=name, text="", images=photos) for name in ("best", "worst")],
        latents=replace(facts.latents, map=shown, mean=wide, variance=np.square(wide), dead=range(50_000)),
    )
    html = render(facts)
    assert len(html.encode()) <= 10_000_000
    page = parse(html)
    assert "of the pictures are left out, so that the page stays below 10 MB" in page.text
    # What is left of the points is spread over all of them.
    kept = page.data["map"]["index"]
    assert len(kept) > 500 and kept[-1] > 9_900
    assert "of 10,000 records" in page.text
    # The first screen has its pictures whatever comes behind it.
    assert all("src" in image or "data-picture" in image for image in page.named("img")[:12])


def test_pictures_without_room_are_told() -> None:
    facts = make_facts(points=20)
    large = [Picture(data=bytes([n]) * 2_000_000, media_type="image/png", width=900, height=900) for n in range(4)]
    look = [replace(photograph(n), picture=one) for n, one in enumerate(large)]
    page = parse(render(replace(facts, headline=replace(facts.headline, look=look))))
    assert "picture left out, to keep the page small" in page.text


def test_small_images_are_not_smoothed(page: Page) -> None:
    shots = [one for one in page.named("button") if "data-image" in one]
    small = [one for one in shots if "small-source" in str(one["class"])]
    assert len(small) == len(shots) - 26  # all but the photographs: 8 first, 6 and 12 in strips
    assert max(digits().shape[1:]) == 8


def test_tables_have_captions_and_images_alternatives(html: str, page: Page) -> None:
    assert html.count("<table") == html.count("<caption")
    assert all(image.get("alt") is not None for image in page.named("img"))
    assert len(ids(page)) == len(set(ids(page)))


def test_the_same_facts_give_the_same_page(html: str) -> None:
    assert render(make_facts(points=400)) == html


def test_without_jinja_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from lake.core.errors import UsageError
    from pipeline.report.page import document

    document._environment.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match=r"jinja2.*pip install 'latentlake\[report\]'"):
        render(empty())


def test_long_values_are_cut() -> None:
    facts = replace(empty(), notes=["x" * 100_000])
    facts = replace(facts, run=replace(facts.run, options=[Fact(name="--input", value="y" * 100_000)]))
    assert len(render(facts)) < 60_000
