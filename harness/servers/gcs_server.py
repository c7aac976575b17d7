"""fake-gcs-server, for the tests of ``gs://``: one for each session, and a second client to compare with."""

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from harness.processes import await_url, free_ports
from harness.servers.gcs_rules import GcsRules
from harness.servers.proxy import Proxy, proxied

BINARY = Path(__file__).parents[2] / ".servers/fake-gcs-server"


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsServer:
    """A server that answers at ``url``; ``proxy`` stands in front of it and answers at its own."""

    url: str
    proxy: Proxy
    pid: int

    def bucket(self) -> "GcsBucket":
        """A new one, seen by a client without anything of this project."""
        client = storage.Client(
            project="tests", credentials=AnonymousCredentials(), client_options={"api_endpoint": self.url}
        )
        return GcsBucket(name=f"bucket-{uuid.uuid4().hex[:12]}", client=client).made()


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsBucket:
    """A bucket, as ``client`` sees it."""

    name: str
    client: Any

    @property
    def uri(self) -> str:
        return f"gs://{self.name}"

    def made(self) -> "GcsBucket":
        self.client.create_bucket(self.name)
        return self

    def put(self, name: str, data: bytes) -> None:
        self.client.bucket(self.name).blob(name).upload_from_string(data)

    def get(self, name: str) -> bytes:
        data: bytes = self.client.bucket(self.name).blob(name).download_as_bytes(raw_download=True)
        return data

    def delete(self, name: str) -> None:
        self.client.bucket(self.name).delete_blob(name)

    def names(self, prefix: str = "") -> list[str]:
        return [blob.name for blob in self.client.list_blobs(self.name, prefix=prefix)]

    def generations(self, prefix: str = "") -> dict[str, int]:
        """By name: another one tells that an object was written again."""
        return {blob.name: blob.generation for blob in self.client.list_blobs(self.name, prefix=prefix)}

    def upload(self, source: Path, prefix: str) -> None:
        """All files of a directory, under their paths below it."""
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            self.put(f"{prefix}/{path.relative_to(source)}", path.read_bytes())

    def download(self, prefix: str, target: Path) -> Path:
        """All objects below a prefix, as files."""
        for name in self.names(f"{prefix}/"):
            path = target / name.removeprefix(f"{prefix}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.get(name))
        return target


@contextmanager
def serving() -> Iterator[GcsServer]:
    """A server in this block."""
    assert BINARY.exists(), f"{BINARY} is not there: run scripts/servers"
    (port,) = free_ports(1)
    where = ("-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host", f"127.0.0.1:{port}")
    own = ("-external-url", f"http://127.0.0.1:{port}", "-backend", "memory", "-log-level", "error")
    process = subprocess.Popen([BINARY, *where, *own], stdout=subprocess.DEVNULL)
    try:
        await_url(f"http://127.0.0.1:{port}/storage/v1/b?project=tests", process)
        with proxied(port, GcsRules()) as proxy:
            yield GcsServer(url=f"http://127.0.0.1:{port}", proxy=proxy, pid=process.pid)
    finally:
        process.terminate()
        process.wait(10)
