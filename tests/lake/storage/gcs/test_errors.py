"""What Cloud Storage's answers come to: which are waited for, and which error the others are."""

import errno
import itertools
import json
import logging
import ssl
from typing import Any

import pytest
import requests
from google.api_core.exceptions import GoogleAPICallError, from_http_response
from google.auth.exceptions import DefaultCredentialsError, RefreshError, TransportError
from google.cloud.storage.exceptions import InvalidResponse
from requests.exceptions import InvalidSchema, InvalidURL
from urllib3.exceptions import ProtocolError

from lake.core.counters import RETRIES
from lake.storage import request_retry
from lake.storage.gcs.errors import passes, persisted, status
from lake.storage.remote import ConflictError
from lake.storage.request_retry import RequestBackoff
from tests.lake.storage.clock import Clock

URI = "gs://b/x"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_retry, "REQUESTS", RequestBackoff(first=0.01, most=0.01, deadline=0.2))
    monkeypatch.setattr("lake.core.retry.time", Clock())
    RETRIES.take()


def response(code: int, message: str = "", reason: str = "", content: bytes | None = None) -> requests.Response:
    found = requests.Response()
    found.status_code = code
    errors = [{"reason": reason}] if reason else []
    body = {"error": {"message": message, "errors": errors}}
    found._content = json.dumps(body).encode() if content is None else content
    found.url = "https://h/o?upload_id=secret"
    found.request = requests.Request("GET", found.url).prepare()
    return found


def answered(code: int, **said: Any) -> Exception:
    error: Exception = from_http_response(response(code, **said))
    return error


def invalid(code: int, **said: Any) -> Exception:
    return InvalidResponse(response(code, **said), "no luck")


def retryable(error: Exception) -> Exception:
    error._retryable = True  # type: ignore[attr-defined]
    return error


def untrusted() -> Exception:
    error = requests.ConnectionError("no")
    error.__cause__ = ssl.SSLCertVerificationError("another name")
    return error


@pytest.mark.parametrize("make", [answered, invalid])
@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_overload_passes(make: Any, code: int) -> None:
    assert passes(make(code))
    assert status(make(code)) == code


@pytest.mark.parametrize("make", [answered, invalid])
@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 410, 412, 501, 507])
def test_refusals_do_not(make: Any, code: int) -> None:
    assert not passes(make(code))
    assert not passes(make(code, reason="required"))


@pytest.mark.parametrize("reason", ["backendError", "internalError", "rateLimitExceeded", "userRateLimitExceeded"])
def test_but_for_some_reasons(reason: str) -> None:
    assert passes(answered(403, reason=reason))


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (requests.ConnectionError("no"), True),
        (requests.Timeout("no"), True),
        (ProtocolError("cut"), True),
        (TransportError("no"), True),
        (RefreshError("no"), False),
        (retryable(RefreshError("no")), True),
        (DefaultCredentialsError("no"), False),
        (InvalidURL("no"), False),
        (InvalidSchema("no"), False),
        (untrusted(), False),
        (ValueError("no"), False),
        (GoogleAPICallError("no"), True),
    ],
    ids=itertools.count(),
)
def test_without_an_answer(error: Exception, passing: bool) -> None:
    assert passes(error) is passing
    assert status(error) == 0
    assert status(None) == 0


@pytest.mark.parametrize(
    ("error", "kind", "number", "text"),
    [
        (
            answered(412, message="no\nluck"),
            ConflictError,
            errno.ESTALE,
            "get was answered 412, no luck; another writer",
        ),
        (answered(404), FileNotFoundError, errno.ENOENT, "get was answered 404; check the names"),
        (answered(410), FileNotFoundError, errno.ENOENT, "get was answered 410; check the names"),
        (answered(401), PermissionError, errno.EACCES, "allow storage.objects.get, give other credentials"),
        (answered(403), PermissionError, errno.EACCES, "allow storage.objects.get, give other credentials"),
        (RefreshError("no"), PermissionError, errno.EACCES, "get failed: RefreshError, no; allow storage.objects.get"),
        (answered(400, reason="required"), PermissionError, errno.EACCES, "name the project that pays"),
        (answered(400), OSError, errno.EIO, "get was answered 400; check --gcs-endpoint and the name"),
        (
            answered(507, reason="backendError"),
            OSError,
            errno.ENOSPC,
            "get was answered 507; make room, and run the job again",
        ),
        (answered(409), OSError, errno.EIO, "get was answered 409; check --gcs-endpoint"),
        (InvalidURL("https://u:word@h/?a=secret"), OSError, errno.EIO, "get failed: InvalidURL, https://h/; check"),
        (answered(404, content=b"no JSON"), FileNotFoundError, errno.ENOENT, "get was answered 404; check"),
        (answered(404, content=b"[]"), FileNotFoundError, errno.ENOENT, "get was answered 404; check"),
        (
            answered(503, message="busy"),
            TimeoutError,
            errno.ETIMEDOUT,
            "get was answered 503, busy; no other answer in 0 s",
        ),
        (requests.ConnectionError("no"), TimeoutError, errno.ETIMEDOUT, "get failed: ConnectionError, no; no other"),
    ],
    ids=itertools.count(),
)
def test_which_error_it_is(error: Exception, kind: type[OSError], number: int, text: str) -> None:
    def request() -> None:
        raise error

    with pytest.raises(kind) as caught:
        persisted("get", URI, request)
    assert type(caught.value) is kind
    assert (caught.value.errno, caught.value.filename) == (number, URI)
    assert caught.value.__cause__ is error
    assert text in str(caught.value)
    assert "secret" not in str(caught.value)
    assert (RETRIES.take() > 0) is (kind is TimeoutError)


class Failing:
    """A request that fails so many times."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.left, self.calls = error, times, 0

    def __call__(self) -> str:
        self.calls, self.left = self.calls + 1, self.left - 1
        if self.left >= 0:
            raise self.error
        return "done"


def test_spoilt_bytes_pass_a_few_times() -> None:
    assert persisted("insert", URI, Failing(answered(400), 2), spoilt=2) == "done"
    assert RETRIES.take() == 2
    request = Failing(answered(400), 3)
    with pytest.raises(OSError, match="answered 400"):
        persisted("insert", URI, request, spoilt=2)
    assert request.calls == 3
    request = Failing(answered(400), 1)
    with pytest.raises(OSError, match="answered 400"):
        persisted("insert", URI, request)
    assert request.calls == 1
    request = Failing(answered(404), 1)
    with pytest.raises(FileNotFoundError):
        persisted("insert", URI, request, spoilt=2)
    assert request.calls == 1


def test_what_passes_is_made_again() -> None:
    assert persisted("get", URI, Failing(answered(503), 2)) == "done"


def test_what_is_no_failure_of_a_store_is_raised_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        persisted("get", URI, Failing(ZeroDivisionError(), 1))  # type: ignore[arg-type]


def test_a_log_says_which_request_it_is(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lake"):
        persisted("get", URI, Failing(answered(503), 1))
    assert [message.partition(" failed")[0] for message in caplog.messages] == ["get gs://b/x"]
