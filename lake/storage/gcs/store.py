"""``gs://``: Google Cloud Storage and servers that implement its JSON API."""

import base64
import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
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

from lake.storage import request_retry
from lake.storage.gcs.errors import persisted, status
from lake.storage.gcs.resumable_upload import Session
from lake.storage.options import StoreOptions
from lake.storage.remote import PAGE, Head, ListedPage, PerProcess, RemoteStore, Upload, split
from lake.storage.store import Stat
from lake.storage.store_clock import StoreClock

SINGLE = 8 << 20  # objects of at most this many bytes are sent in one request; the client's own limit
_CONNECTIONS = 64  # pooled connections: more than threads that make requests
_CORRUPTED_TIMES = 2  # repeats of an upload that arrived with other bytes
_STARTS = 4  # sessions that are opened for one upload in parts
_ATTEMPT = "latentlake-attempt"  # key of the attempt id in an object's metadata
_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
_READ, _NOT_FOUND, _NO_SUCH_RANGE = (200, 206), 404, 416
_CRC32C = re.compile(r"crc32c=([^,\s]+)")  # in the header X-Goog-Hash, which lists several checksums
_FIELDS = "items(name,size,generation),prefixes,nextPageToken"
# Unless this variable is set, the client requests the metadata of every bucket, for traces.
_NO_METADATA = "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"
_EMULATOR = "STORAGE_EMULATOR_HOST"  # where Google's clients look for an endpoint


class GcsStore(RemoteStore):
    """Objects under ``gs://bucket/name``.

    Preconditions are object generations. Credentials are Google's application default credentials; if there are none,
    requests are anonymous.

    Args:
      options: endpoint, credentials and the project that pays.
    """

    def __init__(self, options: StoreOptions) -> None:
        self._payer = options.requester_pays
        self.dates = dates = StoreClock()
        self._connection = PerProcess(lambda: _connect(options, dates))

    def page(self, uri: str, *, most: int = PAGE, deep: bool = True, after: str = "", token: str = "") -> ListedPage:
        bucket, prefix = split(uri)
        which: dict[str, Any] = {"prefix": prefix, "page_size": most, **({} if deep else {"delimiter": "/"})}
        if token or after:
            which |= {"page_token": token} if token else {"start_offset": split(after)[1]}

        def request() -> tuple[list[Any], str | None, set[str]]:
            listing = self._bucket(uri).list_blobs(**which, fields=_FIELDS, **_once())
            return [*next(listing.pages)], listing.next_page_token, listing.prefixes

        blobs, following, directories = persisted("list", uri, request)
        found = (
            Stat(uri=f"gs://{bucket}/{blob.name}", size=blob.size, identity=str(blob.generation)) for blob in blobs
        )
        return ListedPage(
            # The API begins at a name, not behind it.
            stats=[stat for stat in found if stat.uri != after],
            token=following or "",
            directories=sorted(f"gs://{bucket}/{name}" for name in directories),
        )

    def head(self, uri: str) -> Head | None:
        blob = persisted("get", uri, lambda: self._bucket(uri).get_blob(split(uri)[1], **_once()))
        if blob is None:
            return None
        return Head(
            size=blob.size,
            version=str(blob.generation),
            crc32c=_hex_crc32c(blob.crc32c),
            attempt=(blob.metadata or {}).get(_ATTEMPT, ""),
        )

    def begin(self, uri: str, most: int) -> tuple[Head, bytes] | None:
        first: tuple[Head, bytes] | None = None
        try:
            first = persisted("get", uri, lambda: self._first(uri, most))
        except OSError as error:
            if status(error.__cause__) == _NOT_FOUND:
                return None
            if status(error.__cause__) != _NO_SUCH_RANGE:  # the object is empty, so it has no first byte
                raise
        if first is not None and first[0].version and first[0].crc32c:
            return first
        # Some servers leave generation or checksum out of the answer; then a second request asks for them.
        head = self.head(uri)
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
        # Generation 0 means that there must be no object. The client need not compute the checksum that is set above.
        condition = {"if_generation_match": int(version or 0), "checksum": None, **_once()}
        if upload.size <= SINGLE:
            self._send_whole(uri, blob, upload, condition)
        else:
            self._send_parts(uri, blob, upload, condition)

    def copy(self, source: str, uri: str) -> None:
        # Not the client's own method: it sends a body, which would replace the object's metadata.
        more: Mapping[str, Any] = {"done": False}
        while not more["done"]:
            token = {"rewriteToken": more["rewriteToken"]} if "rewriteToken" in more else {}
            more = persisted("rewrite", uri, partial(self._rewrite, source, uri, token))

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
        return Head(size=size, version=version, crc32c=_hex_crc32c(crc32c and crc32c[1])), data

    def _media(self, uri: str, start: int, stop: int, **which: str) -> tuple[Mapping[str, str], bytes]:
        """Headers and body of a media request for bytes ``[start, stop)``, or as far as the object goes."""
        connection = self._connection()
        how = {
            "params": {"alt": "media", **which, **self._paid},
            # Accepting gzip keeps the server from decompressing objects that are stored with Content-Encoding: gzip.
            "headers": {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "gzip"},
            "timeout": request_retry.REQUESTS.stall,
            "stream": True,
        }
        url = f"{connection.client.api_endpoint}/download/storage/v1{_path(uri)}"
        with connection.transport.get(url, **how) as answer:
            if answer.status_code not in _READ:
                raise from_http_response(answer)
            data = answer.raw.read(decode_content=False)
        return answer.headers, _complete(data, start, stop, answer.headers.get("Content-Range"))

    def _rewrite(self, source: str, uri: str, which: Mapping[str, str]) -> Mapping[str, Any]:
        connection = self._connection()
        url = f"{connection.client.api_endpoint}/storage/v1{_path(source)}/rewriteTo{_path(uri)}"
        how = {"params": {**which, **self._paid}, "timeout": request_retry.REQUESTS.stall}
        with connection.transport.post(url, **how) as answer:
            if answer.status_code not in _READ:
                raise from_http_response(answer)
            found: Mapping[str, Any] = answer.json()
        return found

    @property
    def _paid(self) -> dict[str, str]:
        return {"userProject": self._payer} if self._payer else {}

    def _send_whole(self, uri: str, blob: Any, upload: Upload, condition: dict[str, Any]) -> None:
        def request() -> None:
            blob.upload_from_file(upload.file, rewind=True, size=upload.size, **_TYPE, **condition)

        persisted("insert", uri, request, spoilt=_CORRUPTED_TIMES, once=upload.once)

    def _send_parts(self, uri: str, blob: Any, upload: Upload, condition: dict[str, Any]) -> None:
        """Upload in parts. A lost session, or one that received other bytes, is opened anew."""
        how = {"size": upload.size, **_TYPE, **condition}
        for _ in range(_STARTS):
            url = persisted("insert", uri, lambda: blob.create_resumable_upload_session(**how))
            made = Session(uri=uri, url=url, transport=self._connection().transport).send(upload)
            if made is None:
                continue
            if _hex_crc32c(made.get("crc32c")) in ("", upload.crc32c):
                return
            self.remove(uri, made.get("generation"))  # this server does not verify checksums
        raise OSError(errno.EIO, f"an upload in parts broke {_STARTS} times; check the network, and run again", uri)

    def _blob(self, uri: str) -> Any:
        return self._bucket(uri).blob(split(uri)[1])

    def _bucket(self, uri: str) -> Any:
        return self._connection().client.bucket(split(uri)[0], user_project=self._payer)


