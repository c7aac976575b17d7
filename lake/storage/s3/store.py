"""``s3://``: Amazon S3 and servers that implement its API."""

import base64
import errno
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import google_crc32c

from lake.core.errors import UsageError
from lake.storage import request_retry
from lake.storage.guard import Guard
from lake.storage.options import StoreOptions
from lake.storage.remote import (
    PAGE,
    ConflictError,
    Head,
    ListedPage,
    PerProcess,
    RemoteStore,
    Upload,
    split,
)
from lake.storage.store import Stat
from lake.storage.store_clock import StoreClock

try:
    import boto3
except ImportError as error:
    raise UsageError("s3:// needs boto3, which is not installed; run: pip install 'latentlake[s3]'") from error
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import IncompleteReadError

from lake.storage.s3 import delete_objects
from lake.storage.s3.delete_objects import Deletions
from lake.storage.s3.errors import FAILURES, NOT_IMPLEMENTED, answered, persisted, said

SINGLE = 64 << 20  # objects of at most this many bytes are sent in one request
PART = 16 << 20  # bytes of each part of a larger one
_SMALL = 1 << 20  # sent as bytes: for a file object the client would wait for "100 Continue" first
_PARTS = 10_000  # parts of one object, the API's maximum
_LANES = 4  # parts that are sent at once
_CONNECTIONS = 64  # pooled connections: more than threads that make requests
_ATTEMPT = "latentlake-attempt"  # key of the attempt id in an object's metadata


