"""The JSON API of Cloud Storage as the tests' proxy knows it: errors, and what fake-gcs-server lacks of the real one.

The server takes no notice of preconditions on deletes, takes the status query of an upload in parts for its end, and
does not compare such an upload with its checksum. So here parts are collected, as the real one does, and reach the
server as one; and a delete is compared with the generation that it asks for. Everything else is the server's own.
"""

import base64
import json
import re
import threading
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

from harness.servers.proxy import Answer, Request, Send

_HEAD = 4096  # bytes of an upload that hold its metadata
_REASONS = {400: "invalid", 401: "authError", 403: "forbidden", 404: "notFound", 412: "conditionNotMet"}
_KINDS = (
    ("POST", "/rewriteTo/", "rewrite"),
    ("POST", "uploadType=multipart", "insert"),
    ("POST", "uploadType=resumable", "begin"),
    ("PUT", "upload_id=", "part"),
    ("GET", "alt=media", "read"),
    ("GET", r"/o\?", "list"),
    ("GET", "/o/", "stat"),
    ("DELETE", "/o/", "delete"),
)


def kind(request: Request) -> str:
    """What a request is for."""
    return next(
        name for method, target, name in _KINDS if method == request.method and re.search(target, request.target)
    )


@dataclass(slots=True, kw_only=True)
class _Upload:
    """An upload in parts: what has come, and the answer that ended it."""

    crc32c: str
    data: bytes = b""
    end: Answer | None = None


@dataclass(slots=True, kw_only=True)
class GcsRules:
    """Keeps the uploads of all connections."""

    uploads: dict[str, _Upload] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def name(self, request: Request) -> str:
        path, query = urlsplit(request.target).path, _query(request.target)
        if request.method == "POST" and (found := re.search(rb'"name": ?"([^"]*)"', request.body[:_HEAD])):
            return found[1].decode()
        return unquote(path.rpartition("/o/")[2]) or query.get("prefix") or query.get("name", "")

    def error(self, status: int) -> Answer:
        error = {"reason": _REASONS.get(status, "backendError"), "message": "made up?token=secret"}
        body = {"error": {"code": status, "message": error["message"], "errors": [error]}}
        return Answer(status=status, headers={"Content-Type": "application/json"}, body=json.dumps(body).encode())

    def half(self, request: Request) -> Request:
        body = request.body[: len(request.body) // 2]
        place = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", request.header("Content-Range"))
        assert place is not None, "half of what is no part"
        return _placed(request, body, f"bytes {place[1]}-{int(place[1]) + len(body) - 1}/{place[2]}")

    def answer(self, request: Request, send: Send) -> Answer:
        with self.lock:
            if "upload_id" in request.target:
                return self._part(request, send)
            if request.method == "DELETE" and (stale := self._stale(request, send)):
                return stale
        answer = send(request)
        if "uploadType=resumable" in request.target and answer.status == 200:
            return self._begun(request, answer)
        return answer

    def _begun(self, request: Request, answer: Answer) -> Answer:
        where = answer.headers["Location"]
        crc32c = json.loads(request.body).get("crc32c", "")
        with self.lock:
            self.uploads[_query(where)["upload_id"]] = _Upload(crc32c=crc32c)
        parts = urlsplit(where)
        own = f"http://{request.header('Host')}{parts.path}?{parts.query}"
        return replace(answer, headers={**answer.headers, "Location": own})

    def _part(self, request: Request, send: Send) -> Answer:
        upload = self.uploads.get(_query(request.target)["upload_id"])
        place = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+)", request.header("Content-Range"))
        if upload is None or place is None:
            return self.error(410 if upload is None else 400)
        if upload.end is not None:
            return upload.end
        if place[1] is not None and int(place[1]) <= len(upload.data):
            upload.data = upload.data[: int(place[1])] + request.body
        if len(upload.data) < int(place[2]):
            stored = {"Range": f"bytes=0-{len(upload.data) - 1}"} if upload.data else {}
            return Answer(status=308, headers=stored)
        upload.end = self._end(request, upload, send)
        return upload.end

    def _end(self, request: Request, upload: _Upload, send: Send) -> Answer:
        if upload.crc32c not in ("", base64.b64encode(google_crc32c.Checksum(upload.data).digest()).decode()):
            return self.error(400)
        size = len(upload.data)
        return send(_placed(request, upload.data, f"bytes 0-{size - 1}/{size}"))

    def _stale(self, request: Request, send: Send) -> Answer | None:
        wanted = _query(request.target).get("ifGenerationMatch")
        if wanted is None:
            return None
        found = send(Request(method="GET", target=urlsplit(request.target).path, headers={}))
        value: dict[str, Any] = json.loads(found.body) if found.status == 200 else {}
        return None if value.get("generation", wanted) == wanted else self.error(412)


def _placed(request: Request, body: bytes, place: str) -> Request:
    headers = {name: value for name, value in request.headers.items() if name.lower() != "content-range"}
    return replace(request, headers={**headers, "Content-Range": place}, body=body)


def _query(target: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
