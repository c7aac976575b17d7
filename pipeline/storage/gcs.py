"""``gs://``: Google Cloud Storage, and servers that speak its JSON API."""

import base64
import errno
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import google.auth
from google.api_core.exceptions import from_http_response
from google.auth.credentials import AnonymousCredentials
from google.auth.environment_vars import CREDENTIALS
from google.auth.exceptions import DefaultCredentialsError
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage
from requests.adapters import HTTPAdapter
from urllib3.exceptions import IncompleteRead

from pipeline.storage import tries
from pipeline.storage.base import Stat
from pipeline.storage.gcs_errors import persisted, status
from pipeline.storage.gcs_session import Session
from pipeline.storage.options import StoreOptions
from pipeline.storage.remote import Head, PerProcess, RemoteStore, Upload, split

SINGLE = 8 << 20  # bytes of an object that is sent in one request; the client's own limit
_PAGE = 1_000  # objects of one listing request: the most that it may have
_CONNECTIONS = 64  # kept open: more than threads that ask
_SPOILT = 2  # times that an upload is sent again when the store got other bytes
_STARTS = 4  # of an upload in parts
_ATTEMPT = "latentlake-attempt"  # in the metadata of what this job writes
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_READ, _NOT_FOUND, _NO_SUCH_RANGE = (200, 206), 404, 416
_CRC32C = re.compile(r"crc32c=([^,\s]+)")  # among the checksums of an answer
_FIELDS = "items(name,size,generation),nextPageToken"
_NO_METADATA = "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"  # else it asks for every bucket, for traces
_EMULATOR = "STORAGE_EMULATOR_HOST"  # Google's clients take an endpoint from there


class GcsStore(RemoteStore):
    """Objects under ``gs://bucket/name``.

    Preconditions are generations. Credentials are Google's application default ones; without any, requests have none.
    """

    def __init__(self, options: StoreOptions) -> None:
        self._payer = options.requester_pays
        self._connection = PerProcess(lambda: _connect(options))

    def pages(self, uri: str, most: int | None = None) -> Iterator[Stat]:
        bucket, prefix = split(uri)
        token: str | None = ""
        while token is not None:
            found, token = self._page(uri, prefix, token, min(most or _PAGE, _PAGE))
            for blob in found[:most]:
                yield Stat(uri=f"gs://{bucket}/{blob.name}", size=blob.size, identity=str(blob.generation))
            if most is not None and (most := most - len(found)) <= 0:
                return

    def head(self, uri: str) -> Head | None:
        blob = persisted("get", uri, lambda: self._bucket(uri).get_blob(split(uri)[1], **_once()))
        if blob is None:
            return None
        return Head(
            size=blob.size,
            version=str(blob.generation),
            crc32c=_decoded(blob.crc32c),
            attempt=(blob.metadata or {}).get(_ATTEMPT, ""),
        )

    def begin(self, uri: str, most: int) -> tuple[Head, bytes] | None:
        first: tuple[Head, bytes] | None = None
        try:
            first = persisted("get", uri, lambda: self._first(uri, most))
        except OSError as error:
            if status(error.__cause__) == _NOT_FOUND:
                return None
            if status(error.__cause__) != _NO_SUCH_RANGE:  # it is empty, so it has no first byte
                raise
        if first is not None and first[0].version and first[0].crc32c:
            return first
        head = self.head(uri)  # what the answer did not say
        same = first is not None and head is not None and first[0].version == head.version
        return None if head is None else (head, first[1] if first and same else b"")

    def fetch(self, uri: str, start: int, stop: int, version: str) -> bytes:
        if start >= stop:
            return b""

        def request() -> bytes:
            return self._media(uri, start, stop, generation=version)[1]

        return persisted("get", uri, request)

    def send(self, uri: str, upload: Upload, version: str | None) -> None:
        blob = self._blob(uri)
        blob.crc32c = base64.b64encode(bytes.fromhex(upload.crc32c)).decode()
        blob.metadata = {_ATTEMPT: upload.attempt}
        condition = {"if_generation_match": int(version or 0), "checksum": None, **_once()}
        if upload.size <= SINGLE:
            self._send_whole(uri, blob, upload, condition)
        else:
            self._send_parts(uri, blob, upload, condition)

    def remove(self, uri: str, version: str | None) -> None:
        condition = {} if version is None else {"if_generation_match": int(version)}
        try:
            persisted("delete", uri, lambda: self._blob(uri).delete(**condition, **_once()))
        except FileNotFoundError:
            return

    def _first(self, uri: str, most: int) -> tuple[Head, bytes]:
        headers, data = self._media(uri, 0, most)
        crc32c = _CRC32C.search(headers.get("X-Goog-Hash", ""))
        size = int(headers["Content-Range"].rpartition("/")[2]) if "Content-Range" in headers else len(data)
        version = headers.get("X-Goog-Generation", "")
        return Head(size=size, version=version, crc32c=_decoded(crc32c and crc32c[1])), data

    def _media(self, uri: str, start: int, stop: int, **which: str) -> tuple[Mapping[str, str], bytes]:
        """Headers and bytes of an answer: all bytes from ``start`` to ``stop``, or to the end of the object."""
        bucket, name = (quote(part, safe="") for part in split(uri))
        connection = self._connection()
        payer = {"userProject": self._payer} if self._payer else {}
        how = {
            "params": {"alt": "media", **which, **payer},
            "headers": {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "gzip"},  # as it is stored
            "timeout": tries.PATIENCE.stall,
            "stream": True,
        }
        url = f"{connection.client.api_endpoint}/download/storage/v1/b/{bucket}/o/{name}"
        with connection.transport.get(url, **how) as answer:
            if answer.status_code not in _READ:
                raise from_http_response(answer)
            data = answer.raw.read(decode_content=False)
        return answer.headers, _complete(data, start, stop, answer.headers.get("Content-Range"))

    def _page(self, uri: str, prefix: str, token: str, size: int) -> tuple[list[Any], str | None]:
        def request() -> tuple[list[Any], str | None]:
            how = {"page_token": token or None, "page_size": size, "fields": _FIELDS, **_once()}
            listing = self._bucket(uri).list_blobs(prefix=prefix, **how)
            return [*next(listing.pages)], listing.next_page_token

        return persisted("list", uri, request)

    def _send_whole(self, uri: str, blob: Any, upload: Upload, condition: dict[str, Any]) -> None:
        def request() -> None:
            blob.upload_from_file(upload.file, rewind=True, size=upload.size, **_TYPE, **condition)

        persisted("insert", uri, request, spoilt=_SPOILT)

    def _send_parts(self, uri: str, blob: Any, upload: Upload, condition: dict[str, Any]) -> None:
        """An upload whose session the store forgot, or that got other bytes, begins again."""
        how = {"size": upload.size, **_TYPE, **condition}
        for _ in range(_STARTS):
            url = persisted("insert", uri, lambda: blob.create_resumable_upload_session(**how))
            made = Session(uri=uri, url=url, transport=self._connection().transport).send(upload)
            if made is None:
                continue
            if _decoded(made.get("crc32c")) in ("", upload.crc32c):
                return
            self.remove(uri, made.get("generation"))  # the server compares nothing
        raise OSError(errno.EIO, f"an upload in parts broke {_STARTS} times; check the network, and run again", uri)

    def _blob(self, uri: str, generation: int | None = None) -> Any:
        return self._bucket(uri).blob(split(uri)[1], generation=generation)

    def _bucket(self, uri: str) -> Any:
        return self._connection().client.bucket(split(uri)[0], user_project=self._payer)


