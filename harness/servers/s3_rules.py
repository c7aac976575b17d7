"""The protocol of S3 as the tests' proxy knows it: errors. MinIO lacks nothing that they need."""

from dataclasses import replace
from urllib.parse import parse_qs, unquote, urlsplit

from harness.servers.proxy import Answer, Request, Send

_CODES = {
    409: "ConditionalRequestConflict",
    429: "TooManyRequests",
    500: "InternalError",
    501: "NotImplemented",
    503: "SlowDown",
}


class S3Rules:
    """Everything is the server's own."""

    def name(self, request: Request) -> str:
        parts = urlsplit(request.target)
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
