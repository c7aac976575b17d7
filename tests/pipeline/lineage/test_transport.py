"""How events are sent, by real requests; and that nothing of it harms a run or shows a key."""

import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import pytest

from pipeline.lineage import transport
from pipeline.lineage.transport import is_told, send
from tests.pipeline.lineage.server import Server, serving

KEY = "s3cr3t-key"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as server:
        monkeypatch.setenv("OPENLINEAGE_URL", server.url)
        monkeypatch.setenv("OPENLINEAGE_API_KEY", KEY)
        yield server


def test_an_event_is_posted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    send({"a": 1})
    monkeypatch.setenv("OPENLINEAGE_URL", f"{server.url}/")
    monkeypatch.setenv("OPENLINEAGE_ENDPOINT", "/lineage")
    monkeypatch.delenv("OPENLINEAGE_API_KEY")
    send({"b": "é"})
    assert server.requests == [("/api/v1/lineage", f"Bearer {KEY}", {"a": 1}), ("/lineage", None, {"b": "é"})]


@pytest.mark.parametrize("status", [301, 302, 307, 401, 500])
def test_a_refusal_is_a_warning_and_the_key_goes_nowhere_else(
    server: Server, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with serving() as other:
        server.status, server.location = status, f"{other.url}/stolen"
        send({})
        assert other.requests == []
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert f"not told: the server answered {status}; the run goes on" in caplog.text


@pytest.mark.parametrize(
    ("url", "key", "says"),
    [
        ("http://127.0.0.1:{port}", KEY, "Connection refused"),
        ("http://127.0.0.1:{port}", f"{KEY}\n", "ValueError"),
        ("http://127.0.0.1:{port}", f"{KEY}漢", "UnicodeEncodeError"),
        ("http://user:{key}@127.0.0.1:{port}", KEY, "not told"),
        ("file:///etc/passwd", KEY, "no http:// or https:// URL"),
        ("ftp://{key}@127.0.0.1/", KEY, "no http:// or https:// URL"),
        ("http://[::1/{key}", KEY, "ValueError"),
        ("nonsense", KEY, "no http:// or https:// URL"),
    ],
)
def test_no_server_is_a_warning_without_the_key(
    url: str, key: str, says: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        monkeypatch.setenv("OPENLINEAGE_URL", url.format(port=port, key=KEY))
        monkeypatch.setenv("OPENLINEAGE_API_KEY", key)
        send({})
    assert says in caplog.text
    assert KEY not in caplog.text


def test_a_server_that_answers_byte_by_byte_holds_no_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transport, "_TIMEOUT", 0.5)
    done, begun = Event(), time.monotonic()

    def answer() -> None:
        with listening.accept()[0] as client, suppress(OSError):
            while not done.wait(0.1):
                client.send(b"H")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread = Thread(target=answer)
        thread.start()
        send({})
        assert time.monotonic() - begun < 5
        done.set()
        thread.join()
    assert "not told: no answer within 0.5 s; the run goes on" in caplog.text


def test_a_file_gets_a_line_for_each_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "file")
    assert not is_told()
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH", str(tmp_path / "events.jsonl"))
    send({"a": 1})
    send({"b": "x\ny"})
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"a": 1}, {"b": "x\ny"}]


def test_a_file_that_cannot_be_written_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "file")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH", str(tmp_path / "missing/events.jsonl"))
    send({})
    assert "No such file or directory" in caplog.text


def test_it_can_be_switched_off(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_told()
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "True")
    assert not is_told()
    send({})
    assert server.requests == []
