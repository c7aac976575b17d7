"""Resumable uploads of the GCS JSON API: an upload in parts that resumes where the store says it stands.

See https://cloud.google.com/storage/docs/performing-resumable-uploads.
"""

import re
from dataclasses import dataclass
from typing import Any

from google.api_core.exceptions import from_http_response

from lake.storage import request_retry
from lake.storage.gcs.errors import BAD_REQUEST, persisted, status
from lake.storage.remote import Upload

PART = 16 << 20  # bytes of each request; the protocol asks for a multiple of 256 KiB
_RESUME_INCOMPLETE = 308  # "Resume Incomplete": the store wants more bytes
_COMPLETE = (200, 201)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A resumable upload session. Its precondition, checksum and metadata were sent when it was opened.

    Attributes:
      uri: of the object.
      url: where the parts go. Whoever knows it may write, so it is never shown.
      transport: a ``requests`` session with credentials.
    """

    uri: str
    url: str
    transport: Any

    def send(self, upload: Upload) -> Any | None:
        """Send all parts.

        Args:
          upload: the bytes.

        Returns: The JSON resource of the object that was made; None if the session was lost, or the store received
          other bytes.

        Raises:
          ConflictError: the store holds another version.
          OSError: the store failed.
        """
        at = 0
        try:
            while isinstance(at, int):
                at = self._part(upload, at)
        except OSError as error:
            if status(error.__cause__) in (BAD_REQUEST, 404, 410):  # wrong checksum, or the session is gone
                return None
            raise
        return at

    def _part(self, upload: Upload, at: int) -> Any:
        """Send the part at offset ``at``. Returns the upload's next offset, or the object when it is complete."""
        tried = False

        def request() -> Any:
            nonlocal tried
            # After a failure the store is asked how far it got: perhaps the part arrived and only its answer was lost.
            if tried and (now := self._put(b"", f"*/{upload.size}")) != at:
                return now
            tried = True
            upload.file.seek(at)
            data = upload.file.read(min(PART, upload.size - at))
            return self._put(data, f"{at}-{at + len(data) - 1}/{upload.size}")

        return persisted("insert", self.uri, request)

    def _put(self, data: bytes, place: str) -> Any:
        headers = {"Content-Range": f"bytes {place}"}
        how = {"timeout": request_retry.REQUESTS.stall, "allow_redirects": False}  # 308 is no redirect here
        answer = self.transport.put(self.url, data=data, headers=headers, **how)
        if answer.status_code == _RESUME_INCOMPLETE:
            stored = re.fullmatch(r"bytes=0-(\d+)", answer.headers.get("Range", ""))
            return int(stored[1]) + 1 if stored else 0
        if answer.status_code not in _COMPLETE:
            raise from_http_response(answer)
        return answer.json()
