"""What failures of every store's requests have in common."""

import re
import ssl
from collections.abc import Iterator


def has_bad_certificate(error: BaseException) -> bool:
    """Whether a server was not the one that its certificate names: that does not pass."""
    return any(isinstance(link, ssl.SSLCertVerificationError) for link in _chain(error))


def clean(text: str) -> str:
    """A text on one line without what might be a secret: queries, users and passwords of URLs."""
    return " ".join(re.sub(r"(?<=//)[^/@\s]*@", "", re.sub(r"\?[^\s\"']*", "", text)).split())


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
