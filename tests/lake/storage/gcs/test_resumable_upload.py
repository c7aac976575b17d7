"""An upload in parts, to a server in memory that loses parts and answers."""

import io
import json
import os
import re
from collections.abc import Callable
from typing import Any

import pytest
import requests

from lake.storage import request_retry
from lake.storage.gcs import resumable_upload
from lake.storage.gcs.resumable_upload import Session
from lake.storage.remote import ConflictError, Upload
from lake.storage.request_retry import RequestBackoff
from tests.lake.storage.memory_store import crc32c

PART = 1000
DATA = os.urandom(3500)
URL = "https://h/upload?upload_id=secret"


@pytest.fixture(autouse=True)
def sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable_upload, "PART", PART)
    monkeypatch.setattr(request_retry, "REQUESTS", RequestBackoff(first=0.0, most=0.0, deadline=5.0, stall=7.0))


def answer(status: int, content: object = None, **headers: str) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response._content = json.dumps(content or {}).encode()
    response.headers.update(headers)
    response.request = requests.Request("PUT", "https://h/upload").prepare()
    response.url = "https://h/upload"
    return response


Fault = Callable[[int, bytes], "requests.Response | Exception | int | None"]


class Server:
    """Keeps what it is sent.

    fault: of the number of a request and its bytes it gives what is answered instead: a response or an error, before
      anything is kept; or a number of bytes that are kept, and then the answer is lost.
    """

    def __init__(self, fault: Fault = lambda number, data: None) -> None:
        self.kept, self.fault, self.asked = b"", fault, list[str]()

    def put(self, url: str, data: bytes, headers: dict[str, str], timeout: float, allow_redirects: bool) -> Any:
        assert (url, timeout, allow_redirects) == (URL, 7.0, False)
        place = headers["Content-Range"]
        self.asked.append(place)
        wrong = self.fault(len(self.asked), data)
        if isinstance(wrong, Exception):
            raise wrong
        if isinstance(wrong, requests.Response):
            return wrong
        found = re.fullmatch(r"bytes (?:\*|(\d+)-(\d+))/(\d+)", place)
        assert found is not None
        assert bool(found[1]) is bool(data), "who asks where an upload is sends nothing"
        if found[1]:
            assert (int(found[1]), int(found[2]) + 1) == (len(self.kept), len(self.kept) + len(data))
            self.kept += data if wrong is None else data[:wrong]
        if wrong is not None:
            raise requests.ConnectionError("the answer was lost")
        if len(self.kept) == int(found[3]):
            return answer(200, {"name": "made", "size": len(self.kept)})
        return answer(308, **({"Range": f"bytes=0-{len(self.kept) - 1}"} if self.kept else {}))


def send(server: Server, data: bytes = DATA) -> Any:
    file = io.BytesIO(data)
    file.seek(5)
    return Session(uri="gs://b/x", url=URL, transport=server).send(
        Upload(file=file, size=len(data), crc32c=crc32c(data), attempt="mine")
    )


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 3000, 3500])
def test_parts_of_an_upload(size: int) -> None:
    server = Server()
    assert send(server, DATA[:size]) == {"name": "made", "size": size}
    assert server.kept == DATA[:size]
    parts = [(start, min(start + PART, size)) for start in range(0, size, PART)]
    assert server.asked == [f"bytes {start}-{stop - 1}/{size}" for start, stop in parts]


@pytest.mark.parametrize("lost", [1, 2, 4])
def test_a_part_that_did_not_arrive_is_sent_again(lost: int) -> None:
    server = Server(lambda number, data: requests.ConnectionError("gone") if number == lost else None)
    assert send(server)["size"] == 3500
    assert server.kept == DATA
    assert server.asked.count("bytes */3500") == 1, "first it is asked how much there is"
    assert len(server.asked) == 6


@pytest.mark.parametrize("lost", [1, 2, 4])
def test_a_part_whose_answer_was_lost_is_not_sent_again(lost: int) -> None:
    server = Server(lambda number, data: len(data) if number == lost else None)
    assert send(server) == {"name": "made", "size": 3500}
    assert server.kept == DATA
    sent = [place for place in server.asked if "*" not in place]
    assert len(sent) == len({*sent}) == 4


@pytest.mark.parametrize("kept", [0, 1, 256, 999])
def test_half_a_part_is_gone_on_with(kept: int) -> None:
    server = Server(lambda number, data: kept if number == 2 else None)
    assert send(server)["size"] == 3500
    assert server.kept == DATA
    assert "bytes */3500" in server.asked


@pytest.mark.parametrize("status", [400, 404, 410])
def test_a_session_that_is_lost_is_begun_anew(status: int) -> None:
    server = Server(lambda number, data: answer(status) if number == 2 else None)
    assert send(server) is None
    assert len(server.asked) == 2


def test_another_version_is_a_conflict() -> None:
    with pytest.raises(ConflictError, match="412"):
        send(Server(lambda number, data: answer(412) if number == 4 else None))


@pytest.mark.parametrize(("status", "kind"), [(403, PermissionError), (418, OSError)])
def test_what_else_goes_wrong_is_raised(status: int, kind: type[OSError]) -> None:
    server = Server(lambda number, data: answer(status) if number == 3 else None)
    with pytest.raises(kind) as caught:
        send(server)
    assert len(server.asked) == 3
    assert caught.value.filename == "gs://b/x"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_is_asked_again(status: int) -> None:
    server = Server(lambda number, data: answer(status) if number in (1, 2, 3) else None)
    assert send(server)["size"] == 3500
    assert server.kept == DATA


def test_a_part_that_the_store_forgot_is_sent_from_where_it_is() -> None:
    """It says how much it has, whatever it said before."""

    def forget(number: int, data: bytes) -> Exception | None:
        if number != 3:
            return None
        server.kept = server.kept[:300]
        return requests.ConnectionError("gone")

    server = Server(forget)
    assert send(server)["size"] == 3500
    assert server.kept == DATA


def test_of_what_is_made_an_answer_of_201_says_so_too() -> None:
    server = Server(lambda number, data: answer(201, {"name": "made"}) if number == 1 else None)
    assert send(server) == {"name": "made"}
