"""A proxy before a server of objects: it does to chosen requests what networks do, and answers as busy servers do."""

import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol, TypeAlias

_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "content-length"}
_ALWAYS = 1 << 30  # times
_HELD = 300.0  # most seconds that a request is held back
_LATE = 10.0  # most seconds that a request which was given up is waited for


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client asks; ``target`` is the path with its query, ``name`` the object or prefix that it is about."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""
    name: str = ""

    def header(self, name: str) -> str:
        """A header's value; names are compared as HTTP does, and "" stands for none."""
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What comes back."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


Send: TypeAlias = Callable[[Request], Answer]


class Rules(Protocol):
    """What is of one protocol."""

    def name(self, request: Request) -> str:
        """The object or prefix that a request is about."""
        ...

    def error(self, status: int) -> Answer:
        """How a server says that it fails."""
        ...

    def half(self, request: Request) -> Request:
        """The request as a server sees it that got half of its body."""
        ...

    def answer(self, request: Request, send: Send) -> Answer:
        """What the server says, with what it lacks of the real one."""
        ...


@dataclass(slots=True, kw_only=True)
class Fault:
    """What goes wrong with requests whose method, target and name match.

    what: a status that is answered instead; ``reset`` (the connection, before the server sees anything); ``lost`` (the
      answer, after the server did it); ``part`` (the server gets half of the body, then 503); ``cut`` (half of the
      answer's body, then a reset), ``short`` (the same, as if that were all), ``flip`` (one bit of the answer's body),
      ``strip`` (the answer's own headers, ``X-...``), ``spoil`` (one bit of the request's body), ``stall`` (for
      ``seconds``), ``hold`` (this request and all later ones reach the server when ``Proxy.gate`` opens).
    method, target, name: regular expressions; the last two are looked for anywhere.
    skip: so many of them are left alone first.
    times: so many are met then.
    after: nothing is met, or counted, before a request of this one was seen.
    """

    what: int | str
    method: str = ".*"
    target: str = ""
    name: str = ""
    skip: int = 0
    times: int = 1
    seconds: float = 0.0
    seen: int = 0
    after: "Fault | None" = None

    def meets(self, request: Request) -> bool:
        """Whether this request is met; counts it."""
        if self.after is not None and not self.after.seen:
            self.after.meets(request)
            return False
        texts = ((self.target, request.target), (self.name, request.name))
        if not re.fullmatch(self.method, request.method) or not all(re.search(*text) for text in texts):
            return False
        self.seen += 1
        return 0 < self.seen - self.skip <= self.times

    @property
    def met(self) -> bool:
        """Whether all that was to go wrong did."""
        return self.times >= _ALWAYS or self.seen >= self.skip + self.times


def _opened() -> threading.Event:
    gate = threading.Event()
    gate.set()
    return gate


