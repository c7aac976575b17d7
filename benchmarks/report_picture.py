"""The picture of a report that the documentation shows: the first screen and the map, of the demo's digits."""

import argparse
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "benchmarks/results/report.png"
WIDTH, HEIGHT = 1200, 800  # pixels


def main() -> None:
    """Make the report of the demo's output, and two views of it below each other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path(".demo"), help="directory of the demo")
    demo: Path = parser.parse_args().output
    report = demo / "report.html"
    words = [sys.executable, "-m", "latentlake", "report", "tar-scored", "--output-file", report.name]
    subprocess.run(words, check=True, cwd=demo, env={**os.environ, "PYTHONPATH": str(ROOT)})
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(report.resolve().as_uri())
        expect(page.locator(".js-plotly-plot")).to_have_count(page.locator("[data-figure]").count(), timeout=60_000)
        first = view(page, "header")
        page.locator(".legend button", has_text="0").click()
        views = [first, view(page, "#map")]
        browser.close()
    sheet = Image.new("RGB", (WIDTH, sum(one.height for one in views)))
    for number, one in enumerate(views):
        sheet.paste(one, (0, sum(above.height for above in views[:number])))
    sheet.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes")


def view(page: Page, selector: str) -> Image.Image:
    """What the screen shows when an element is at its top."""
    page.locator(selector).first.evaluate("(one) => one.scrollIntoView({ behavior: 'instant' })")
    page.wait_for_timeout(500)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


if __name__ == "__main__":
    main()
