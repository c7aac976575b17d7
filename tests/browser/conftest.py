"""A browser, and pages that are opened in it from a disk, without a network."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from pipeline.report.page import render
from tests.pipeline.report.page.values import make_facts

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (390, 768, 1440)
SCHEMES = ("light", "dark")
POINTS = 1500
DRAWN = 60_000  # ms in which the figures are there, on a busy machine

expect.set_options(timeout=15_000)


@dataclass
class Opened:
    """A page in the browser, and all that it said or asked for that it should not."""

    page: Page
    width: int
    scheme: str
    problems: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    assert found, "no Chromium is installed: run .ci/packages"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found)
        yield browser
        browser.close()


def opened(browser: Browser, path: Path, width: int, scheme: str) -> Opened:
    """Open a page and wait until its figures are drawn."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)  # type: ignore[arg-type]
    page = context.new_page()
    found = Opened(page, width, scheme)
    own = path.as_uri()
    page.on("console", lambda m: found.problems.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: found.problems.append(str(error)))
    page.on("dialog", lambda dialog: (found.problems.append("a dialog of a script"), dialog.dismiss()))
    page.on("request", lambda r: None if r.url.startswith((own, "data:", "blob:")) else found.problems.append(r.url))
    page.goto(own)
    expect(page.locator(".js-plotly-plot")).to_have_count(page.locator("[data-figure]").count(), timeout=DRAWN)
    return found


@pytest.fixture(scope="session")
def report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(make_facts(POINTS)))
    return path


@pytest.fixture(scope="module", params=[(width, scheme) for width in WIDTHS for scheme in SCHEMES], ids=str)
def report(request: pytest.FixtureRequest, browser: Browser, report_file: Path) -> Iterator[Opened]:
    """The report of all sections, at three widths and in both colour schemes."""
    found = opened(browser, report_file, *request.param)
    yield found
    found.page.context.close()


@pytest.fixture
def page(report: Opened) -> Iterator[Page]:
    """The page of the report, at its top. It has said nothing that it should not when the test is over."""
    report.page.keyboard.press("Escape")
    report.page.evaluate("scrollTo(0, 0)")
    report.page.mouse.move(0, 0)
    yield report.page
    assert report.problems == []