@dataclass(slots=True, kw_only=True)
class Proxy:
    """Where it answers, what it does, and the requests that it saw.

    latency: seconds that every request waits.
    gate: open unless a fault holds requests back; then whoever sets it lets them through.
    """

    url: str
    port: int
    rules: Rules = field(repr=False)
    latency: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    seen: list[Request] = field(default_factory=list, repr=False)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    at_work: int = 0
    gate: threading.Event = field(default_factory=_opened, repr=False)

    def fault(self, request: Request) -> Fault:
        """What happens to a request; bodies are not kept."""
        with self.lock:
            self.seen.append(replace(request, body=b""))
            met = [fault for fault in self.faults if fault.meets(request)]  # each of them counts
            if met and met[0].what == "hold":  # here, so that it cannot come after let_through
                self.gate.clear()
            return met[0] if met else Fault(what="")

    def let_through(self) -> None:
        """No more faults; what was held back goes on."""
        with self.lock:
            self.faults = []
            self.gate.set()

    @contextmanager
    def doing(self, *faults: Fault) -> Iterator[list[Request]]:
        """Faults in this block, all of which must have been met; gives the requests that are seen in it."""
        self.faults, self.seen = [*faults], []
        try:
            yield self.seen
        finally:
            self.let_through()
            self._let_late_ones_arrive()
        assert all(fault.met for fault in faults), [fault for fault in faults if not fault.met]

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count a request while it is worked on."""
        with self.lock:
            self.at_work += 1
        try:
            yield
        finally:
            with self.lock:
                self.at_work -= 1

    def _let_late_ones_arrive(self) -> None:
        # A client gives up a stalled request, which the server gets all the same: it must not come after the block.
        end = time.monotonic() + _LATE
        while self.at_work and time.monotonic() < end:
            time.sleep(0.01)


def always(fault: Fault) -> Fault:
    """The same fault, whenever it can be met."""
    return replace(fault, times=_ALWAYS)


@contextmanager
def proxied(port: int, rules: Rules) -> Iterator[Proxy]:
    """A proxy before the server at this port of the machine, in this block."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.proxy = Proxy(url=f"http://127.0.0.1:{server.server_port}", port=port, rules=rules)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.proxy
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    proxy: Proxy


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body of an answer in one packet

    def setup(self) -> None:
        super().setup()
        self._upstream = HTTPConnection("127.0.0.1", self.server.proxy.port, timeout=60)

    def finish(self) -> None:
        self._upstream.close()
        super().finish()

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (OSError, ValueError):  # the client left, or this end was reset
            self.close_connection = True

    def handle_expect_100(self) -> bool:
        well = super().handle_expect_100()
        self.wfile.flush()  # before there is a body, for which the client waits
        return well

    def log_message(self, *_: Any) -> None:
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        plain = Request(method=self.command, target=self.path, headers=dict(self.headers.items()), body=body)
        with self.server.proxy.working():
            self._serve(plain)

    def _serve(self, plain: Request) -> None:
        proxy = self.server.proxy
        request = replace(plain, name=proxy.rules.name(plain))
        fault = proxy.fault(request)
        time.sleep(proxy.latency + (fault.seconds if fault.what == "stall" else 0))
        proxy.gate.wait(_HELD)
        if fault.what == "reset":
            return self._reset()
        answer = self._answered(request, fault)
        if fault.what == "lost":
            return self._reset()
        return self._reply(answer, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815 (named by the library)

    def _answered(self, request: Request, fault: Fault) -> Answer:
        rules = self.server.proxy.rules
        if isinstance(fault.what, int):
            return rules.error(fault.what)
        if fault.what == "part":
            rules.answer(rules.half(request), self._forward)
            return rules.error(503)
        if fault.what == "spoil":
            request = replace(request, body=_flipped(request.body))
        return rules.answer(request, self._forward)

    def _forward(self, request: Request) -> Answer:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        try:
            self._upstream.request(request.method, request.target, request.body, headers)
            answer = self._upstream.getresponse()
        except (OSError, HTTPException):  # the server closed what was idle
            self._upstream.close()
            self._upstream.request(request.method, request.target, request.body, headers)
            answer = self._upstream.getresponse()
        left_out = _HOP - {"content-length"} if request.method == "HEAD" else _HOP
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in left_out}
        return Answer(status=answer.status, headers=headers, body=answer.read())

    def _reply(self, answer: Answer, fault: Fault) -> None:
        body = _flipped(answer.body) if fault.what == "flip" else answer.body
        sent = body[: len(body) // 2] if fault.what in ("cut", "short") else body
        length = len(sent if fault.what == "short" else body)
        if self.command == "HEAD":  # says how long the body would be
            known = int(answer.headers.pop("Content-Length", 0))
            length = known // 2 if fault.what == "short" else known
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            if fault.what != "strip" or not name.upper().startswith("X-"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(sent)
        self.wfile.flush()
        if fault.what == "cut":
            self._reset()

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


def _flipped(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :] if data else data
