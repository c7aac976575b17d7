"""Errors of the S3 API: which are transient, and all others as ``OSError``."""

import errno
from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from lake.storage import request_retry
from lake.storage.redact import clean, has_bad_certificate
from lake.storage.remote import ConflictError

_T = TypeVar("_T")

FAILURES = (BotoCoreError, ClientError, HTTPError, ResponseParserError)  # everything that the client raises
_NETWORK = (ConnectionError, HTTPClientError, IncompleteReadError, ResponseParserError, HTTPError)
_NO_CREDENTIALS = (
    *(CredentialRetrievalError, NoCredentialsError, PartialCredentialsError),
    *(SSOError, TokenRetrievalError),
)
# Error codes of an upload that was corrupted in transit, and how often it is repeated.
_CORRUPTED = {"BadDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
_CORRUPTED_TIMES = 4
_TRANSIENT = {"OperationAborted", "RequestTimeout", "SlowDown"}  # transient, whatever their status
_CONFLICTS = {"ConditionalRequestConflict", "NoSuchUpload", "PreconditionFailed"}
NOT_IMPLEMENTED = 501
_FULL = 507  # "Insufficient Storage": MinIO's answer where its disks have no room, or a bucket has used up its quota
_REMEDIES = {
    "AuthorizationHeaderMalformed": "name the bucket's region as AWS_DEFAULT_REGION",
    "ExpiredToken": "renew the credentials",
    "InvalidAccessKeyId": "check the access key",
    "InvalidObjectState": "restore it from its archive",
    "NoSuchBucket": "make the bucket, or correct its name",
    "NotImplemented": "use a server that can do it, or a newer version of it (docs/stores.md)",
    "PermanentRedirect": "name the bucket's region as AWS_DEFAULT_REGION",
    "RequestTimeTooSkewed": "set this machine's clock",
    "SignatureDoesNotMatch": "check the secret of the access key",
}


def persisted(name: str, uri: str, request: Callable[[], _T], *, once: bool = False) -> _T:
    """Make a request, repeating it while its failure may be transient.

    Args:
      name: of the request, for the log.
      uri: of the object, for errors.
      request: must be safe to repeat if it succeeded and only its answer was lost.
      once: whether there is one attempt alone.

    Returns:
      What ``request`` returned.

    Raises:
      OSError: the subclass that fits the answer, with the URI and what to do; TimeoutError after the deadline.
    """
    left = iter(range(_CORRUPTED_TIMES))

    def passing(error: Exception) -> bool:
        return passes(error) or (_code(error)[0] in _CORRUPTED and next(left, None) is not None)

    try:
        return request_retry.persist(f"{name} {uri}", request, passing, once=once)
    except FAILURES as error:
        raise _as_os_error(uri, error) from error


def passes(error: Exception) -> bool:
    """Whether the same request may succeed later: overload, the server's own errors, network errors."""
    if isinstance(error, ClientError):
        code, status = _code(error)
        return code in _TRANSIENT or status == 429 or (status >= 500 and status not in (NOT_IMPLEMENTED, _FULL))
    return isinstance(error, _NETWORK) and not has_bad_certificate(error)


def answered(error: OSError, *statuses: int) -> bool:
    """Whether an error was caused by an answer with one of these HTTP statuses.

    Args:
      error: raised by ``persisted``.
      statuses: HTTP status codes.
    """
    return _code(error.__cause__)[1] in statuses


def said(error: Exception) -> str:
    """The message of an error, without what may be secret: parts of URLs, and the output of a credential helper."""
    if isinstance(error, ClientError):
        message = error.response.get("Error", {}).get("Message", "")
        return f"{error.operation_name} was answered {_code(error)[0]}, {clean(message)}"
    if isinstance(error, _NO_CREDENTIALS):
        return f"no credentials could be had ({type(error).__name__})"
    return clean(str(error))


def _as_os_error(uri: str, error: Exception) -> OSError:
    code, status = _code(error)
    if passes(error):
        limit = f"no other answer in {request_retry.REQUESTS.deadline:.0f} s"
        return OSError(errno.ETIMEDOUT, f"{said(error)}; {limit}; check the network, and run the job again", uri)
    if code in _CONFLICTS or status == 412:
        return ConflictError(errno.ESTALE, f"{said(error)}; another writer was faster: run the job again", uri)
    if status == 404:
        return OSError(errno.ENOENT, f"{said(error)}; {_REMEDIES.get(code, 'check the name')}", uri)
    if status in (401, 403) or isinstance(error, _NO_CREDENTIALS):
        allow = "allow what docs/stores.md lists, or give other credentials, --anonymous or --requester-pays"
        return OSError(errno.EACCES, f"{said(error)}; {_REMEDIES.get(code, allow)}", uri)
    if status == _FULL:
        return OSError(errno.ENOSPC, f"{said(error)}; make room, and run the job again", uri)
    if code in _CORRUPTED:
        other = "other bytes arrive than are sent: check the network and this machine's disk"
        return OSError(errno.EIO, f"{said(error)}; {other}", uri)
    if has_bad_certificate(error):
        return OSError(errno.EIO, f"{said(error)}; name the file of its authority as AWS_CA_BUNDLE", uri)
    return OSError(errno.EIO, f"{said(error)}; {_REMEDIES.get(code, 'check --s3-endpoint and the name')}", uri)


def _code(error: BaseException | None) -> tuple[str, int]:
    """S3's error code and the HTTP status; the status as code if there is no other, ("", 0) if there was no answer."""
    if not isinstance(error, ClientError):
        return "", 0
    code = error.response.get("Error", {}).get("Code", "")
    return code, error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
