"""The how-to pages: each does what it says."""

from pathlib import Path

import pytest

from tests.examples.pages import ROOT, run_page

HOWTO = ROOT / "docs/howto"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_clean_micrographs(tmp_path: Path) -> None:
    _, plan, job, table, _ = run_page(HOWTO / "clean_micrographs.md", tmp_path)
    assert "to do          1       6        6" in plan and "6 results, 0 rejects" in job
    levels = [float(line.split()[2]) for line in table.splitlines()[1:]]
    assert len(levels) == 6 and all(abs(level - 1500 / 65535 * 255) < 0.3 for level in levels)


def test_find_duplicates(tmp_path: Path) -> None:
    *_, lists, pairs = run_page(HOWTO / "find_duplicates.md", tmp_path)
    dropped, leaked = (eval(line.partition(" ")[2]) for line in lists.splitlines())
    assert {"again10.png", "again20.png"} <= {*dropped}
    assert leaked == [f"{number:04d}.png" for number in range(300, 305)]
    assert all(f"seen{number}" in pairs for number in range(300, 305))


def test_my_own_format(tmp_path: Path) -> None:
    _, job, beam = run_page(HOWTO / "my_own_format.md", tmp_path)
    assert "500 results, 0 rejects" in job
    assert beam.strip() == "(128, 500)"
