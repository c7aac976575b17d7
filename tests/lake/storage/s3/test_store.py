"""An upload to S3 knows itself again when its answer was lost; a client in memory stands for the server."""

import base64
import io
from typing import Any

import pytest

pytest.importorskip("boto3")
from botocore.exceptions import ClientError, EndpointConnectionError

from lake.storage import StoreOptions, request_retry
from lake.storage.remote import PerProcess
from lake.storage.request_retry import RequestBackoff
from lake.storage.s3.store import S3Store
from tests.lake.storage.memory_store import crc32c

URI = "s3://b/x"


class Client:
    """The requests that a small object needs, on one object; so many answers to ``put_object`` are lost.

    conditions: whether the server takes notice of them.
    """

    def __init__(self, lost: int = 0, *, conditions: bool = True) -> None:
        self.lost, self.conditions, self.puts, self.version = lost, conditions, 0, 0
        self.found: dict[str, Any] | None = None

    def put_object(self, **asked: Any) -> None:
        etag = None if self.found is None else self.found["ETag"]
        wanted = None if asked.get("IfNoneMatch") == "*" else asked.get("IfMatch")
        if self.conditions and wanted != etag:
            raise refused(412, "PreconditionFailed")
        self.puts, self.version = self.puts + 1, self.version + 1
        body = asked["Body"]
        assert base64.b64decode(asked["ChecksumCRC32C"]).hex() == crc32c(body)
        self.found = {
            "ContentLength": asked["ContentLength"],
            "ETag": f'"{self.version}"',
            "Metadata": asked["Metadata"],
            "Body": body,
        }
        if self.lost:
            self.lost -= 1
            raise EndpointConnectionError(endpoint_url="https://h")

    def head_object(self, **asked: Any) -> dict[str, Any]:
        if self.found is None:
            raise refused(404, "NoSuchKey")
        return self.found

    def get_object(self, **asked: Any) -> dict[str, Any]:
        assert self.found is not None
        return {"Body": io.BytesIO(self.found["Body"])}


def refused(status: int, code: str) -> ClientError:
    content: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(content, "PutObject")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_retry, "REQUESTS", RequestBackoff(first=0.0, most=0.0, deadline=5.0))
    monkeypatch.setattr("lake.storage.remote.time.sleep", lambda seconds: None)


def store_of(client: Client) -> S3Store:
    store = S3Store(StoreOptions(anonymous=True))
    store._client = PerProcess(lambda: client)
    return store


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_write_whose_answer_was_lost_is_written_once(lost: int, before: bytes | None) -> None:
    client = Client()
    store = store_of(client)
    if before is not None:
        with store.create(URI) as sink:
            sink.write(before)
    client.puts, client.lost = 0, lost
    with store.create(URI) as sink:
        sink.write(b"data")
    assert client.found is not None
    assert client.found["Body"] == b"data"
    assert client.puts == 1


@pytest.mark.parametrize("lost", [0, 1])
def test_a_swap_whose_answer_was_lost_is_made_once(lost: int) -> None:
    client, seen = Client(lost), list[bytes | None]()
    store_of(client).swap(URI, lambda data: (seen.append(data), b"mine")[1])
    assert seen == [None]
    assert client.found is not None
    assert client.found["Body"] == b"mine"
    assert len(client.found["Metadata"]["latentlake-attempt"]) == 32


def test_a_server_that_takes_no_notice_of_conditions_is_refused() -> None:
    """Two runs could hold one output there."""
    with (
        pytest.raises(OSError, match="takes no notice of If-None-Match"),
        store_of(Client(conditions=False)).create(URI) as sink,
    ):
        sink.write(b"data")
