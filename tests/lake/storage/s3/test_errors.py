"""What S3's answers come to: which are waited for, and which error the others are."""

import errno
import itertools
import logging
import ssl
from typing import Any

import pytest
from urllib3.exceptions import ProtocolError

pytest.importorskip("boto3")
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    NoRegionError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from lake.core.counters import RETRIES
from lake.storage import request_retry
from lake.storage.remote import ConflictError
from lake.storage.request_retry import RequestBackoff
from lake.storage.s3.errors import answered, passes, persisted, said
from tests.lake.storage.clock import Clock

URI = "s3://b/x"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_retry, "REQUESTS", RequestBackoff(first=0.01, most=0.01, deadline=0.2))
    monkeypatch.setattr("lake.core.retry.time", Clock())
    RETRIES.take()


def answer(status: int, code: str = "", message: str = "") -> ClientError:
    error = {"Code": code, "Message": message} if code or message else {}
    content: Any = {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(content, "GetObject")


def untrusted() -> Exception:
    error = HTTPClientError(error="no")
    error.__cause__ = ssl.SSLCertVerificationError("another name")
    return error


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        *((answer(status), True) for status in (429, 500, 502, 503, 504)),
        *((answer(status), False) for status in (400, 401, 403, 404, 409, 412, 428, 430, 499, 501, 507)),
        *((answer(400, code), True) for code in ("OperationAborted", "RequestTimeout", "SlowDown")),
        (answer(501, "NotImplemented"), False),
        (answer(400, "BadDigest"), False),
        (EndpointConnectionError(endpoint_url="https://h"), True),
        (ConnectTimeoutError(endpoint_url="https://h"), True),
        (HTTPClientError(error="no"), True),
        (IncompleteReadError(actual_bytes=1, expected_bytes=2), True),
        (ResponseParserError("cut"), True),
        (ProtocolError("cut"), True),
        (untrusted(), False),
        (NoCredentialsError(), False),
        (NoRegionError(), False),
        (ValueError("no"), False),
    ],
    ids=itertools.count(),
)
def test_what_passes(error: Exception, passing: bool) -> None:
    assert passes(error) is passing


class Failing:
    """A request that fails so many times."""

    def __init__(self, error: Exception, times: int = 99) -> None:
        self.error, self.left, self.calls = error, times, 0

    def __call__(self) -> str:
        self.calls, self.left = self.calls + 1, self.left - 1
        if self.left >= 0:
            raise self.error
        return "done"


ALLOW = "allow what docs/stores.md lists, or give other credentials"


