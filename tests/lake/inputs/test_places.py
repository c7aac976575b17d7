"""Names, braces, globs and links on a disk, and the same names on a store whose requests are counted."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lake import storage
from lake.core.errors import InputError
from lake.formats.reader import ColumnSelection
from lake.inputs.discover import find_shards
from lake.inputs.passed_over import PassedOver, Why
from lake.inputs.reference import find_reference, with_clean
from lake.inputs.units import make_units
from lake.storage.remote_object import PAGE
from tests.lake.storage.memory_store import MemoryStore


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryStore]:
    """A store under ``mem://``."""
    made = MemoryStore()
    monkeypatch.setitem(storage._STORES, "mem", ("", ""))
    opened = storage._open
    monkeypatch.setattr(storage, "_open", lambda scheme, options: made if scheme == "mem" else opened(scheme, options))
    yield made


class Tree:
    """The same files on a disk and on a store."""

    def __init__(self, root: Path, store: MemoryStore) -> None:
        self._root, self.store = root, store

    def write(self, *names: str) -> None:
        for name in names:
            (self._root / name).parent.mkdir(parents=True, exist_ok=True)
            (self._root / name).write_bytes(b"x")
            self.store.write(f"mem://b/{name}", b"x")

    def paths(self, *inputs: str) -> list[str]:
        """Paths of the shards, which are the same on both."""
        on_disk, there = (find_shards([f"{root}/{one}" for one in inputs]) for root in (self._root, "mem://b"))
        assert [shard.path for shard in on_disk.shards] == [shard.path for shard in there.shards]
        assert on_disk.passed_over == there.passed_over
        return [shard.path for shard in there.shards]

    def refuses(self, *inputs: str) -> None:
        for root in (self._root, "mem://b"):
            with pytest.raises(InputError):
                find_shards([f"{root}/{one}" for one in inputs])


@pytest.fixture
def tree(tmp_path: Path, store: MemoryStore) -> Tree:
    return Tree(tmp_path, store)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("photo[1].png", ["photo[1].png"]),  # not photo1.png
        ("data [v2]", ["[q]/y.png", "q/z.png", "x.png"]),
        ("data [v2]/", ["[q]/y.png", "q/z.png", "x.png"]),
        ("data [v2]/*.png", ["x.png"]),
        ("data [v2]/[q]/*.png", ["y.png"]),
        ("data [uv]/*.png", ["data v/y.png"]),
        ("{a}{1..2}.png", ["{a}{1..2}.png"]),  # nor is this one made of braces
        ("really?.png", ["really?.png"]),
        ("photo[12].png", ["photo1.png"]),
        ("data v/*.png", ["y.png"]),
    ],
)
def test_an_existing_name_wins_over_what_it_could_stand_for(tree: Tree, given: str, expected: list[str]) -> None:
    tree.write("photo[1].png", "photo1.png", "data [v2]/x.png", "data v/y.png", "{a}{1..2}.png", "really?.png")
    tree.write("reallyX.png", "data [v2]/[q]/y.png", "data [v2]/q/z.png", "data 2/w.png")
    assert tree.paths(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("s-{000..002}.tar", ["s-000.tar", "s-001.tar", "s-002.tar"]),
        ("s-{002..000..2}.tar", ["s-000.tar", "s-002.tar"]),
        ("s-{000..002}.{tar,tgz}", None),  # one of them does not exist
        ("s-0{00,1{0..1}}.tar", ["s-000.tar", "s-010.tar", "s-011.tar"]),
        ("{d,e}/", ["d/x.tar", "e/x.tar"]),
        ("{d,e}/*.tar", ["d/x.tar", "e/x.tar"]),
        ("s-{000..003}.tar", None),
        ("s-{a..c}.tar", ["s-a.tar", "s-b.tar", "s-c.tar"]),
        ("{d,e", None),
    ],
)
def test_braces(tree: Tree, given: str, expected: list[str] | None) -> None:
    tree.write(*(f"s-{name}.tar" for name in ("000", "001", "002", "010", "011", "a", "b", "c")), "d/x.tar", "e/x.tar")
    if expected is None:
        tree.refuses(given)
    else:
        assert tree.paths(given) == expected


