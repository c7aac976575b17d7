"""An upload to Cloud Storage knows itself again when its answer was lost; a client in memory stands for the server."""

import base64
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from google.api_core.exceptions import PreconditionFailed

from lake.storage import StoreOptions, request_retry
from lake.storage.gcs.store import GcsStore
from lake.storage.request_retry import RequestBackoff
from tests.lake.storage.memory_store import crc32c

URI = "gs://b/x"


class Client:
    """The requests that a small object needs, on one object; so many answers to uploads are lost."""

    def __init__(self, lost: int = 0) -> None:
        self.lost, self.uploads = lost, 0
        self.found: Any = None

    def bucket(self, name: str, user_project: str | None) -> "Client":
        assert name == "b"
        return self

    def blob(self, name: str) -> "Blob":
        return Blob(self)

    def get_blob(self, name: str, **how: Any) -> Any:
        return self.found


class Blob:
    """An object on its way."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.crc32c, self.metadata = "", dict[str, str]()

    def upload_from_file(self, file: Any, rewind: bool, size: int, if_generation_match: int, **how: Any) -> None:
        there = 0 if self.client.found is None else self.client.found.generation
        if if_generation_match != there:
            raise PreconditionFailed("another generation")
        file.seek(0)
        data = file.read(size)
        assert base64.b64decode(self.crc32c).hex() == crc32c(data)
        self.client.uploads += 1
        self.client.found = SimpleNamespace(
            size=size, generation=there + 1, crc32c=self.crc32c, metadata=self.metadata, data=data
        )
        if self.client.lost:
            self.client.lost -= 1
            raise requests.ConnectionError("the answer was lost")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_retry, "REQUESTS", RequestBackoff(first=0.0, most=0.0, deadline=5.0))
    monkeypatch.setattr("lake.storage.remote.time.sleep", lambda seconds: None)


class Store(GcsStore):
    """A store of the client in memory, whose bytes come with the client's object."""

    def __init__(self, client: Client) -> None:
        super().__init__(StoreOptions(anonymous=True))
        self._connection = lambda: SimpleNamespace(client=client)  # type: ignore[assignment, return-value]

    def begin(self, uri: str, most: int) -> Any:
        head = self.head(uri)
        return None if head is None else (head, self._connection().client.found.data)


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_write_whose_answer_was_lost_is_written_once(lost: int, before: bytes | None) -> None:
    client = Client()
    if before is not None:
        with Store(client).create(URI) as sink:
            sink.write(before)
    client.uploads, client.lost = 0, lost
    with Store(client).create(URI) as sink:
        sink.write(b"data")
    assert client.found.data == b"data"
    assert client.uploads == 1


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_swap_whose_answer_was_lost_is_made_once(lost: int, before: bytes | None) -> None:
    client, seen = Client(), list[bytes | None]()
    if before is not None:
        with Store(client).create(URI) as sink:
            sink.write(before)
    client.lost = lost
    Store(client).swap(URI, lambda data: (seen.append(data), b"mine")[1])
    assert seen == [before]
    assert client.found.data == b"mine"
    assert len(client.found.metadata["latentlake-attempt"]) == 32