@pytest.mark.parametrize(
    ("error", "kind", "number", "text"),
    [
        (answer(412), ConflictError, errno.ESTALE, "GetObject was answered , ; another writer was faster"),
        (
            answer(412, "PreconditionFailed", "a\nb"),
            ConflictError,
            errno.ESTALE,
            "was answered PreconditionFailed, a b;",
        ),
        (answer(409, "ConditionalRequestConflict"), ConflictError, errno.ESTALE, "another writer was faster"),
        (answer(404, "NoSuchUpload"), ConflictError, errno.ESTALE, "another writer was faster"),
        (answer(404, "NoSuchKey"), FileNotFoundError, errno.ENOENT, "NoSuchKey, ; check the name"),
        (answer(404, "NoSuchBucket"), FileNotFoundError, errno.ENOENT, "make the bucket, or correct its name"),
        (answer(401), PermissionError, errno.EACCES, ALLOW),
        (answer(403, "AccessDenied"), PermissionError, errno.EACCES, ALLOW),
        (answer(403, "ExpiredToken"), PermissionError, errno.EACCES, "renew the credentials"),
        (answer(403, "InvalidAccessKeyId"), PermissionError, errno.EACCES, "check the access key"),
        (answer(403, "InvalidObjectState"), PermissionError, errno.EACCES, "restore it from its archive"),
        (answer(403, "RequestTimeTooSkewed"), PermissionError, errno.EACCES, "set this machine's clock"),
        (answer(403, "SignatureDoesNotMatch"), PermissionError, errno.EACCES, "check the secret of the access key"),
        (NoCredentialsError(), PermissionError, errno.EACCES, "no credentials could be had (NoCredentialsError)"),
        (TokenRetrievalError(provider="p", error_msg="secret"), PermissionError, errno.EACCES, ALLOW),
        (answer(507, "XMinioStorageFull", "full"), OSError, errno.ENOSPC, "XMinioStorageFull, full; make room"),
        (answer(400, "BadDigest"), OSError, errno.EIO, "other bytes arrive than are sent"),
        (answer(301, "PermanentRedirect"), OSError, errno.EIO, "name the bucket's region"),
        (answer(501, "NotImplemented"), OSError, errno.EIO, "use a server that can do it"),
        (answer(400, "Other"), OSError, errno.EIO, "check --s3-endpoint and the name"),
        (untrusted(), OSError, errno.EIO, "name the file of its authority as AWS_CA_BUNDLE"),
        (NoRegionError(), OSError, errno.EIO, "check --s3-endpoint and the name"),
        (
            answer(503, "SlowDown"),
            TimeoutError,
            errno.ETIMEDOUT,
            "SlowDown, ; no other answer in 0 s; check the network",
        ),
        (
            EndpointConnectionError(endpoint_url="https://u:w@h/?a=secret"),
            TimeoutError,
            errno.ETIMEDOUT,
            "no other answer",
        ),
    ],
    ids=itertools.count(),
)
def test_which_error_it_is(error: Exception, kind: type[OSError], number: int, text: str) -> None:
    with pytest.raises(kind) as caught:
        persisted("get_object", URI, Failing(error))
    assert type(caught.value) is kind
    assert (caught.value.errno, caught.value.filename) == (number, URI)
    assert caught.value.__cause__ is error
    assert text in str(caught.value)
    assert "secret" not in str(caught.value).replace("the secret of", "")


@pytest.mark.parametrize(
    "code", ["BadDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"]
)
def test_spoilt_bytes_are_sent_a_few_times(code: str) -> None:
    assert persisted("put_object", URI, Failing(answer(400, code), 4)) == "done"
    assert RETRIES.take() == 4
    request = Failing(answer(400, code), 5)
    with pytest.raises(OSError, match="other bytes arrive"):
        persisted("put_object", URI, request)
    assert request.calls == 5


def test_what_is_refused_is_not_asked_again() -> None:
    request = Failing(answer(403))
    with pytest.raises(PermissionError):
        persisted("get_object", URI, request)
    assert request.calls == 1


def test_what_is_no_failure_of_a_store_is_raised_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        persisted("get_object", URI, Failing(ZeroDivisionError()))


def test_of_which_status_an_answer_was() -> None:
    error = OSError("no")
    error.__cause__ = answer(404)
    assert answered(error, 404)
    assert answered(error, 500, 404)
    assert not answered(error, 500)
    assert not answered(OSError("no"), 404)


def test_what_is_said_holds_no_secret() -> None:
    assert (
        said(answer(400, "Other", "at https://u:w@h/?a=secret\n!")) == "GetObject was answered Other, at https://h/ !"
    )
    assert said(ProtocolError("at https://h/?a=secret")) == "at https://h/"


def test_a_log_says_which_request_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lake"):
        persisted("get_object", URI, Failing(answer(503), 1))
    assert [message.partition(" failed")[0] for message in caplog.messages] == ["get_object s3://b/x"]


@pytest.mark.parametrize("content", [{}, {"ResponseMetadata": {}}])
def test_an_answer_that_says_nothing(content: Any) -> None:
    bare = ClientError(content, "GetObject")
    assert said(bare) == "GetObject was answered , "
    assert not passes(bare)
    error = OSError("no")
    error.__cause__ = bare
    assert answered(error, 0)
    assert not answered(error, 1)


def test_no_answer_has_no_status() -> None:
    assert answered(OSError("no"), 0)
    assert not answered(OSError("no"), 1)
