"""How stores are reached: an endpoint is a URL of a server, without secrets."""

import pytest

from lake.core.errors import UsageError
from lake.storage.options import DEFAULTS, StoreOptions


def test_nothing_is_asked_for() -> None:
    assert StoreOptions(gcs_endpoint=None, s3_endpoint=None, requester_pays=None, anonymous=False) == DEFAULTS


@pytest.mark.parametrize("name", ["gcs_endpoint", "s3_endpoint"])
@pytest.mark.parametrize("url", ["http://localhost:4443", "https://storage.example.org", "https://h/path"])
def test_urls_of_servers(name: str, url: str) -> None:
    assert getattr(StoreOptions(**{name: url}), name) == url  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "flag"), [("gcs_endpoint", "--gcs-endpoint"), ("s3_endpoint", "--s3-endpoint")])
@pytest.mark.parametrize("url", ["", "localhost", "localhost:4443", "ftp://h", "https://", "https:///path", "//h"])
def test_what_is_no_url_of_a_server(name: str, flag: str, url: str) -> None:
    with pytest.raises(UsageError, match=rf"{flag} '{url}': no URL of a server"):
        StoreOptions(**{name: url})  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["https://user@h", "https://user:word@h", "https://:word@h"])
def test_secrets_are_not_among_the_options(url: str) -> None:
    with pytest.raises(UsageError, match="--s3-endpoint: the URL holds a user or password") as caught:
        StoreOptions(s3_endpoint=url)
    assert "word@" not in str(caught.value)
