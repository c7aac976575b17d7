"""What a listing takes of a store that is 50 ms away: one page after another, and as the job lists.

    python -m benchmarks.listing [--names N]    prints the table of results/listing.md

The store is names in memory, and a request is a wait. So what is measured is how many requests wait for others: the
longest chain of requests, each of which began when the one before it had been answered.
"""

import argparse
import random
import sys
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence

from lake.storage.parallel_listing import list_objects
from lake.storage.remote_object import PAGE, ListedPage
from lake.storage.store import Stat

LATENCY = 0.05  # seconds of a request
_ROOT = "s3://lake/"
_HASH = random.Random(1)

LAYOUTS: dict[str, Callable[[int], str]] = {
    "numbered, in one directory": lambda number: f"part-{number:08d}.tar",
    "numbered without zeros": lambda number: f"img_{number}.jpg",
    "hashes, in one directory": lambda _: f"{_HASH.getrandbits(128):032x}.png",
    "1,000 in a directory": lambda number: f"{number // 1000:05d}/part-{number:08d}.npy",
    "3,000 in a directory": lambda number: f"dt={number // 3000:05d}/part-{number:08d}.parquet",
    "15,000 in a directory": lambda number: f"dt={number // 15_000:05d}/part-{number:08d}.parquet",
    "5 in a directory": lambda number: f"{number // 5:06d}/{number % 5}.png",
    "words, in one directory": lambda _: "".join(_HASH.choices("etaoinshrdlu-", k=_HASH.randint(6, 14))),
}


class Names:
    """A store of names.

    Attributes:
      requests: how many were made.
      chain: length of the longest chain of answered requests.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = sorted({_ROOT + name for name in names})
        self.requests = self.chain = 0

    def page(self, uri: str, *, deep: bool = True, after: str = "", token: str = "") -> ListedPage:
        """One answer, after a while."""
        self.requests, place = self.requests + 1, self.chain + 1
        time.sleep(LATENCY)
        self.chain = max(self.chain, place)
        begin = max(bisect_left(self._names, uri), bisect_right(self._names, token or after))
        if not deep:
            return ListedPage(stats=(), token="", directories=self._directories(uri, begin))
        found = self._names[begin : begin + PAGE]
        more = begin + PAGE < len(self._names)
        return ListedPage(
            stats=[Stat(uri=name, size=1, identity="1") for name in found], token=found[-1] if more else ""
        )

    def one_by_one(self) -> Iterator[Stat]:
        """All names, each page after the one before."""
        page = self.page(_ROOT)
        yield from page.stats
        while page.token:
            page = self.page(_ROOT, token=page.token)
            yield from page.stats

    def _directories(self, uri: str, begin: int) -> list[str]:
        found = list[str]()
        while begin < len(self._names) and len(found) < PAGE:
            end = self._names[begin].find("/", len(uri))
            found.append(self._names[begin][: end + 1])
            begin = bisect_left(self._names, found[-1][:-1] + "0")  # the character behind the slash
        return found


def row(layout: str, count: int) -> str:
    """One line of the table."""
    store = Names([LAYOUTS[layout](number) for number in range(count)])
    cells = list[str]()
    for listing in (store.one_by_one(), list_objects(store.page, _ROOT, deep=True)):
        store.requests, store.chain, began = 0, 0, time.monotonic()
        seen = sum(1 for _ in listing)
        cells += [f"{store.requests}", f"{store.chain}", f"{time.monotonic() - began:.1f} s"]
    return f"| {layout} | {seen:,} | {' | '.join(cells)} |"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, default=100_000)
    given = parser.parse_args()
    head = "| names | | one by one: requests | in a chain | | at once: requests | in a chain | |"
    print(head, "|---" * 8 + "|", sep="\n")
    for layout in LAYOUTS:
        print(row(layout, given.names), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
