"""Lists many objects by several requests at once, in the order of their URIs.

A store's answer has a thousand names, and says how to ask for the next thousand: one request waits for another. But a
request can also name where it begins, so ranges of names can be listed side by side. Where they are cut is guessed from
the names seen so far: at the next directories, which one request tells, or in one directory by reckoning the names on.
Ranges cover all names, so a guess decides how fast a listing is, never what it finds.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise, takewhile
from typing import TypeAlias

from lake.core.ordered_map import ordered_map
from lake.storage.name_steps import common_start, names_ahead
from lake.storage.remote_object import PAGE, ListedPage
from lake.storage.store import Stat

_WIDTH = 16  # most requests at once
_PAGES = 4  # most pages of a range that are read before it is cut
_FEW = 50  # directories of a page; if there are more, their names are reckoned on as those of files are
Ask: TypeAlias = Callable[..., ListedPage]  # as RemoteStore.page, with its URI


def list_objects(ask: Ask, prefix: str, *, deep: bool) -> Iterator[Stat]:
    """List all objects whose URIs begin with a prefix, in URI order.

    Up to two pages are asked for one after the other. Of more, two are asked for at once, then four, and so on up to
    16 as long as they are at least half full; memory holds no more.

    Args:
      ask: one request, as ``RemoteStore.page``.
      prefix: the prefix.
      deep: also those with a slash after the prefix.

    Raises:
      OSError: a request failed, after the objects before it.
    """
    page = ask(prefix, deep=deep)
    yield from page.stats
    if page.token:
        with ThreadPoolExecutor(_WIDTH, thread_name_prefix="list") as pool:
            yield from _Ranges(partial(ask, prefix, deep=deep), ask, prefix, pool).after(_Part("", None, page))


@dataclass(frozen=True, slots=True)
class _Part:
    """The first page of a range of names.

    Attributes:
      after: what comes before the range.
      last: the last name that belongs to it; None for no end.
      page: the page; it may go on behind the range.
    """

    after: str
    last: str | None
    page: ListedPage

    @property
    def stats(self) -> Sequence[Stat]:
        """Those of the page's objects that are in the range."""
        if self.last is None or not self.page.stats or self.page.stats[-1].uri <= self.last:
            return self.page.stats
        return [stat for stat in self.page.stats if stat.uri <= self.last]

    @property
    def goes_on(self) -> bool:
        """Whether the range may have more objects than the page."""
        return bool(self.page.token) and len(self.stats) == len(self.page.stats)

    @property
    def in_order(self) -> bool:
        """Whether the store gives objects in order, after the name that it was given."""
        uris = [self.after, *(stat.uri for stat in self.page.stats)]
        return all(one < other for one, other in pairwise(uris))


class _Ranges:
    """What is known of one listing while it goes on."""

    def __init__(self, ask: Ask, ask_directory: Ask, prefix: str, pool: ThreadPoolExecutor) -> None:
        self._ask, self._ask_directory, self._prefix, self._pool = ask, ask_directory, prefix, pool
        self._children: tuple[str, list[str]] = "", []  # a directory, and the next ones in it

    def after(self, part: _Part, width: int = 1) -> Iterator[Stat]:
        """The objects of a range behind its first pages, by at first so many requests at once."""
        while part.goes_on:
            # The first range begins where the page ends, and the store's own token says where that is.
            ranges, token, kept = [*pairwise(["", *self._cuts(part, width - 1), part.last])], part.page.token, 0
            for new in ordered_map(self._pool, partial(self._listed, token, part.last), ranges, _WIDTH):
                if not new.in_order:  # the store does not know how to begin at a name, or gives no order at all
                    yield from self._one_by_one(token, new.after, part.last)
                    return
                yield from new.stats
                kept += len(new.stats)
                if new.last != part.last:
                    yield from self.after(new, _PAGES)
            width = min(_WIDTH, 2 * width) if 2 * kept >= PAGE * len(ranges) else max(1, width // 2)
            part = new

    def _listed(self, token: str, end: str | None, between: tuple[str, str | None]) -> _Part:
        """The first pages of a range; of the last one, which may be very long, one page."""
        after, last = between
        page = self._ask(after=after) if after else self._ask(token=token)
        part, pages = _Part(after, last, page), 1
        while part.goes_on and (not page.stats or (last != end and pages < _PAGES)):
            page, pages = self._ask(token=page.token), pages + 1
            part = _Part(after, last, replace(page, stats=[*part.page.stats, *page.stats]))
        return part

    def _one_by_one(self, token: str, after: str, last: str | None) -> Iterator[Stat]:
        while token:
            page = self._ask(token=token)
            yield from (stat for stat in page.stats if stat.uri > after and (last is None or stat.uri <= last))
            token = page.token if last is None or not page.stats or page.stats[-1].uri <= last else ""

    def _cuts(self, part: _Part, most: int) -> Sequence[str]:
        """Where the names behind a page are cut into ranges of about a page."""
        names = [stat.uri for stat in part.page.stats[-PAGE:]]
        if most == 0 or not names or part.page.directories:
            return ()
        # Where a range began with a directory, those beside it come next.
        base = _directory(common_start(part.after.rstrip("/") or names[0], names[-1]))
        base = max(base, _directory(self._prefix), key=len)
        held = len({name[len(base) :].partition("/")[0] for name in names if "/" in name[len(base) :]})
        if 0 < held <= _FEW:
            cuts: Iterable[str] = self._directories(base, names[-1], max(1, held - 1))
        else:
            cuts = names_ahead(names, len(base))
        return [*islice(takewhile(lambda cut: part.last is None or cut < part.last, cuts), most)]

    def _directories(self, base: str, last: str, step: int) -> Sequence[str]:
        """The next directories below a common one, so many of them apart."""
        known, children = self._children
        children = [child for child in children if child > last] if known == base else []
        if not children:
            asked = self._ask_directory(base, deep=False, after=last)
            children = [child for child in asked.directories if child > last]
        self._children = base, children
        return children[step - 1 :: step]


def _directory(uri: str) -> str:
    return uri[: uri.rfind("/") + 1]
