"""The right of a run to change what lies below its output: a write or delete under it has no effect once it is lost."""

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """The right of one run, which it has as long as it holds the lease.

    On a disk every change is made under the lock of the lease, after a look at it. In an object store a new name is
    created on condition that there is none. An object that is there is replaced by a copy of a staged one, whose writer
    looks at the lease in between; whoever takes the lease over deletes what others have staged. So a request that
    arrives after that finds nothing to copy (``docs/decisions/0013-fencing.md``).

    Attributes:
      run: id of the run; the objects that it writes say so.
      lease: URI of the lease.
      staging: URI of the directory where the run stages what replaces an object.
      check: takes the bytes of the lease, None if there is none. Raises ``HeldError`` unless they are this run's.
      confirmed: whether the lease was seen to be this run's a moment ago. Raises ``HeldError`` if it is known to be
        lost.
      staged: whether new names are staged as well: those that say something by being there.
    """

    run: str
    lease: str
    staging: str
    check: Callable[[bytes | None], None]
    confirmed: Callable[[], bool]
    staged: bool = False

    @property
    def strict(self) -> "Guard":
        """The same for an object that must not appear late, even under a new name."""
        return replace(self, staged=True)