HIDDEN = ("_DSC1.png", ".b.png", "_old/a.png", ".git/a.png", "c/_DSC2.png", "c/.d/a.png", "c/e.png", "c/_x/_y.png")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", ["_DSC1.png", "c/_DSC2.png", "c/e.png"]),  # cameras name files so
        ("*.png", ["_DSC1.png"]),
        ("_DSC*.png", ["_DSC1.png"]),
        (".*.png", [".b.png"]),
        ("[.]b.png", [".b.png"]),
        ("_*/*.png", ["_old/a.png"]),
        (".git/*.png", ["a.png"]),
        ("*/*.png", ["c/_DSC2.png", "c/e.png"]),
        ("**/*.png", ["_DSC1.png", "c/_DSC2.png", "c/e.png"]),
        ("**/_*.png", ["_DSC1.png", "c/_DSC2.png"]),
        ("**/.d/*", ["c/.d/a.png"]),
        ("c/_x/**", ["_y.png"]),
        ("c/**", ["_DSC2.png", "e.png"]),
        ("**/_x/_*", ["c/_x/_y.png"]),
        ("?git/*.png", None),
        ("[!x]git/*.png", None),
    ],
)
def test_hidden_names_are_reached_where_the_pattern_says_so(tree: Tree, given: str, expected: list[str] | None) -> None:
    tree.write(*HIDDEN)
    if expected is None:
        tree.refuses(given)
    else:
        assert tree.paths(given) == expected


def test_markers_stay_hidden_and_are_named(tree: Tree) -> None:
    markers = ("_SUCCESS", "_metadata", "_common_metadata", ".part.crc", "_manifest.parquet", "_delta_log/0.parquet")
    tree.write("a.parquet", "_b.parquet", *markers, "_delta_log/1.parquet")
    assert tree.paths("") == ["_b.parquet", "a.parquet"]
    for root in (str(tree._root), "mem://b"):
        (met,) = find_shards([root]).passed_over.items()
        assert met[0] is Why.HIDDEN and met[1].count == 6
        assert set(met[1].examples) < {*markers[:5], "_delta_log/"}


def test_only_some_names_are_kept(tree: Tree) -> None:
    tree.write("a.png", *(f"{number:02}.txt" for number in range(20)))
    (met,) = find_shards(["mem://b"]).passed_over.values()
    assert met == PassedOver(count=20, examples=("00.txt", "01.txt", "02.txt", "03.txt", "04.txt"))


def link(at: Path, target: str | Path) -> None:
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(target)


def test_links_that_stay_in_the_input_are_followed(tmp_path: Path) -> None:
    (tmp_path / "in/.annex/objects").mkdir(parents=True)
    (tmp_path / "in/.annex/objects/1").write_bytes(b"x")
    (tmp_path / "in/d").mkdir()
    (tmp_path / "in/d/b.png").write_bytes(b"x")
    link(tmp_path / "in/a.png", ".annex/objects/1")
    link(tmp_path / "in/c", "d")
    found = find_shards([str(tmp_path / "in")])
    assert [shard.path for shard in found.shards] == ["a.png", "c/b.png", "d/b.png"]
    assert found.shards[0].identity == f"1-{(tmp_path / 'in/a.png').stat().st_mtime_ns}"


