"""Helpers for errors of store requests: removing secrets from messages, and telling a bad TLS certificate."""

import re
import ssl
from collections.abc import Iterator

from lake.core.errors import UsageError
from lake.core.printable import printable

_USER = re.compile(r"(?<=://)[^/@\s]*@")
# A secret key may contain slashes, and the name of a bucket contains no colon.
_KEY = re.compile(r"(?<=s3://|gs://)[^/@\s:]*:[^@\s]*@")

# As libpq and catalogs write them: password=…, also between quotes.
_SECRET = re.compile(r"(?i)\b(password|passwd|pwd|secret|token|credential)(\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s'\"]+)")


def has_bad_certificate(error: BaseException) -> bool:
    """Whether an error was caused by a TLS certificate that does not match the server. A retry cannot help then."""
    return any(isinstance(link, ssl.SSLCertVerificationError) for link in _chain(error))


def clean(text: str) -> str:
    """A text on one line, without what may be secret: queries, users and passwords of URLs, and values of passwords.

    >>> clean("GET https://me:secret@host/x?signature=abc failed")
    'GET https://host/x failed'
    >>> clean("cannot connect to host=db user=me password='it is' port=5432")
    'cannot connect to host=db user=me password=*** port=5432'
    """
    shown = re.sub(r"(?<=//)[^/@\s]*@", "", re.sub(r"\?[^\s\"']*", "", _SECRET.sub(r"\1\2***", text)))
    return " ".join(without_users(shown).split())


def without_users(text: str) -> str:
    """A text without the users and passwords of URLs in it.

    >>> without_users("no such bucket: s3://KEY:SEC/RET@bucket/a@b.tar")
    'no such bucket: s3://bucket/a@b.tar'
    """
    return _USER.sub("", _KEY.sub("", text))


def check_no_user(uri: str) -> None:
    """Check that a URI holds no user, password or key: it would be written to plans, logs and outputs.

    Raises:
      UsageError: it does. The text does not repeat it.
    """
    if (scheme := uri.partition("://")[0]) != uri and without_users(uri) != uri:
        raise UsageError(
            f"a URI of {printable(scheme, 20)}:// holds a user or key before an @; leave that out, and give "
            "credentials as the store's client takes them"
        )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