_TYPE = {"content_type": "application/octet-stream"}


def _once() -> dict[str, Any]:
    """``persisted`` makes a request again, and counts; the client does not."""
    return {"timeout": tries.PATIENCE.stall, "retry": None}


def _complete(data: bytes, start: int, stop: int, place: str | None) -> bytes:
    """The bytes, if they are all that was asked for, or all that there is."""
    size = int(place.rpartition("/")[2]) if place else start + len(data)
    if missing := min(stop, size) - start - len(data):
        raise IncompleteRead(len(data), missing)
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class _Connection:
    """Google's client, and the session of ``requests`` that is below it."""

    client: Any
    transport: Any


def _connect(options: StoreOptions) -> _Connection:
    os.environ.setdefault(_NO_METADATA, "true")
    endpoint = options.gcs_endpoint or os.environ.get(_EMULATOR)
    bare = options.anonymous or (endpoint is not None and not endpoint.startswith("https://"))
    transport = AuthorizedSession(AnonymousCredentials() if bare else _credentials())
    for scheme in ("https://", "http://"):
        transport.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
    where = {"api_endpoint": options.gcs_endpoint.rstrip("/")} if options.gcs_endpoint else None
    client = storage.Client(project=None, credentials=transport.credentials, _http=transport, client_options=where)
    return _Connection(client=client, transport=transport)


def _credentials() -> Any:
    try:
        return google.auth.default(scopes=(_SCOPE,))[0]
    except DefaultCredentialsError as error:
        if CREDENTIALS in os.environ:
            raise PermissionError(errno.EACCES, f"{error}; correct {CREDENTIALS}, or use --anonymous") from error
        return AnonymousCredentials()


def _decoded(crc32c: str | None) -> str:
    """As eight hexadecimal digits; "" where the store does not know it."""
    return base64.b64decode(crc32c or "").hex()