def test_links_out_of_the_input_are_followed_when_asked_for(tmp_path: Path) -> None:
    for name in ("in/a.png", "secret/b.png", "secret/c.png", "secret/d/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    link(tmp_path / "in/b.png", "../secret/b.png")
    link(tmp_path / "in/notes.txt", "../secret/b.png")
    link(tmp_path / "in/d", tmp_path / "secret/d")
    found = find_shards([str(tmp_path / "in")])
    assert [shard.path for shard in found.shards] == ["a.png"]
    assert found.passed_over[Why.LINK_OUTSIDE] == PassedOver(count=3, examples=("b.png", "d/", "notes.txt"))
    assert find_shards([f"{tmp_path}/in/*.png"]).passed_over[Why.LINK_OUTSIDE].examples == ("b.png",)
    asked = find_shards([str(tmp_path / "in")], follow_links=True)
    assert [shard.path for shard in asked.shards] == ["a.png", "b.png", "d/e.png"]
    assert list(asked.followed) == [os.path.realpath(tmp_path / "secret/d")]
    # What was named itself is meant, and so is a link between two inputs.
    assert [shard.path for shard in find_shards([f"{tmp_path}/in/b.png"]).shards] == ["b.png"]
    both = find_shards([f"{tmp_path}/in", f"{tmp_path}/secret"])
    assert [shard.path for shard in both.shards if shard.path.startswith("in")] == [
        "in/a.png",
        "in/b.png",
        "in/d/e.png",
    ]
    link(tmp_path / "alone/b.png", "../secret/b.png")
    with pytest.raises(InputError, match=r"1 links that lead out of the input, which --follow-links reads \(b\.png\)"):
        find_shards([str(tmp_path / "alone")])
    with pytest.raises(InputError, match=r"matches only links that lead out of .*alone \(b\.png\); --follow-links"):
        find_shards([f"{tmp_path}/alone/*.png"])


def test_links_that_lead_back_are_named_and_hide_nothing(tmp_path: Path) -> None:
    for name in ("in/a.png", "in/d/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    link(tmp_path / "in/d/up", "..")
    link(tmp_path / "in/d/one.png", "two.png")
    link(tmp_path / "in/d/two.png", "one.png")
    found = find_shards([str(tmp_path / "in")])
    assert [shard.path for shard in found.shards] == ["a.png", "d/b.png", "d/one.png", "d/two.png"]
    assert found.passed_over[Why.LINK_LOOP] == PassedOver(count=1, examples=("d/up/",))
    assert found.passed_over[Why.LINK_MISSING] == PassedOver(count=2, examples=("d/one.png", "d/two.png"))
    assert [one.uri for one in storage.store_for(str(tmp_path)).list(str(tmp_path / "in"))] == [
        f"{tmp_path}/in/a.png",
        f"{tmp_path}/in/d/b.png",
    ], "of an output nothing else is listed"


def test_a_link_to_nothing_that_was_named(tmp_path: Path) -> None:
    link(tmp_path / "a.tar", ".git/annex/objects/1")
    with pytest.raises(InputError, match=r"a\.tar: a link to \.git/annex/objects/1, which does not exist; fetch it"):
        find_shards([f"{tmp_path}/a.tar"])


def stats(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are asked for one by one on the disk."""
    asked: list[str] = []
    stat = Path.stat
    monkeypatch.setattr(Path, "stat", lambda self, **how: (asked.append(str(self)), stat(self, **how))[1])
    return asked


@pytest.mark.parametrize("given", ["big/*.png", "big/s*/[a]/*.png", "*/*.png"])
def test_directories_without_matches_are_not_looked_into(
    tree: Tree, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.write("big/1.png", "big/s/a/1.png", *(f"big/deep/{n}/{n}.png" for n in range(300)))
    asked = stats(monkeypatch)
    found = find_shards([f"{tree._root}/{given}"])
    assert len(found.shards) == 1
    assert len(asked) < 12


@pytest.mark.parametrize(
    ("given", "listings"),
    [
        ("big/*.png", [("mem://b/big/", False)]),
        ("big/a*.png", [("mem://b/big/a", False)]),
        ("big/a-?/x*.png", [("mem://b/big/a-", True)]),
        ("**/*.png", [("mem://b/", True)]),
        ("big", [("mem://b/big/", True)]),
    ],
)
def test_a_glob_is_one_listing_with_its_prefix(
    tree: Tree, given: str, listings: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.write("big/a.png", "big/b.png", "big/a-1/x1.png", "big/a-1/y.png", "big/deep/z.png")
    made: list[tuple[str, bool]] = []
    page = tree.store.page
    monkeypatch.setattr(
        tree.store,
        "page",
        lambda uri, *, most=PAGE, deep=True: (
            made.append((uri, deep)) if most == PAGE else None,
            page(uri, most=most, deep=deep),
        )[1],
    )
    assert find_shards([f"mem://b/{given}"]).shards
    assert made == listings
    assert len(tree.store.requests) <= 3, "beside the listing, whether there is an object or directory of this name"


def test_many_names_of_one_directory_are_one_listing(tree: Tree) -> None:
    tree.write(*(f"d/s-{number:04}.tar" for number in range(500)), *(f"d/t-{number:04}.tar" for number in range(500)))
    found = find_shards(["mem://b/d/s-{0000..0499}.tar"])
    assert [shard.path for shard in found.shards] == [f"s-{number:04}.tar" for number in range(500)]
    assert len(tree.store.requests) <= 3
    tree.store.requests.clear()
    assert len(find_shards([f"mem://b/d/t-{number:04}.tar" for number in range(500)]).shards) == 500
    assert tree.store.requests == [("page", "mem://b/d/t-0")]
    with pytest.raises(InputError, match=r"s-0500\.tar: no such file"):
        find_shards(["mem://b/d/s-{0000..0500}.tar"])


def test_references_are_paired_without_a_request_for_each(tree: Tree) -> None:
    names = [f"{number:04}.png" for number in range(300)]
    tree.write(*(f"noisy/{name}" for name in names), *(f"clean/{name}" for name in names))
    found = find_shards(["mem://b/noisy"])
    _, clean = find_reference(["mem://b/clean"], found, ColumnSelection())
    units = [with_clean(unit, clean) for unit in make_units(found)]
    assert len(tree.store.requests) <= 6
    pairs = [pair for unit in units for pair in zip(unit.shards, unit.clean, strict=True)]
    assert len(pairs) == 300
    for noisy, beside in pairs:
        uri = noisy.uri.replace("noisy", "clean")
        stat = tree.store.stat(uri)
        assert stat is not None
        assert beside == replace(noisy, uri=uri, path=uri, identity=stat.identity)
