"""The page of a report in a browser: what is drawn, and what a mouse and a keyboard do with it."""

import io
import math
import re
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from pipeline.report.distributions import LatentMap
from pipeline.report.page import render
from pipeline.report.shown import ImageFacts
from tests.browser.conftest import POINTS, WIDTHS, Opened, opened
from tests.browser.contrast import CONTRAST
from tests.pipeline.report.page.test_render import HOSTILE, spoiled
from tests.pipeline.report.page.values import SENTENCE, make_facts, photograph

POSITIONS = """(element) => {
  const { xaxis, yaxis } = element._fullLayout, box = element.getBoundingClientRect(), [{ x, y }] = element.data;
  const left = box.left + xaxis._offset, top = box.top + yaxis._offset;
  return Array.from(x, (one, at) => [left + xaxis.l2p(one), top + yaxis.l2p(y[at])]);
}"""
BROKEN = """(all) => all.filter((one) => one.checkVisibility() && !(one.complete && one.naturalWidth))
  .map((one) => one.outerHTML.slice(0, 200))"""


def shot(where: Locator) -> np.ndarray:
    """A picture of an element, uint8 ``[H, W, 3]``."""
    return np.asarray(Image.open(io.BytesIO(where.screenshot())).convert("RGB"))


def the_map() -> LatentMap:
    latents = make_facts(POINTS).latents
    assert latents is not None and latents.map is not None
    return latents.map


def map_in_view(page: Page) -> tuple[Locator, np.ndarray]:
    """The map, and where on the screen its points are, float64 ``[n, 2]``."""
    plot = page.locator("[data-figure=map]")
    page.get_by_role("button", name="Reset").click()
    plot.evaluate("(element) => element.scrollIntoView({ block: 'center', behavior: 'instant' })")
    page.wait_for_timeout(300)
    return plot, np.array(plot.evaluate(POSITIONS))


def chosen(page: Page) -> list[str]:
    return page.get_by_label("Keys of the chosen records").input_value().splitlines()


def test_first_screen(page: Page, report: Opened) -> None:
    title = page.get_by_role("heading", level=1)
    expect(title).to_have_text(SENTENCE)
    first = page.locator(".look .shot").first
    expect(first).to_be_in_viewport()
    images = page.locator(".look").first.locator("img")
    assert images.count() == 12
    assert images.evaluate_all("(all) => all.every((one) => one.complete && one.naturalWidth > 0)")
    if report.width == 1440:
        expect(images.last).to_be_in_viewport()


def test_nothing_is_wider_than_the_screen(page: Page, report: Opened) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= report.width


def test_all_pictures_are_there(page: Page) -> None:
    assert page.locator("img").evaluate_all(BROKEN) == []


def test_every_figure_is_drawn(page: Page) -> None:
    for figure in page.locator("[data-figure]:not([data-figure=map])").all():
        name = figure.get_attribute("data-figure")
        marks = figure.locator(".barlayer path, .scatterlayer path")
        assert marks.count() > 0, name
        assert figure.bounding_box()["width"] > 250, name  # type: ignore[index]


def test_the_map_is_drawn_with_webgl(page: Page) -> None:
    plot, positions = map_in_view(page)
    assert "WebGL" not in plot.inner_text()
    assert plot.evaluate("(element) => element.data[0].type") == "scattergl"
    box = plot.bounding_box()
    assert box is not None
    pixels = shot(plot).astype(int)
    at = np.round(positions - [box["x"], box["y"]]).astype(int)
    ground = pixels[3, 3]
    there = np.abs(pixels[at[:, 1], at[:, 0]] - ground).sum(1) > 60
    assert there.mean() > 0.97


def test_points_have_the_colours_of_their_label(page: Page) -> None:
    plot, _ = map_in_view(page)
    page.get_by_label("Colour by").select_option(label="mse")
    expect(page.locator(".legend button")).to_have_count(0)
    by_error = shot(plot)
    page.get_by_label("Colour by").select_option(label="label")
    expect(page.locator(".legend button")).to_have_count(10)
    page.wait_for_timeout(300)
    assert np.abs(shot(plot).astype(int) - by_error).mean() > 0.3


def test_hover_shows_the_thumbnail_and_the_key(page: Page) -> None:
    shown, card = the_map(), page.locator(".hover")
    _, positions = map_in_view(page)
    gaps = np.linalg.norm(positions[:, None] - positions[list(shown.thumbnails)], axis=2)
    gaps[list(shown.thumbnails), np.arange(len(shown.thumbnails))] = np.inf
    row = [*shown.thumbnails][int(gaps.min(0).argmax())]  # the one that is least covered by others
    page.mouse.move(*(positions[row] - 30).tolist())
    page.mouse.move(*positions[row].tolist(), steps=4)
    expect(card).to_be_visible()
    expect(card).to_contain_text(shown.records[row].key)
    expect(card).to_contain_text(f"label: {int(shown.colors[0].values[row])}")
    width = card.locator("img").evaluate("(one) => one.naturalWidth")
    assert width == shown.thumbnails[row].width


