"""How stores are reached: the settings that a job passes to its workers, beside the clients' own defaults."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from lake.core.choices import quoted
from lake.core.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """Settings for reaching stores, for the whole job. Credentials are not among them: each client finds its own.

    Attributes:
      gcs_endpoint: URL of another server for ``gs://``; None for the client's default.
      s3_endpoint: URL of another server for ``s3://``; None for the client's default.
      requester_pays: project that pays for requests to requester-pays buckets.
      anonymous: send no credentials, for public buckets.

    Raises:
      UsageError: an endpoint is no URL of a server, or holds a password; or ``anonymous`` is neither true nor false.

    >>> StoreOptions(s3_endpoint="http://localhost:9000").s3_endpoint
    'http://localhost:9000'
    """

    gcs_endpoint: str | None = None
    s3_endpoint: str | None = None
    requester_pays: str | None = None
    anonymous: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.anonymous, bool):  # any text would be true
            raise UsageError(f"anonymous: {quoted(self.anonymous)} is neither True nor False")
        for flag, url in (("--gcs-endpoint", self.gcs_endpoint), ("--s3-endpoint", self.s3_endpoint)):
            if url is not None:
                _check(flag, url)


DEFAULTS = StoreOptions()


def _check(flag: str, url: str) -> None:
    parts = urlsplit(url)
    if "@" in url:  # also where no user is recognised, since the scheme is missing
        raise UsageError(f"{flag}: the URL holds a user or password; give credentials as the client takes them")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{flag} {url!r}: no URL of a server; use one like https://storage.example.org")