_TYPE = {"content_type": "application/octet-stream"}


def _once() -> dict[str, Any]:
    """Arguments that turn the client's own retries off: ``persisted`` makes and counts them."""
    return {"timeout": request_retry.REQUESTS.stall, "retry": None}


def _complete(data: bytes, start: int, stop: int, place: str | None) -> bytes:
    """The bytes, if they are all that was requested or all that there is.

    Raises:
      IncompleteRead: some are missing.
    """
    size = int(place.rpartition("/")[2]) if place else start + len(data)
    if missing := min(stop, size) - start - len(data):
        raise IncompleteRead(len(data), missing)
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class _Connection:
    """Google's client and the ``requests`` session under it."""

    client: Any
    transport: Any


def _connect(options: StoreOptions, dates: StoreClock) -> _Connection:
    os.environ.setdefault(_NO_METADATA, "true")
    endpoint = options.gcs_endpoint or os.environ.get(_EMULATOR)
    # Credentials are never sent over plain http, where anybody could read them.
    bare = options.anonymous or (endpoint is not None and not endpoint.startswith("https://"))
    transport = AuthorizedSession(AnonymousCredentials() if bare else _credentials())
    transport.hooks["response"].append(lambda answer, **_: dates.hear(answer.headers.get("Date"), _seconds(answer)))
    for scheme in ("https://", "http://"):
        transport.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
    where = {"api_endpoint": options.gcs_endpoint.rstrip("/")} if options.gcs_endpoint else None
    client = storage.Client(project=None, credentials=transport.credentials, _http=transport, client_options=where)
    return _Connection(client=client, transport=transport)


def _seconds(answer: Any) -> float:
    took: float = answer.elapsed.total_seconds()
    return took


def _path(uri: str) -> str:
    """An object's path in the API's URLs."""
    bucket, name = (quote(part, safe="") for part in split(uri))
    return f"/b/{bucket}/o/{name}"


def _credentials() -> Any:
    try:
        return google.auth.default(scopes=(_SCOPE,))[0]
    except DefaultCredentialsError as error:
        if CREDENTIALS in os.environ:
            raise PermissionError(errno.EACCES, f"{error}; correct {CREDENTIALS}, or use --anonymous") from error
        return AnonymousCredentials()


def _hex_crc32c(crc32c: str | None) -> str:
    """A base64 CRC-32C as eight hexadecimal digits; "" if the store does not know it."""
    return base64.b64decode(crc32c or "").hex()