def test_lasso_gives_the_keys(page: Page) -> None:
    shown = the_map()
    plot, positions = map_in_view(page)
    label = shown.colors[0].values == 4
    centre, radius = (
        positions[label].mean(0),
        0.8 * np.linalg.norm(positions[label] - positions[label].mean(0), axis=1).max(),
    )
    box = plot.bounding_box()
    assert box is not None
    ring = [centre + radius * np.array([math.cos(a), math.sin(a)]) for a in np.linspace(0, 2 * math.pi, 40)]
    low, high = (
        np.array([box["x"] + 12, box["y"] + 12]),
        np.array([box["x"] + box["width"] - 12, box["y"] + box["height"] - 50]),
    )
    ring = [point.clip(low, high) for point in ring]
    page.mouse.move(*ring[0].tolist())
    page.mouse.down()
    for point in ring[1:]:
        page.mouse.move(*point.tolist())
    page.mouse.up()
    expect(page.locator(".count")).to_contain_text("chosen")
    expect(page.locator(".count")).not_to_contain_text("No records")
    keys = [record.key for record in shown.records]
    inside = _inside(positions, np.array(ring))
    edge = np.min([np.linalg.norm(positions - point, axis=1) for point in ring], axis=0) < 12
    assert {keys[row] for row in np.flatnonzero(inside & ~edge)} <= set(chosen(page))
    assert set(chosen(page)) <= {keys[row] for row in np.flatnonzero(inside | edge)}
    assert len(chosen(page)) > 20
    strip = page.locator(".strip img")
    expected = min(30, sum(key in set(chosen(page)) for key in (keys[row] for row in shown.thumbnails)))
    expect(strip).to_have_count(expected)
    page.get_by_role("button", name="Copy keys").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()


