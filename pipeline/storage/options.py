"""How stores are reached: what a job tells every one of its workers, besides the clients' own defaults."""

from argparse import Namespace
from dataclasses import dataclass, fields
from urllib.parse import urlsplit

from pipeline.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """Of the job, not of one store. Credentials are never among them: those are the clients' own matter.

    gcs_endpoint, s3_endpoint: URL of another server than the provider's; None for the client's default.
    requester_pays: the project that pays for reading buckets whose owners do not.
    anonymous: no credentials, for public buckets.

    Raises:
      UsageError: an endpoint is no URL of a server, or holds a password.
    """

    gcs_endpoint: str | None = None
    s3_endpoint: str | None = None
    requester_pays: str | None = None
    anonymous: bool = False

    def __post_init__(self) -> None:
        for flag, url in (("--gcs-endpoint", self.gcs_endpoint), ("--s3-endpoint", self.s3_endpoint)):
            if url is not None:
                _check(flag, url)


DEFAULTS = StoreOptions()


def given(options: Namespace) -> StoreOptions:
    """What a command line says of stores.

    Raises:
      UsageError: as ``StoreOptions`` does.
    """
    return StoreOptions(**{field.name: getattr(options, field.name) for field in fields(StoreOptions)})


def _check(flag: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise UsageError(f"{flag}: the URL holds a user or password; give credentials as the client takes them")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{flag} {url!r}: no URL of a server; use one like https://storage.example.org")
