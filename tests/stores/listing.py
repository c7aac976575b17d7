"""A listing by several requests at once, of a real server: what all stores must give."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from lake.storage import parallel_listing, store_for
from lake.storage.remote import RemoteStore
from tests.lake.storage.test_parallel_listing import MIXED


def check_listing(
    uri: str, put: Callable[[str, bytes], object], monkeypatch: pytest.MonkeyPatch, *, deep: bool
) -> None:
    """Names of many kinds are listed as they are sorted, by pages of 20.

    Args:
      uri: of an empty bucket.
      put: writes an object of it, by its name.
      monkeypatch: of the test.
      deep: also those in directories.
    """
    with ThreadPoolExecutor(16) as writers:
        assert [*writers.map(lambda name: put(f"in/{name}", b"x"), MIXED)]
    store = store_for(uri)
    assert isinstance(store, RemoteStore)
    monkeypatch.setattr(parallel_listing, "PAGE", 20)
    for start in ("", "day", "flat/00", "x"):
        prefix = f"{uri}/in/{start}"
        found = [stat.uri for stat in parallel_listing.list_objects(partial(store.page, most=20), prefix, deep=deep)]
        names = [name for name in MIXED if name.startswith(start) and (deep or "/" not in name[len(start) :])]
        assert found == [f"{uri}/in/{name}" for name in sorted(names, key=str.encode)]
