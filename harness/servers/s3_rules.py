"""The protocol of S3 as the tests' proxy knows it: errors. MinIO lacks nothing that they need."""

import re
from dataclasses import replace
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import unescape

from harness.servers.proxy import Answer, Request, Send

_CODES = {
    400: "MissingContentMD5",
    403: "AccessDenied",
    409: "ConditionalRequestConflict",
    429: "TooManyRequests",
    500: "InternalError",
    501: "NotImplemented",
    503: "SlowDown",
}


_KINDS = (
    ("POST", "delete$", "delete many"),
    ("DELETE", "", "delete"),
    ("PUT", "", "insert"),
    ("HEAD", "", "stat"),
    ("GET", "list-type|uploads", "list"),
    ("GET", "", "read"),
)


def kind(request: Request) -> str:
    """What a request is for, but for those of objects in parts."""
    if request.header("x-amz-copy-source"):
        return "rewrite"
    query = urlsplit(request.target).query
    return next(name for method, part, name in _KINDS if method == request.method and re.search(part, query))


class S3Rules:
    """Everything is the server's own."""

    def name(self, request: Request) -> str:
        parts = urlsplit(request.target)
        if parts.query == "delete":  # of many objects, by the first
            return unescape(request.body.partition(b"<Key>")[2].partition(b"</Key>")[0].decode())
        return unquote(parts.path[1:].partition("/")[2]) or parse_qs(parts.query).get("prefix", [""])[0]

    def error(self, status: int) -> Answer:
        body = f"<Error><Code>{_CODES[status]}</Code><Message>made up?token=secret</Message></Error>"
        return Answer(status=status, headers={"Content-Type": "application/xml"}, body=body.encode())

    def half(self, request: Request) -> Request:  # noqa: ARG002
        raise AssertionError("an upload is taken whole, or not at all")

    def answer(self, request: Request, send: Send) -> Answer:
        return send(request)


class CarelessRules(S3Rules):
    """A server that takes no notice of preconditions."""

    def answer(self, request: Request, send: Send) -> Answer:
        headers = {name: value for name, value in request.headers.items() if not name.lower().startswith("if-")}
        return send(replace(request, headers=headers))
