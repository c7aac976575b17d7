"""Where events go: the environment says it, by the names that OpenLineage's own clients know.

``OPENLINEAGE_URL`` and ``OPENLINEAGE_ENDPOINT`` name a server, ``OPENLINEAGE_API_KEY`` is what it asks for;
``OPENLINEAGE__TRANSPORT__TYPE=file`` with ``OPENLINEAGE__TRANSPORT__LOG_FILE_PATH`` names a file that lines are added
to; ``OPENLINEAGE_DISABLED=true`` switches all of it off.

Lineage is told beside the work: a server that is away or refuses costs a warning, never a run.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from lake.storage.redact import clean

_LOG = logging.getLogger(__name__)
_TIMEOUT = 5.0  # seconds, as of OpenLineage's own client
_ENDPOINT = "api/v1/lineage"


def is_told() -> bool:
    """Whether the environment names somebody to tell."""
    disabled = os.environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true"
    return not disabled and bool(_server() or _file())


def send(event: Mapping[str, Any]) -> None:
    """Send an event, or warn that it could not be sent.

    Args:
      event: JSON values.
    """
    if not is_told():
        return
    try:
        if server := _server():
            _in_time(lambda: _post(server, json.dumps(event).encode()))
        else:
            _append(Path(_file()), json.dumps(event))
    except HTTPError as error:
        _warn(f"the server answered {error.code}")
    except OSError as error:
        reason = error.reason if isinstance(error, URLError) else error
        _warn(clean(str(getattr(reason, "strerror", None) or reason)))
    except Exception as error:
        # Not its text: that of a bad header quotes the header, which has the key.
        _warn(type(error).__name__)


def _server() -> str:
    return os.environ.get("OPENLINEAGE_URL", "")


def _file() -> str:
    known = os.environ.get("OPENLINEAGE__TRANSPORT__TYPE", "").strip().lower() == "file"
    return os.environ.get("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH", "") if known else ""


class _NoRedirect(HTTPRedirectHandler):
    """A redirect is an answer: followed, it would take the key to another server."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(server: str, body: bytes) -> None:
    if urlsplit(server).scheme not in ("http", "https"):
        raise URLError("OPENLINEAGE_URL is no http:// or https:// URL")
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("OPENLINEAGE_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    url = f"{server.rstrip('/')}/{os.environ.get('OPENLINEAGE_ENDPOINT', _ENDPOINT).lstrip('/')}"
    try:
        with build_opener(_NoRedirect).open(Request(url, body, headers), timeout=_TIMEOUT) as answer:
            answer.read(1)
    except HTTPError as error:
        error.close()  # it holds the connection
        raise


def _in_time(call: Callable[[], None]) -> None:
    """Call something, and wait for it for a time. A socket's own timeout begins anew with every byte."""
    ended = Future[None]()

    def run() -> None:
        try:
            call()
            ended.set_result(None)
        except BaseException as error:
            ended.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        ended.result(_TIMEOUT)
    except TimeoutError as error:
        raise TimeoutError(f"no answer within {_TIMEOUT:g} s") from error


def _append(file: Path, line: str) -> None:
    # One write of a file that is open for appending: lines of several processes do not mix.
    with file.open("ab", buffering=0) as out:
        out.write(f"{line}\n".encode())


def _warn(why: str) -> None:
    _LOG.warning("the lineage of this run was not told: %s; the run goes on", why)
