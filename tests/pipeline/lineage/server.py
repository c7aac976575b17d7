"""A server that takes OpenLineage events, and the published schemas that they must fit."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

_SCHEMAS = [json.loads(path.read_text()) for path in (Path(__file__).parent / "spec").glob("*.json")]
_REGISTRY: Any = Registry().with_resources((one["$id"], Resource.from_contents(one)) for one in _SCHEMAS)


class Server:
    """What a server was told."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.status, self.location = 201, ""
        self.requests: list[tuple[str, str | None, Any]] = []  # path, authorization, event

    @property
    def events(self) -> list[Any]:
        return [event for _, _, event in self.requests]


@contextmanager
def serving() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append((self.path, self.headers["Authorization"], body))
            self.send_response(server.status)
            if server.location:
                self.send_header("Location", server.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815 -- the name that http.server asks for

        def log_message(self, *_: Any) -> None: ...

    http = HTTPServer(("127.0.0.1", 0), Handler)
    server = Server(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def check_event(event: Any) -> None:
    """Check an event and each of its facets against the specification."""
    _check(event, event["schemaURL"])
    for facet in _facets(event):
        _check(facet, facet["_schemaURL"])


def _check(value: Any, url: str) -> None:
    Draft202012Validator({"$ref": url}, registry=_REGISTRY, format_checker=FormatChecker()).validate(value)


def _facets(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        if "_schemaURL" in value:
            yield value
        for item in value.values():
            yield from _facets(item)
    elif isinstance(value, list):
        for item in value:
            yield from _facets(item)
