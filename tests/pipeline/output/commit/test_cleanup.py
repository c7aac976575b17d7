"""What goes after a commit, and what is spared."""

import os
from pathlib import Path

import pytest

from lake.storage import store_for
from pipeline.output.commit import cleanup
from pipeline.output.commit.cleanup import data_sizes, leftovers, unfinished, unnamed
from pipeline.output.layout import DATA, Layout
from tests.pipeline.values import guard_for

KEPT = ["latents/a.parquet", "latents/b.parquet"]
STATE = ["_SUCCESS", "_job.json", "_manifest.parquet", "_hold", "_model/d1/model.json", "_plan/run-1/summary.json"]
LEAVINGS = ["_plan/run-1/part-00000.jsonl", "_plan/run-0/obsolete.json", "_receipts/a.json", "_receipts/dt=1/b.json"]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    write(tmp_path, *KEPT, *STATE, *LEAVINGS)
    return Layout(str(tmp_path))


def clean_up(layout: Layout, superseded: set[str], current: set[str], *, tidy: bool) -> None:
    """As at the end of a commit, by a run that holds the output until then."""
    (Path(layout.output) / "_hold").unlink(missing_ok=True)
    guard = guard_for(layout.output)
    cleanup.clean_up(layout, leftovers(layout, superseded, current, tidy=tidy), guard)


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def files(layout: Layout) -> list[str]:
    root = Path(layout.output)
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("tidy", [False, True])
def test_plans_and_receipts_go_and_summaries_stay(layout: Layout, tidy: bool) -> None:
    clean_up(layout, set(), set(KEPT), tidy=tidy)
    assert files(layout) == sorted(KEPT + STATE)
    assert [*unfinished(layout)] == []


def test_what_is_superseded_goes_unless_it_has_the_name_again(layout: Layout) -> None:
    write(Path(layout.output), "images/a.tar", "latents/x.parquet")
    superseded = {"latents/a.parquet", "images/a.tar", "images/never.tar"}
    clean_up(layout, superseded, {"latents/a.parquet"}, tidy=False)
    assert [name for name in files(layout) if not name.startswith("_")] == [*KEPT, "latents/x.parquet"]


def test_after_a_run_that_died_what_nothing_names_goes(layout: Layout) -> None:
    lost = [f"{directory}/dt=1/lost.bin" for directory in DATA]
    write(Path(layout.output), *lost, "other/file", "file")
    clean_up(layout, set(), set(KEPT), tidy=False)
    assert set(lost) < set(files(layout))
    clean_up(layout, set(), set(KEPT), tidy=True)
    assert files(layout) == sorted([*KEPT, *STATE, "other/file", "file"])


@pytest.mark.parametrize("name", ["latents/.index", "latents/_metadata", "images/a/.x", "images/a/_x", "rejects/._"])
def test_what_engines_keep_among_the_data_is_spared(layout: Layout, name: str) -> None:
    write(Path(layout.output), name)
    clean_up(layout, set(), set(KEPT), tidy=True)
    assert name in files(layout)


def test_only_the_last_part_of_a_name_says_so(layout: Layout) -> None:
    assert unnamed(["a/b", "_a/b", ".a/b.c", "a/_b", "a/.b", "c", "b_", "_c", ".c"], {"c"}) == [
        *(".a/b.c", "_a/b", "a/b", "b_")
    ]


def test_what_dead_writers_left_goes_and_a_living_one_is_cut_off(layout: Layout) -> None:
    store = store_for(layout.output)
    sink = store.create(layout.at("latents/c.parquet"))
    (left,) = Path(layout.output, "latents").glob(".latentlake-*")
    os.utime(left, (1, 1))
    clean_up(layout, set(), set(KEPT), tidy=False)
    assert not left.exists()
    sink.abort()
    other = store.create(layout.at("latents/d.parquet"))
    clean_up(layout, set(), set(KEPT), tidy=False)
    assert [*Path(layout.output, "latents").glob(".latentlake-*")] == []
    other.abort()


def test_what_is_unfinished(layout: Layout) -> None:
    assert sorted(unfinished(layout)) == sorted(layout.at(name) for name in LEAVINGS)
    assert [*unfinished(Layout(layout.at("nothing")))] == []


def test_sizes_of_the_data(layout: Layout) -> None:
    write(Path(layout.output), *(f"{directory}/a" for directory in DATA), "other/file")
    names = [*KEPT, *(f"{directory}/a" for directory in DATA)]
    assert data_sizes(layout) == {name: len(name) for name in names}


def test_leavings_go_last(layout: Layout) -> None:
    """While there are any, the next run looks for files that nothing names."""
    gone: list[str] = []
    store = store_for(layout.output)
    write(Path(layout.output), "latents/lost.parquet", "images/old.tar")
    kind = type(store)
    delete, sweep = kind.delete, kind.sweep
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "delete", lambda self, uri: (gone.append(uri), delete(self, uri))[1])
        patch.setattr(kind, "sweep", lambda self, *args: (gone.append("sweep"), sweep(self, *args))[1])
        clean_up(layout, {"images/old.tar"}, set(KEPT), tidy=True)
    assert gone[:3] == [layout.at("images/old.tar"), layout.at("latents/lost.parquet"), "sweep"]
    assert sorted(gone[3:]) == sorted(layout.at(name) for name in LEAVINGS)
