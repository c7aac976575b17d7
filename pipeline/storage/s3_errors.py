"""What S3 answers where it does not do what it was asked: which of it may pass, and the others as ``OSError``."""

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

from pipeline.storage import tries
from pipeline.storage.failures import clean, has_bad_certificate
from pipeline.storage.remote import ConflictError

T = TypeVar("T")

FAILURES = (BotoCoreError, ClientError, HTTPError, ResponseParserError)  # all that the client raises
_NETWORK = (ConnectionError, HTTPClientError, IncompleteReadError, ResponseParserError, HTTPError)
_NO_CREDENTIALS = (
    *(CredentialRetrievalError, NoCredentialsError, PartialCredentialsError),
    *(SSOError, TokenRetrievalError),
)
_SPOILT = {"BadDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}  # on the way
_SPOILT_TIMES = 4  # that they are sent again
_PASSING = {"OperationAborted", "RequestTimeout", "SlowDown"}  # whatever their status
_CONFLICTS = {"ConditionalRequestConflict", "NoSuchUpload", "PreconditionFailed"}
NOT_IMPLEMENTED = 501
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


def persisted(name: str, uri: str, request: Callable[[], T]) -> T:
    """The answer to a request, which is made again while what comes instead may pass.

    Raises:
      OSError: of the kind that the answer is, with the URI and what to do; TimeoutError after the deadline.
    """
    left = iter(range(_SPOILT_TIMES))

    def passing(error: Exception) -> bool:
        return passes(error) or (_code(error)[0] in _SPOILT and next(left, None) is not None)

    try:
        return tries.persist(f"{name} {uri}", request, passing)
    except FAILURES as error:
        raise _translated(uri, error) from error


def passes(error: Exception) -> bool:
    """Whether the same request may get another answer later: overload, the server's own errors, a network."""
    if isinstance(error, ClientError):
        code, status = _code(error)
        return code in _PASSING or status == 429 or (status >= 500 and status != NOT_IMPLEMENTED)
    return isinstance(error, _NETWORK) and not has_bad_certificate(error)


def answered(error: OSError, *statuses: int) -> bool:
    """Whether an error stands for an answer of one of these HTTP statuses."""
    return _code(error.__cause__)[1] in statuses


def said(error: Exception) -> str:
    """What a failure says, without what might be a secret: queries and passwords of URLs, what a helper printed."""
    if isinstance(error, ClientError):
        message = error.response.get("Error", {}).get("Message", "")
        return f"{error.operation_name} was answered {_code(error)[0]}, {clean(message)}"
    if isinstance(error, _NO_CREDENTIALS):
        return f"no credentials could be had ({type(error).__name__})"
    return clean(str(error))


def _translated(uri: str, error: Exception) -> OSError:
    code, status = _code(error)
    if passes(error):
        limit = f"no other answer in {tries.PATIENCE.deadline:.0f} s"
        return OSError(errno.ETIMEDOUT, f"{said(error)}; {limit}; check the network, and run the job again", uri)
    if code in _CONFLICTS or status == 412:
        return ConflictError(errno.ESTALE, f"{said(error)}; another writer was faster: run the job again", uri)
    if status == 404:
        return OSError(errno.ENOENT, f"{said(error)}; {_REMEDIES.get(code, 'check the name')}", uri)
    if status in (401, 403) or isinstance(error, _NO_CREDENTIALS):
        allow = "allow what docs/stores.md lists, or give other credentials, --anonymous or --requester-pays"
        return OSError(errno.EACCES, f"{said(error)}; {_REMEDIES.get(code, allow)}", uri)
    if code in _SPOILT:
        other = "other bytes arrive than are sent: check the network and this machine's disk"
        return OSError(errno.EIO, f"{said(error)}; {other}", uri)
    if has_bad_certificate(error):
        return OSError(errno.EIO, f"{said(error)}; name the file of its authority as AWS_CA_BUNDLE", uri)
    return OSError(errno.EIO, f"{said(error)}; {_REMEDIES.get(code, 'check --s3-endpoint and the name')}", uri)


def _code(error: BaseException | None) -> tuple[str, int]:
    """S3's name of an error and its HTTP status; the status alone where it says no more; ("", 0) for no answer."""
    if not isinstance(error, ClientError):
        return "", 0
    code = error.response.get("Error", {}).get("Code", "")
    return code, error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
