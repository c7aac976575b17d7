"""An upload in parts: it goes on where the store says that it is, however often a part or an answer was lost."""

import re
from dataclasses import dataclass
from typing import Any

from google.api_core.exceptions import from_http_response

from pipeline.storage import tries
from pipeline.storage.gcs_errors import BAD_REQUEST, persisted, status
from pipeline.storage.remote import Upload

PART = 16 << 20  # bytes of each request; a multiple of 256 KiB, as the protocol asks
_GOES_ON = 308
_MADE = (200, 201)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A resumable upload that was begun, with its precondition, checksum and metadata.

    url: where its parts go. Who knows it may write, so it is never shown.
    transport: a session of ``requests``.
    """

    uri: str
    url: str
    transport: Any

    def send(self, upload: Upload) -> Any | None:
        """Send all parts; gives the object that was made, None where the session is lost.

        Raises:
          ConflictError: there is another version.
          OSError: as every request raises.
        """
        at = 0
        try:
            while isinstance(at, int):
                at = self._part(upload, at)
        except OSError as error:
            if status(error.__cause__) in (BAD_REQUEST, 404, 410):  # other bytes than the checksum's; it is gone
                return None
            raise
        return at

    def _part(self, upload: Upload, at: int) -> Any:
        """Send the part from ``at``; gives where the upload is then, or the object."""
        tried = False

        def request() -> Any:
            nonlocal tried
            if tried and (now := self._put(b"", f"*/{upload.size}")) != at:
                return now
            tried = True
            upload.file.seek(at)
            data = upload.file.read(min(PART, upload.size - at))
            return self._put(data, f"{at}-{at + len(data) - 1}/{upload.size}")

        return persisted("insert", self.uri, request)

    def _put(self, data: bytes, place: str) -> Any:
        headers = {"Content-Range": f"bytes {place}"}
        how = {"timeout": tries.PATIENCE.stall, "allow_redirects": False}  # 308 is none here
        answer = self.transport.put(self.url, data=data, headers=headers, **how)
        if answer.status_code == _GOES_ON:
            stored = re.fullmatch(r"bytes=0-(\d+)", answer.headers.get("Range", ""))
            return int(stored[1]) + 1 if stored else 0
        if answer.status_code not in _MADE:
            raise from_http_response(answer)
        return answer.json()
