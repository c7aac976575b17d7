"""Objects of a store over a network, as they are seen and as they are written."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from lake.storage.store import Stat

PAGE = 1_000  # most objects that stores name in one answer


class ConflictError(OSError):
    """A precondition failed: another writer was faster, or an earlier attempt of this one whose answer was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a store says about one object.

    Attributes:
      size: bytes.
      version: changes with every write; preconditions name it.
      crc32c: CRC-32C of the bytes, eight hexadecimal digits; "" if the store does not know it.
      attempt: id of the write that made the object; "" if another program made it.
    """

    size: int
    version: str
    crc32c: str = ""
    attempt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPage:
    """One answer to a listing.

    Attributes:
      stats: of objects, in URI order.
      token: asks for what follows; "" if nothing does.
      directories: URIs of the directories, with a slash at the end, where objects in them were left out.
    """

    stats: Sequence[Stat]
    token: str
    directories: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An object to be written.

    Attributes:
      file: seekable; the object's bytes from its beginning.
      size: bytes of the object.
      crc32c: CRC-32C of the bytes, eight hexadecimal digits.
      attempt: id of this write, stored in the object's metadata.
      once: whether a request that makes the object may not be repeated, because it might arrive twice.
    """

    file: BinaryIO
    size: int
    crc32c: str
    attempt: str
    once: bool = False

    def is_at(self, head: Head) -> bool:
        """Whether the object in the store is this upload: made by this write, or by another one of the same bytes."""
        return head.attempt == self.attempt or (head.size, head.crc32c) == (self.size, self.crc32c)


def attempt_id(run: str = "") -> str:
    """The id of one write; it begins with the id of the run that makes it, if there is one."""
    return f"{run}.{uuid.uuid4().hex}" if run else uuid.uuid4().hex
