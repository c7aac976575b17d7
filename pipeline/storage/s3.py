"""``s3://``: Amazon S3, and servers that speak its protocol."""

import base64
import errno
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import google_crc32c

from pipeline.errors import UsageError
from pipeline.storage import tries
from pipeline.storage.base import Stat
from pipeline.storage.options import StoreOptions
from pipeline.storage.remote import ConflictError, Head, PerProcess, RemoteStore, Upload, split

try:
    import boto3
except ImportError as error:
    raise UsageError("s3:// needs boto3, which is not installed; run: pip install 'latentlake[s3]'") from error
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import IncompleteReadError

from pipeline.storage.s3_errors import FAILURES, NOT_IMPLEMENTED, answered, persisted, said

SINGLE = 64 << 20  # bytes of an object that is sent in one request
PART = 16 << 20  # bytes of each request of a larger one
_SMALL = 1 << 20  # bytes that are just sent; with a file the client first asks whether the server wants it
_PARTS = 10_000  # of one object, at most
_LANES = 4  # parts on their way at once
_PAGE = 1_000  # objects of one listing request
_CONNECTIONS = 64  # kept open: more than threads that ask
_ATTEMPT = "latentlake-attempt"  # in the metadata of what this job writes


class S3Store(RemoteStore):
    """Objects under ``s3://bucket/name``.

    Preconditions are ETags. Credentials come from where Amazon's tools take them; without any, requests are not signed.
    """

    def __init__(self, options: StoreOptions) -> None:
        self._client = PerProcess(lambda: _connect(options))
        self._payer = {"RequestPayer": "requester"} if options.requester_pays else {}
        self._proven = set[str]()  # buckets whose server was seen to refuse what a precondition forbids

    def pages(self, uri: str, most: int | None = None) -> Iterator[Stat]:
        bucket, prefix = split(uri)
        going_on: dict[str, str] = {}
        while True:
            page = self._ask(
                "list_objects_v2", uri, Bucket=bucket, Prefix=prefix, MaxKeys=min(most or _PAGE, _PAGE), **going_on
            )
            found = page.get("Contents", ())
            for entry in found[:most]:
                yield Stat(uri=f"s3://{bucket}/{entry['Key']}", size=entry["Size"], identity=_version(entry["ETag"]))
            most = most and most - len(found)
            if not page["IsTruncated"] or (most is not None and most <= 0):
                return
            going_on = {"ContinuationToken": page["NextContinuationToken"]}

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
            if version is None:  # there is no such bucket
                raise
            raise ConflictError(errno.ESTALE, "is gone: another writer removed it", uri) from error
        if version is None and upload.size <= _SMALL:
            self._prove(uri, upload)

    def remove(self, uri: str, version: str | None) -> None:
        condition = {} if version is None else {"IfMatch": f'"{version}"'}
        try:
            self._ask("delete_object", uri, **_named(uri), **condition)
        except FileNotFoundError:
            return
        except OSError as error:
            if not condition or not answered(error, NOT_IMPLEMENTED):
                raise
            self.remove(uri, None)

    def sweep(self, prefix: str, before: float) -> None:
        """Give up uploads in parts whose writers were killed: what they sent takes space until then."""
        bucket, name = split(prefix.rstrip("/") + "/")
        going_on: dict[str, str] = {}
        while True:
            page = self._ask("list_multipart_uploads", prefix, Bucket=bucket, Prefix=name, **going_on)
            for left in page.get("Uploads", ()):
                if left["Initiated"].timestamp() < before:
                    self._abort(f"s3://{bucket}/{left['Key']}", left["UploadId"])
            if not page["IsTruncated"]:
                return
            going_on = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

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
                ChecksumCRC32C=_encoded(upload.crc32c),
                Metadata={_ATTEMPT: upload.attempt},
            )

        persisted("put_object", uri, request)

    def _prove(self, uri: str, upload: Upload) -> None:
        """Send the same again, once for each bucket: where that is not refused, two runs could hold an output."""
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
            checksum = {"ChecksumType": "FULL_OBJECT", "ChecksumCRC32C": _encoded(upload.crc32c)} if whole else {}
            self._ask(
                "complete_multipart_upload",
                uri,
                **_named(uri),
                **condition,
                **checksum,
                UploadId=begun["UploadId"],
                MultipartUpload={"Parts": parts},
            )
        except BaseException:
            self._abort(uri, begun["UploadId"])
            raise
        self._compare(uri, upload)

    def _start(self, uri: str, upload: Upload) -> Any:
        """An upload in parts, with one checksum over all of them where the server knows such a thing."""
        arguments = {**_named(uri), "ChecksumAlgorithm": "CRC32C", "Metadata": {_ATTEMPT: upload.attempt}}
        try:
            return self._ask("create_multipart_upload", uri, **arguments, ChecksumType="FULL_OBJECT")
        except OSError as error:
            if not answered(error, 400, NOT_IMPLEMENTED):
                raise
            return self._ask("create_multipart_upload", uri, **arguments)

    def _parts(self, uri: str, upload: Upload, upload_id: str) -> list[dict[str, Any]]:
        size, lock = max(PART, -(-upload.size // _PARTS)), threading.Lock()

        def send(start: int) -> dict[str, Any]:
            with lock:
                upload.file.seek(start)
                data = upload.file.read(min(size, upload.size - start))
            part = {"PartNumber": start // size + 1, "ChecksumCRC32C": _encoded(f"{google_crc32c.value(data):08x}")}
            answer = self._ask("upload_part", uri, **_named(uri), **part, UploadId=upload_id, Body=data)
            return {**part, "ETag": answer["ETag"]}

        with ThreadPoolExecutor(_LANES, thread_name_prefix="send") as lanes:
            return [*lanes.map(send, range(0, upload.size, size))]

    def _compare(self, uri: str, upload: Upload) -> None:
        """Not every server has compared all of the parts with the one checksum."""
        head = self.head(uri)
        if head is not None and head.attempt == upload.attempt and head.size != upload.size:
            self.remove(uri, head.version)
            raise OSError(errno.EIO, f"got {head.size} bytes of {upload.size}; it was removed, run the job again", uri)

    def _abort(self, uri: str, upload_id: str) -> None:
        """Tried once: what stays is found by the next sweep."""
        try:
            self._client().abort_multipart_upload(**_named(uri), **self._payer, UploadId=upload_id)
        except FAILURES as error:
            logging.getLogger(__name__).info("parts of %s may stay until the next run: %s", uri, said(error))

    def _ask(self, request: str, uri: str, **arguments: Any) -> Any:
        """What the client's method of this name answers."""
        return persisted(request, uri, lambda: getattr(self._client(), request)(**arguments, **self._payer))


def _connect(options: StoreOptions) -> Any:
    try:
        session = boto3.session.Session()
        signed = not options.anonymous and session.get_credentials() is not None
        config = Config(
            signature_version=None if signed else UNSIGNED,
            connect_timeout=tries.PATIENCE.stall,
            read_timeout=tries.PATIENCE.stall,
            retries={"total_max_attempts": 1},  # persisted() makes them, and counts
            max_pool_connections=_CONNECTIONS,
            tcp_keepalive=True,
            request_checksum_calculation="when_required",  # each upload brings its own
            response_checksum_validation="when_required",
        )
        region = session.region_name or "us-east-1"
        return session.client("s3", region_name=region, endpoint_url=options.s3_endpoint, config=config)
    except FAILURES as error:
        raise UsageError(f"s3://: {said(error)}; correct Amazon's configuration, or use --anonymous") from error


def _named(uri: str) -> dict[str, str]:
    bucket, name = split(uri)
    return {"Bucket": bucket, "Key": name}


def _version(etag: str) -> str:
    """Some servers quote it in one answer and not in another."""
    return etag.strip('"')


def _checksum(found: Any) -> str:
    """CRC-32C of an object's bytes; a composite one is of its parts' checksums instead."""
    value: str = found.get("ChecksumCRC32C", "")
    if found.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT" or "-" in value:
        return ""
    return base64.b64decode(value).hex()


def _encoded(crc32c: str) -> str:
    """As S3 writes a checksum."""
    return base64.b64encode(bytes.fromhex(crc32c)).decode()
