"""Objects that are written piece by piece and sent as a whole."""

import tempfile
from typing import TYPE_CHECKING

from lake.core.temporary import temporary_space
from lake.storage.guard import Guard
from lake.storage.remote_object import Upload, attempt_id
from lake.storage.store import Sink

if TYPE_CHECKING:
    from lake.storage.remote import RemoteStore

IN_MEMORY = 8 << 20  # bytes of an upload that are buffered in memory; larger ones are spooled to the worker's disk


class RemoteSink(Sink):
    """Buffers the bytes until all are known; ``publish`` then sends them in one request with their checksum.

    Args:
      store: receives the object.
      uri: of the object.
      guard: the right to publish it; None if nobody else writes there.
    """

    def __init__(self, store: "RemoteStore", uri: str, guard: Guard | None = None) -> None:
        super().__init__(uri)
        self._store, self._guard = store, guard
        self._spool = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 (closed by publish and abort)

    def _put(self, view: memoryview) -> None:
        with temporary_space():
            self._spool.write(view)

    def publish(self) -> None:
        if self._spool.closed:
            return
        try:
            attempt = attempt_id(self._guard.run if self._guard else "")
            upload = Upload(file=self._spool, size=self.size, crc32c=self.crc32c, attempt=attempt)  # type: ignore[arg-type]
            self._store.replace(self.uri, upload, self._guard)
        finally:
            self._spool.close()

    def prove(self) -> None:
        """Do nothing: the store verified the checksum of what it received."""

    def abort(self) -> None:
        self._spool.close()
