"""Errors of Google Cloud Storage (JSON API): which are transient, and all others as ``OSError``."""

import errno
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud.storage.exceptions import InvalidResponse
from requests.exceptions import InvalidSchema, InvalidURL, RequestException
from urllib3.exceptions import HTTPError

from lake.storage import request_retry
from lake.storage.redact import clean, has_bad_certificate
from lake.storage.remote import ConflictError

_T = TypeVar("_T")

# Everything that the client raises.
FAILURES = (GoogleAPICallError, GoogleAuthError, InvalidResponse, RequestException, HTTPError)
FULL = 507  # "Insufficient Storage"
BAD_REQUEST = 400  # also the answer to an upload whose bytes do not match its checksum
_TRANSIENT = {408, 429, 500, 502, 503, 504}
_TRANSIENT_REASONS = {"backendError", "internalError", "rateLimitExceeded", "userRateLimitExceeded"}
_MALFORMED = (InvalidSchema, InvalidURL)  # a malformed URL; a retry cannot help
# The IAM permission that each request needs, for the error message.
_PERMISSIONS = {
    "list": "storage.objects.list",
    "get": "storage.objects.get",
    "insert": "storage.objects.create and, to replace, storage.objects.delete",
    "rewrite": "storage.objects.get, storage.objects.create and storage.objects.delete",
    "delete": "storage.objects.delete",
}


def persisted(name: str, uri: str, request: Callable[[], _T], *, spoilt: int = 0, once: bool = False) -> _T:
    """Make a request, repeating it while its failure may be transient.

    Args:
      name: of the request, as the JSON API calls it.
      uri: of the object, for errors.
      request: must be safe to repeat if it succeeded and only its answer was lost.
      spoilt: how many times status 400 counts as transient too: it is the answer to an upload corrupted in transit.
      once: whether there is one attempt alone.

    Returns:
      What ``request`` returned.

    Raises:
      OSError: the subclass that fits the answer, with the URI and what to do; TimeoutError after the deadline.
    """
    left = iter(range(spoilt))

    def passing(error: Exception) -> bool:
        return passes(error) or (status(error) == BAD_REQUEST and next(left, None) is not None)

    try:
        return request_retry.persist(f"{name} {uri}", request, passing, once=once)
    except FAILURES as error:
        raise _as_os_error(name, uri, error) from error


def passes(error: Exception) -> bool:
    """Whether the same request may succeed later: overload, the server's own errors, network errors."""
    if code := status(error):
        return code in _TRANSIENT or (code != FULL and bool(_TRANSIENT_REASONS.intersection(_reasons(error))))
    if isinstance(error, GoogleAuthError):
        return bool(error.retryable) or isinstance(error, TransportError)
    network = isinstance(error, FAILURES) and not isinstance(error, _MALFORMED)
    return network and not has_bad_certificate(error)


def status(error: BaseException | None) -> int:
    """HTTP status of an error; 0 if there was no answer."""
    if isinstance(error, GoogleAPICallError):
        return int(error.code or 0)
    return int(error.response.status_code) if isinstance(error, InvalidResponse) else 0


def _answer(error: Exception) -> dict[str, Any]:
    """The error object in Google's answer; empty if there is none."""
    try:
        return dict(error.response.json()["error"])  # type: ignore[attr-defined]
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def _reasons(error: Exception) -> Iterator[str]:
    """The reason codes in Google's answer."""
    return (entry.get("reason", "") for entry in _answer(error).get("errors", ()))


def _described(name: str, error: Exception) -> str:
    if code := status(error):
        text = clean(str(_answer(error).get("message", "")))
        return f"{name} was answered {code}, {text}" if text else f"{name} was answered {code}"
    return f"{name} failed: {type(error).__name__}, {clean(str(error))}"


def _as_os_error(name: str, uri: str, error: Exception) -> OSError:
    code, said = status(error), _described(name, error)
    if passes(error):
        limit = f"no other answer in {request_retry.REQUESTS.deadline:.0f} s"
        return OSError(errno.ETIMEDOUT, f"{said}; {limit}; check the network, and run the job again", uri)
    if code == 412:
        return ConflictError(errno.ESTALE, f"{said}; another writer was faster: run the job again", uri)
    if code in (404, 410):
        return OSError(errno.ENOENT, f"{said}; check the names of bucket and object, and that nothing replaces it", uri)
    if code in (401, 403) or isinstance(error, GoogleAuthError):
        remedy = f"allow {_PERMISSIONS[name]}, give other credentials (gcloud auth application-default login), "
        return OSError(errno.EACCES, f"{said}; {remedy}or try --anonymous or --requester-pays", uri)
    if code == FULL:
        return OSError(errno.ENOSPC, f"{said}; make room, and run the job again", uri)
    if code == BAD_REQUEST and "required" in _reasons(error):
        return OSError(errno.EACCES, f"{said}; name the project that pays with --requester-pays", uri)
    return OSError(errno.EIO, f"{said}; check --gcs-endpoint and the name", uri)
