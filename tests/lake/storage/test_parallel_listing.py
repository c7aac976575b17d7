"""Listings by several requests at once: the same objects in the same order as one page after another gives."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from lake.storage import parallel_listing
from lake.storage.remote import PAGE, ListedPage
from lake.storage.store import Listing, Stat
from tests.lake.storage.memory_store import MemoryStore

ROOT = "mem://b/in"


class Names(MemoryStore):
    """A store of these names below the root, whose pages are found without a scan of all."""

    def __init__(self, names: Sequence[str], page: int = 20) -> None:
        super().__init__()
        self.sorted, self.size = sorted(f"{ROOT}/{name}" for name in names), page
        for name in self.sorted:
            self.write(name, b"x")

    def page(self, uri: str, *, most: int = PAGE, **which: object) -> ListedPage:
        return super().page(uri, most=min(most, self.size), **which)  # type: ignore[arg-type]

    def one_by_one(self, prefix: str, *, deep: bool = True) -> Iterator[Stat]:
        """As stores are listed by everybody: each page by the token of the one before."""
        page = self.page(prefix, deep=deep)
        yield from page.stats
        while page.token:
            page = self.page(prefix, deep=deep, token=page.token)
            yield from page.stats


def chosen(seed: int, count: int, characters: str) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices(characters, k=draw.randint(1, 12))) for _ in range(count)]


TREES: dict[str, list[str]] = {
    "none": [],
    "one page": [f"{number:03d}" for number in range(20)],
    "numbers": [f"part-{number:05d}-of-01000.tar" for number in range(1000)],
    "numbers without zeros": [f"n01440764_{number}.JPEG" for number in range(1500)],
    "hashes": [f"{random.Random(number).getrandbits(64):016x}.png" for number in range(1500)],
    "days": [f"dt=2026-{day:02d}/part-{number:04d}.parquet" for day in range(30) for number in range(45)],
    "tiny directories": [f"{number:04d}/a.tar" for number in range(900)],
    "one large directory": [
        *(f"a{n:02d}/x" for n in range(30)), *(f"b/{n:04d}" for n in range(900)), *(f"c{n:02d}/x" for n in range(40))
    ],
    "deep": [f"{n % 7}/{n % 5}/{n % 3}/{n:04d}" for n in range(1200)],
    "around the slash": chosen(1, 1200, "a.-/0!"),
    "unicode": chosen(2, 1200, "aé字😀\u0301/Z"),
    "odd": [*chosen(3, 900, " %?#+*&\\'\"/~"), *(f"{name}/" for name in chosen(4, 200, "ab/"))],
}  # fmt: skip


# Of all kinds, and such as every store takes.
MIXED = [
    *(f"day={day}/part-{number:03d}.tar" for day in range(5) for number in range(30)),
    *(f"flat/{number:04d}.png" for number in range(120)),
    *(f"x{end}" for end in ("-", "--/a", ".tar", "/y", "0", "é/ü", "字", "😀", " ", "%2F", "+", "a?b#c", "&=", "~")),
    *("empty/", "z/empty/", "z/y"),
]


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel_listing, "PAGE", 20)
    monkeypatch.setattr(parallel_listing, "_FEW", 5)


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("deep", [True, False], ids=["deep", "one level"])
@pytest.mark.parametrize("start", ["", "a", "part-00"])
def test_it_is_what_one_page_after_another_gives(tree: str, deep: bool, start: str) -> None:
    store = Names([name for name in {*TREES[tree]} if not name.startswith("/")])
    wanted = [stat for stat in store.one_by_one(f"{ROOT}/{start}", deep=deep) if not stat.uri.endswith("/")]
    plain = store.count("page")
    store.requests.clear()
    assert [*store.list(ROOT, Listing(start=start, deep=deep))] == wanted
    assert store.count("page") <= 2 * plain + 16, "guesses must not cost more than they save"


@pytest.mark.parametrize(
    ("tree", "pages"), [("numbers", 50), ("hashes", 75), ("days", 68), ("tiny directories", 45)], ids=str
)
def test_pages_are_asked_for_at_once(tree: str, pages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Names(TREES[tree])
    rounds = list[int]()

    def at_once(
        pool: object, work: Callable[[object], object], items: Sequence[object], ahead: int
    ) -> Iterator[object]:
        del pool
        assert len(items) <= ahead == 16
        rounds.append(len(items))
        return iter([work(item) for item in items])

    monkeypatch.setattr(parallel_listing, "ordered_map", at_once)
    assert len([*store.list(ROOT)]) == len(TREES[tree])
    assert len(rounds) <= pages / 4


def test_two_pages_are_two_requests() -> None:
    store = Names([f"{number:04d}" for number in range(40)])
    assert len([*store.list(ROOT)]) == 40
    assert store.count("page") == 2


def test_a_request_that_fails_fails_the_listing_at_its_place() -> None:
    store, names = Names(TREES["numbers"]), list[str]()

    def gone(request: str, uri: str) -> None:
        if store.count("page") == 30:
            raise FileNotFoundError("no such bucket")

    store.before = gone
    with pytest.raises(FileNotFoundError, match="no such bucket"):
        for stat in store.list(ROOT):
            names.append(stat.uri)
    assert 100 <= len(names) < 1000
    assert names == store.sorted[: len(names)]


class Ignoring(Names):
    """A server that begins at the beginning, wherever it is asked to begin."""

    def page(self, uri: str, *, most: int = PAGE, after: str = "", **which: object) -> ListedPage:
        return super().page(uri, most=most, **which)


class Shuffled(Names):
    """A store that gives no order, as directory buckets of S3 do."""

    def page(self, uri: str, *, most: int = PAGE, after: str = "", **which: object) -> ListedPage:
        page = super().page(uri, most=most, **which)
        return replace(page, stats=page.stats[::-1])


@pytest.mark.parametrize("store", [Ignoring, Shuffled])
@pytest.mark.parametrize("tree", ["numbers", "days", "one large directory"])
def test_a_store_that_cannot_begin_at_a_name_is_listed_page_by_page(store: type[Names], tree: str) -> None:
    listed = store(TREES[tree])
    assert [*listed.list(ROOT)] == [*listed.one_by_one(ROOT)]
