"""A set of very many names in little memory."""

from collections.abc import Container, Iterable
from hashlib import blake2b

import numpy as np


def hash_names(names: Iterable[str]) -> np.ndarray:
    """Hash names, the same in every process.

    Args:
      names: the names.

    Returns:
      int64 ``[n]``.

    >>> hash_names(["a", "b", "a"]).tolist()
    [3405396810240292928, 8453121595177857668, 3405396810240292928]
    """
    return np.fromiter(map(_hash, names), np.int64)


def _hash(name: str) -> int:
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


class NameSet(Container[str]):
    """A set of very many names in eight bytes each, their hashes. Of 10^13 names that are not in it, one seems to be.

    Args:
      names: the names.
      hashes: of further names, as ``hash_names`` gave them.

    >>> names = NameSet(["latents/a.parquet", "latents/b.parquet"])
    >>> "latents/a.parquet" in names, "latents/c.parquet" in names, names.may_repeat
    (True, False, False)
    """

    def __init__(self, names: Iterable[str] = (), hashes: Iterable[np.ndarray] = ()) -> None:
        self._hashes = np.concatenate([hash_names(names), *hashes])
        self._hashes.sort()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.has(hash_names([name]))[0])

    def has(self, hashes: np.ndarray) -> np.ndarray:
        """Whether names are in it, by their hashes: bool ``[n]``."""
        at = np.searchsorted(self._hashes, hashes)
        known = at < len(self._hashes)
        known[known] = self._hashes[at[known]] == hashes[known]
        return known

    @property
    def may_repeat(self) -> bool:
        """Whether two of the names may be the same; if not, all differ."""
        return bool((self._hashes[1:] == self._hashes[:-1]).any())

    @property
    def repeated(self) -> "NameSet":
        """The names that may be there more than once."""
        return NameSet(hashes=[self._hashes[1:][self._hashes[1:] == self._hashes[:-1]]])
