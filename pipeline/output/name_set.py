"""A set of very many names in little memory."""

from collections.abc import Container, Iterable

import numpy as np


class NameSet(Container[str]):
    """A set of very many names in eight bytes each, their hashes. Of 10^13 names that are not in it, one seems to be.

    Args:
      names: the names.

    >>> names = NameSet(["latents/a.parquet", "latents/b.parquet"])
    >>> "latents/a.parquet" in names, "latents/c.parquet" in names, names.may_repeat
    (True, False, False)
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._hashes = np.sort(np.fromiter(map(hash, names), np.int64))

    def __contains__(self, name: object) -> bool:
        at = np.searchsorted(self._hashes, hash(name))
        return bool(at < len(self._hashes) and self._hashes[at] == hash(name))

    @property
    def may_repeat(self) -> bool:
        """Whether two of the names may be the same; if not, all differ."""
        return bool((self._hashes[1:] == self._hashes[:-1]).any())