class S3Store(RemoteStore):
    """Objects under ``s3://bucket/name``.

    Preconditions are ETags (``If-Match``, ``If-None-Match``). Credentials come from where Amazon's tools look for them;
    if there are none, requests are not signed.

    Args:
      options: endpoint, credentials and who pays.
    """

    many = delete_objects.MOST

    def __init__(self, options: StoreOptions) -> None:
        self.dates = dates = StoreClock()
        self._client = PerProcess(lambda: _connect(options, dates))
        self._payer = {"RequestPayer": "requester"} if options.requester_pays else {}
        self._proven = set[str]()  # buckets whose server was seen to honour a precondition
        self._deletions = Deletions(self._ask)

    def page(self, uri: str, *, most: int = PAGE, deep: bool = True, after: str = "", token: str = "") -> ListedPage:
        bucket, prefix = split(uri)
        which = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": most, **({} if deep else {"Delimiter": "/"})}
        begin = {"ContinuationToken": token} if token else {"StartAfter": split(after)[1]} if after else {}
        page = self._ask("list_objects_v2", uri, **which, **begin)
        return ListedPage(
            stats=[
                Stat(uri=f"s3://{bucket}/{entry['Key']}", size=entry["Size"], identity=_version(entry["ETag"]))
                for entry in page.get("Contents", ())
            ],
            token=page["NextContinuationToken"] if page["IsTruncated"] else "",
            directories=[f"s3://{bucket}/{entry['Prefix']}" for entry in page.get("CommonPrefixes", ())],
        )

    def head(self, uri: str) -> Head | None:
        try:
            found = self._ask("head_object", uri, **_named(uri), ChecksumMode="ENABLED")
        except FileNotFoundError:
            return None
        return Head(
            size=found["ContentLength"],
            version=_version(found["ETag"]),
            crc32c=_checksum(found),
            attempt=found["Metadata"].get(_ATTEMPT, ""),
        )

    def fetch(self, uri: str, start: int, stop: int, version: str) -> bytes:
        if start >= stop:
            return b""

        def request() -> bytes:
            # If-Match fails if the object was replaced, so parts of two versions are never mixed.
            answer = self._client().get_object(
                **_named(uri), **self._payer, Range=f"bytes={start}-{stop - 1}", IfMatch=f'"{version}"'
            )
            with closing(answer["Body"]) as body:
                data: bytes = body.read()
            if len(data) != stop - start:
                raise IncompleteReadError(actual_bytes=len(data), expected_bytes=stop - start)
            return data

        return persisted("get_object", uri, request)

    def send(self, uri: str, upload: Upload, version: str | None) -> None:
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": f'"{version}"'}
        try:
            (self._send_whole if upload.size <= SINGLE else self._send_parts)(uri, upload, condition)
        except FileNotFoundError as error:
            if version is None:  # nothing was to be replaced, so it is the bucket that is missing
                raise
            raise ConflictError(errno.ESTALE, "is gone: another writer removed it", uri) from error
        if version is None and upload.size <= _SMALL:
            self._prove(uri, upload)

    def copy(self, source: str, uri: str) -> None:
        self._ask("copy_object", uri, **_named(uri), CopySource=_named(source))

    def remove(self, uri: str, version: str | None) -> None:
        condition = {} if version is None else {"IfMatch": f'"{version}"'}
        try:
            self._ask("delete_object", uri, **_named(uri), **condition)
        except FileNotFoundError:
            return
        except OSError as error:
            # Some servers know no conditional delete.
            if not condition or not answered(error, NOT_IMPLEMENTED):
                raise
            self.remove(uri, None)

    def remove_many(self, uris: Sequence[str]) -> Sequence[str]:
        return self._deletions.remove(uris)

    def sweep(self, prefix: str, before: float, guard: Guard) -> None:
        """Abort multipart uploads whose writers were killed. Until then their parts take space, and cost money."""
        bucket, name = split(prefix.rstrip("/") + "/")
        next_page: dict[str, str] = {}
        while True:
            page = self._ask("list_multipart_uploads", prefix, Bucket=bucket, Prefix=name, **next_page)
            if page.get("Uploads"):
                self.look(guard)
            for left in page.get("Uploads", ()):
                if left["Initiated"].timestamp() < before:
                    self._abort(f"s3://{bucket}/{left['Key']}", left["UploadId"])
            if not page["IsTruncated"]:
                return
            next_page = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def _send_whole(self, uri: str, upload: Upload, condition: dict[str, str]) -> None:
        def request() -> None:
            upload.file.seek(0)
            body = upload.file if upload.size > _SMALL else upload.file.read(upload.size)
            self._client().put_object(
                **_named(uri),
                **self._payer,
                **condition,
                Body=body,
                ContentLength=upload.size,
                ChecksumCRC32C=_base64(upload.crc32c),
                Metadata={_ATTEMPT: upload.attempt},
            )

        persisted("put_object", uri, request, once=upload.once)

    def _prove(self, uri: str, upload: Upload) -> None:
        """Check once per bucket that the server honours preconditions, by sending the same conditional write once more.

        Leases depend on them: without preconditions two runs could hold one output at the same time.
        """
        bucket = split(uri)[0]
        if bucket in self._proven:
            return
        try:
            self._send_whole(uri, upload, {"IfNoneMatch": "*"})
        except ConflictError:
            self._proven.add(bucket)
            return
        lacks = "its server takes no notice of If-None-Match, so two runs could write at once"
        raise OSError(errno.ENOTSUP, f"{lacks}; use one that does, or a newer version (docs/stores.md)", uri)

    def _send_parts(self, uri: str, upload: Upload, condition: dict[str, str]) -> None:
        begun = self._start(uri, upload)
        try:
            parts = self._parts(uri, upload, begun["UploadId"])
            whole = begun.get("ChecksumType") == "FULL_OBJECT"
            checksum = {"ChecksumType": "FULL_OBJECT", "ChecksumCRC32C": _base64(upload.crc32c)} if whole else {}
            self._ask(
                "complete_multipart_upload",
                uri,
                **_named(uri),
                **condition,
                **checksum,
                UploadId=begun["UploadId"],
                MultipartUpload={"Parts": parts},
            )
        except BaseException:  # parts of an upload that is not completed cost money until it is aborted
            self._abort(uri, begun["UploadId"])
            raise
        self._compare(uri, upload)

    def _start(self, uri: str, upload: Upload) -> Any:
        """Begin a multipart upload, with one checksum over the whole object if the server supports that."""
        arguments = {**_named(uri), "ChecksumAlgorithm": "CRC32C", "Metadata": {_ATTEMPT: upload.attempt}}
        try:
            return self._ask("create_multipart_upload", uri, **arguments, ChecksumType="FULL_OBJECT")
        except OSError as error:
            if not answered(error, 400, NOT_IMPLEMENTED):
                raise
            return self._ask("create_multipart_upload", uri, **arguments)

    def _parts(self, uri: str, upload: Upload, upload_id: str) -> list[dict[str, Any]]:
        # The file has one position, so reading is under a lock; sending is parallel.
        size, lock = max(PART, -(-upload.size // _PARTS)), threading.Lock()

        def send(start: int) -> dict[str, Any]:
            with lock:
                upload.file.seek(start)
                data = upload.file.read(min(size, upload.size - start))
            part = {
                "PartNumber": start // size + 1,
                "ChecksumCRC32C": _base64(f"{google_crc32c.value(data):08x}"),
            }
            answer = self._ask("upload_part", uri, **_named(uri), **part, UploadId=upload_id, Body=data)
            return {**part, "ETag": answer["ETag"]}

        with ThreadPoolExecutor(_LANES, thread_name_prefix="send") as lanes:
            return [*lanes.map(send, range(0, upload.size, size))]

    def _compare(self, uri: str, upload: Upload) -> None:
        """Verify the size of the object, since some servers do not verify the checksum of a multipart upload."""
        head = self.head(uri)
        if head is not None and head.attempt == upload.attempt and head.size != upload.size:
            self.remove(uri, head.version)
            raise OSError(errno.EIO, f"got {head.size} bytes of {upload.size}; it was removed, run the job again", uri)

    def _abort(self, uri: str, upload_id: str) -> None:
        """Abort a multipart upload, in one attempt; the next sweep removes what is left."""
        try:
            self._client().abort_multipart_upload(**_named(uri), **self._payer, UploadId=upload_id)
        except FAILURES as error:
            logging.getLogger(__name__).info("parts of %s may stay until the next run: %s", uri, said(error))

    def _ask(self, request: str, uri: str, **arguments: Any) -> Any:
        """Call the client's method ``request``, with retries."""
        return persisted(request, uri, lambda: getattr(self._client(), request)(**arguments, **self._payer))


def _connect(options: StoreOptions, dates: StoreClock) -> Any:
    try:
        session = boto3.session.Session()
        signed = not options.anonymous and session.get_credentials() is not None
        config = Config(
            signature_version=None if signed else UNSIGNED,
            connect_timeout=request_retry.REQUESTS.stall,
            read_timeout=request_retry.REQUESTS.stall,
            retries={"total_max_attempts": 1},  # persisted() makes and counts them
            max_pool_connections=_CONNECTIONS,
            tcp_keepalive=True,
            request_checksum_calculation="when_required",  # each upload has one already
            response_checksum_validation="when_required",
        )
        region = session.region_name or "us-east-1"  # the client requires a region, even for other servers
        client = session.client("s3", region_name=region, endpoint_url=options.s3_endpoint, config=config)
        _tell_time(client, dates)
        return client
    except FAILURES as error:
        raise UsageError(f"s3://: {said(error)}; correct Amazon's configuration, or use --anonymous") from error


def _tell_time(client: Any, dates: StoreClock) -> None:
    """Let a clock hear the dates of all answers that a client gets."""
    sent = threading.local()

    def sending(**_: Any) -> None:
        sent.at = time.monotonic()

    def answered(response_dict: Any = None, **_: Any) -> None:
        if response_dict is not None:
            dates.hear(response_dict["headers"].get("Date"), time.monotonic() - sent.at)

    client.meta.events.register("before-send.s3", sending)
    client.meta.events.register("response-received.s3", answered)


def _named(uri: str) -> dict[str, str]:
    bucket, name = split(uri)
    return {"Bucket": bucket, "Key": name}


def _version(etag: str) -> str:
    """An ETag without quotes, which some servers put in one answer and leave out of another."""
    return etag.strip('"')


def _checksum(found: Any) -> str:
    """CRC-32C of an object's bytes; "" for a composite one, which is over the checksums of its parts."""
    value: str = found.get("ChecksumCRC32C", "")
    if found.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT" or "-" in value:
        return ""
    return base64.b64decode(value).hex()


def _base64(crc32c: str) -> str:
    """A CRC-32C as S3 spells it: base64 of four bytes."""
    return base64.b64encode(bytes.fromhex(crc32c)).decode()