def _inside(points: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Which points a polygon holds, by the crossings of a ray."""
    found = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, 0), strict=True):
        crosses = (y0 > points[:, 1]) != (y1 > points[:, 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            found ^= crosses & (points[:, 0] < (x1 - x0) * (points[:, 1] - y0) / (y1 - y0) + x0)
    return found


def test_records_are_chosen_by_key_and_by_colour(page: Page) -> None:
    shown = the_map()
    map_in_view(page)
    page.get_by_role("searchbox", name="Find").fill("00123")
    expected = [record.key for record in shown.records if "00123" in record.key]
    expect(page.locator(".count")).to_have_text(f"{len(expected)} records chosen")
    assert chosen(page) == expected
    third = page.get_by_role("group", name="Choose by colour").get_by_role("button").nth(3)
    third.focus()
    page.keyboard.press("Enter")
    expect(third).to_have_attribute("aria-pressed", "true")
    assert chosen(page) == [r.key for r, label in zip(shown.records, shown.colors[0].values, strict=True) if label == 3]
    page.keyboard.press("Enter")
    assert chosen(page) == []


def test_slider_by_keyboard_shows_before_and_after(page: Page) -> None:
    stage = page.locator("#stage")
    slider, frame = stage.get_by_role("slider"), stage.locator(".frame")
    slider.focus()
    page.keyboard.press("End")
    expect(slider).to_have_value("100")
    only_before = shot(frame)
    page.keyboard.press("Home")
    only_after = shot(frame)
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "1% before, 99% after")
    compared = photograph(0).comparison
    assert compared is not None
    for got, wanted, other in (
        (only_before, compared.before, compared.after),
        (only_after, compared.after, compared.before),
    ):
        size = got.shape[1], got.shape[0]
        here, there = (np.asarray(Image.open(io.BytesIO(one.data)).resize(size)).astype(int) for one in (wanted, other))
        middle = slice(size[1] // 4, size[1] // 2), slice(size[0] // 4, size[0] // 2)
        assert np.abs(got[middle] - here[middle]).mean() < 0.8 * np.abs(got[middle] - there[middle]).mean()


def test_dragging_moves_the_slider(page: Page) -> None:
    frame = page.locator("#stage .frame")
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 20, steps=5)
    page.mouse.up()
    assert 22 <= int(page.locator("#stage").get_by_role("slider").input_value()) <= 28


def test_a_click_shows_a_part_pixel_for_pixel(page: Page) -> None:
    stage = page.locator("#stage")
    button = stage.get_by_role("button", name="1:1 crop")
    stage.locator(".frame").click()
    expect(button).to_have_attribute("aria-pressed", "true")
    image = stage.locator(".frame .after")
    compared = photograph(0).comparison
    assert compared is not None and compared.crop_after is not None
    box = image.bounding_box()
    assert box is not None and (box["width"], box["height"]) == (compared.crop_after.width, compared.crop_after.height)
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(stage.get_by_alt_text("Difference of the image")).to_be_visible()


def test_the_viewer_by_keyboard(page: Page) -> None:
    tile = page.locator(".look .shot").first
    tile.focus()
    page.keyboard.press("Enter")
    viewer = page.get_by_role("dialog")
    expect(viewer.get_by_role("heading")).to_have_text("holiday/0000.jpg")
    page.keyboard.press("ArrowRight")
    expect(viewer.get_by_role("heading")).to_have_text("holiday/0001.jpg")
    expect(viewer.get_by_role("status")).to_have_text("2 of 12")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(viewer.get_by_role("heading")).to_have_text("digits/000003.png")
    expect(viewer.get_by_role("slider")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(tile).to_be_focused()


def test_the_keyboard_reaches_the_content_first(page: Page) -> None:
    page.evaluate("document.body.tabIndex = -1; document.body.focus()")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    outline = skip.evaluate("(one) => getComputedStyle(one).outlineStyle + getComputedStyle(one).outlineWidth")
    assert outline == "solid3px"


def test_structure_for_screen_readers(page: Page) -> None:
    for role in ("banner", "main", "contentinfo"):
        expect(page.get_by_role(role)).to_have_count(1)
    expect(page.get_by_role("navigation", name="Sections")).to_have_count(1)
    levels = page.locator("h1, h2, h3").evaluate_all(
        "(all) => all.filter((one) => !one.closest('dialog')).map((one) => Number(one.tagName[1]))"
    )
    assert levels.count(1) == 1 and all(after - before <= 1 for before, after in pairwise(levels))
    nameless = re.compile(r"\s*- (button|link|slider|combobox|searchbox|textbox|img|table|region|dialog)(:.*| \[.*)?")
    assert [line for line in page.locator("body").aria_snapshot().splitlines() if nameless.fullmatch(line)] == []


def test_texts_have_contrast(page: Page) -> None:
    assert page.evaluate(CONTRAST) == []


def test_contents_lead_to_the_sections(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.get_by_role("navigation").get_by_role("link", name="Rejects").click()
    expect(page.get_by_role("heading", name="Rejects")).to_be_in_viewport()
    expect(page.locator("[aria-current]")).to_have_text("Rejects")


def test_figures_follow_the_colour_scheme(page: Page, report: Opened) -> None:
    bar = page.locator("[data-figure=noise] .point path").first
    before = bar.evaluate("(one) => getComputedStyle(one).fill")
    page.emulate_media(color_scheme="light" if report.scheme == "dark" else "dark")
    expect(bar).not_to_have_css("fill", before)
    page.emulate_media(color_scheme=report.scheme)  # type: ignore[arg-type]
    expect(bar).to_have_css("fill", before)


def test_it_prints(page: Page, report: Opened) -> None:
    pdf = page.pdf(format="A4", print_background=True)
    assert pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page\n") >= 4
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 720, "height": 1000})
    page.wait_for_timeout(500)
    widths = page.locator(".plot .main-svg").evaluate_all(
        "(all) => all.map((one) => one.getBoundingClientRect().right)"
    )
    assert max(widths) <= 720
    expect(page.get_by_role("navigation")).to_be_hidden()
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": report.width, "height": 900})


@pytest.mark.timeout(300)
def test_long_words_are_broken(browser: Browser, tmp_path: Path) -> None:
    """Keys, paths and reasons without a space, also in place of images that are gone."""
    path = tmp_path / "long.html"
    path.write_text(render(without_pictures(spoiled(make_facts(200), "/lake/" + "W" * 300))))
    for width in WIDTHS:
        found = opened(browser, path, width, "light")
        assert found.page.evaluate("document.documentElement.scrollWidth") <= width
        spilled = found.page.locator(".nothing").evaluate_all(
            "(all) => all.filter((e) => e.scrollWidth > e.clientWidth)"
        )
        assert spilled == []
        names = found.page.locator("#partitions tbody th").evaluate_all("(all) => all.map((e) => e.offsetWidth)")
        assert min(names) >= 140  # and not one character a line
        assert found.problems == []
        found.page.context.close()


def without_pictures(value: Any) -> Any:
    """Facts of the same form in which no image is there."""
    if is_dataclass(value) and not isinstance(value, type):
        kept = {one.name: without_pictures(getattr(value, one.name)) for one in fields(value)}
        return replace(value, **(kept | {"picture": None} if isinstance(value, ImageFacts) else kept))
    return [without_pictures(one) for one in value] if isinstance(value, list | tuple) else value


@pytest.mark.timeout(300)
def test_hostile_data_do_nothing(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(render(spoiled(make_facts(200), HOSTILE)))
    found = opened(browser, path, 1440, "light")
    found.page.locator(".look .shot").first.click()
    expect(found.page.get_by_role("dialog").get_by_role("heading")).to_contain_text("</script><script>alert(1)")
    found.page.keyboard.press("Escape")
    found.page.get_by_role("searchbox", name="Find").fill("script")
    expect(found.page.locator(".count")).to_have_text("200 records chosen")
    assert found.problems == []
    found.page.context.close()
