"""The page of a gallery in a browser."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from pipeline.report.page.gallery import render_gallery
from tests.browser.conftest import SCHEMES, WIDTHS, Opened, opened
from tests.browser.contrast import CONTRAST
from tests.pipeline.report.page.test_gallery import facts
from tests.pipeline.report.page.test_render import HOSTILE, spoiled


@pytest.fixture(params=[(width, scheme) for width in WIDTHS for scheme in SCHEMES], ids=str)
def gallery(request: pytest.FixtureRequest, browser: Browser, tmp_path: Path) -> Iterator[Opened]:
    path = tmp_path / "gallery.html"
    path.write_text(render_gallery(facts(cards=True, compared=True)))
    found = opened(browser, path, *request.param)
    yield found
    assert found.problems == []
    found.page.context.close()


def test_it_can_be_read_and_copied(gallery: Opened) -> None:
    page = gallery.page
    assert page.evaluate("document.documentElement.scrollWidth") <= gallery.width
    assert page.evaluate(CONTRAST) == []
    expect(page.get_by_role("img", name="Image digits/")).to_have_count(4)
    keys = page.get_by_role("textbox", name="Keys of the records to drop")
    expect(keys).to_have_value("digits/000002.png\ndigits/000004.png")
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()


def test_an_image_opens_by_keyboard(gallery: Opened) -> None:
    page = gallery.page
    page.get_by_role("button", name="Image digits/000003.png").press("Enter")
    viewer = page.get_by_role("dialog")
    expect(viewer.get_by_role("heading")).to_have_text("digits/000003.png")
    expect(viewer.get_by_role("slider")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    expect(viewer.get_by_role("status")).to_have_text("2 of 2")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()


def test_hostile_data_do_nothing(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(render_gallery(replace(spoiled(facts(), HOSTILE), cards=True)))
    found = opened(browser, path, 1440, "light")
    expect(found.page.get_by_role("textbox")).to_have_value(f"{HOSTILE}\n{HOSTILE}".replace("\ud800", "?"))
    assert found.problems == []
    found.page.context.close()
