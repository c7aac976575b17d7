"""What Cloud Storage answers where it does not do what it was asked: what may pass, and the rest as ``OSError``."""

import errno
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud.storage.exceptions import InvalidResponse
from requests.exceptions import InvalidSchema, InvalidURL, RequestException
from urllib3.exceptions import HTTPError

from pipeline.storage import tries
from pipeline.storage.failures import clean, has_bad_certificate
from pipeline.storage.remote import ConflictError

T = TypeVar("T")

FAILURES = (GoogleAPICallError, GoogleAuthError, InvalidResponse, RequestException, HTTPError)  # all of the client's
BAD_REQUEST = 400  # also of an upload whose bytes are not those of its checksum
_PASSING = {408, 429, 500, 502, 503, 504}
_PASSING_REASONS = {"backendError", "internalError", "rateLimitExceeded", "userRateLimitExceeded"}
_NEVER = (InvalidSchema, InvalidURL)  # of a URL that is none
# what must be allowed, by the request
_PERMISSIONS = {
    "list": "storage.objects.list",
    "get": "storage.objects.get",
    "insert": "storage.objects.create and, to replace, storage.objects.delete",
    "delete": "storage.objects.delete",
}


def persisted(name: str, uri: str, request: Callable[[], T], *, spoilt: int = 0) -> T:
    """The answer to a request, which is made again while what comes instead may pass.

    Args:
      name: of the request, as the JSON API calls it.
      uri: of the object, for errors.
      request: made again, so it must be harmless when it was done and only its answer was lost.
      spoilt: so many times 400 may pass as well: bytes that were spoilt on the way up are answered so.

    Raises:
      OSError: of the kind that the answer is, with the URI and what to do; TimeoutError after the deadline.
    """
    left = iter(range(spoilt))

    def passing(error: Exception) -> bool:
        return passes(error) or (status(error) == BAD_REQUEST and next(left, None) is not None)

    try:
        return tries.persist(f"{name} {uri}", request, passing)
    except FAILURES as error:
        raise _translated(name, uri, error) from error


def passes(error: Exception) -> bool:
    """Whether the same request may get another answer: overload, the server's own errors, a network, spoilt bytes."""
    if code := status(error):
        return code in _PASSING or bool(_PASSING_REASONS.intersection(_reasons(error)))
    if isinstance(error, GoogleAuthError):
        return bool(error.retryable) or isinstance(error, TransportError)
    network = isinstance(error, FAILURES) and not isinstance(error, _NEVER)
    return network and not has_bad_certificate(error)


def status(error: BaseException | None) -> int:
    """HTTP status of an answer; 0 where there was none."""
    if isinstance(error, GoogleAPICallError):
        return int(error.code or 0)
    return int(error.response.status_code) if isinstance(error, InvalidResponse) else 0


def _answer(error: Exception) -> dict[str, Any]:
    """What Google says of an error; empty where it says nothing."""
    try:
        return dict(error.response.json()["error"])  # type: ignore[attr-defined]
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def _reasons(error: Exception) -> Iterator[str]:
    """Google's names of an error."""
    return (entry.get("reason", "") for entry in _answer(error).get("errors", ()))


def _said(name: str, error: Exception) -> str:
    if code := status(error):
        text = clean(str(_answer(error).get("message", "")))
        return f"{name} was answered {code}, {text}" if text else f"{name} was answered {code}"
    return f"{name} failed: {type(error).__name__}, {clean(str(error))}"


def _translated(name: str, uri: str, error: Exception) -> OSError:
    code, said = status(error), _said(name, error)
    if passes(error):
        limit = f"no other answer in {tries.PATIENCE.deadline:.0f} s"
        return OSError(errno.ETIMEDOUT, f"{said}; {limit}; check the network, and run the job again", uri)
    if code == 412:
        return ConflictError(errno.ESTALE, f"{said}; another writer was faster: run the job again", uri)
    if code in (404, 410):
        return OSError(errno.ENOENT, f"{said}; check the names of bucket and object, and that nothing replaces it", uri)
    if code in (401, 403) or isinstance(error, GoogleAuthError):
        remedy = f"allow {_PERMISSIONS[name]}, give other credentials (gcloud auth application-default login), "
        return OSError(errno.EACCES, f"{said}; {remedy}or try --anonymous or --requester-pays", uri)
    if code == BAD_REQUEST and "required" in _reasons(error):
        return OSError(errno.EACCES, f"{said}; name the project that pays with --requester-pays", uri)
    return OSError(errno.EIO, f"{said}; check --gcs-endpoint and the name", uri)
