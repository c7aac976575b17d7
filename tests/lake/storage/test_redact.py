"""What failures say: on one line, and without secrets."""

import ssl

import pytest

from lake.core.errors import UsageError
from lake.storage import store_for
from lake.storage.redact import check_no_user, clean, has_bad_certificate, without_users


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain  text\n on\tlines ", "plain text on lines"),
        ("at https://user:word@h/o?upload_id=secret end", "at https://h/o end"),
        ("'https://h/o?sig=a b'", "'https://h/o b'"),
        ("\"https://h/o?sig=a\" 'x?y'", "\"https://h/o\" 'x'"),
        ("one https://a@h/x two https://b@i/y", "one https://h/x two https://i/y"),
        ("mail a@b and //no/a@b", "mail a@b and //no/a@b"),
        ("", ""),
    ],
)
def test_no_secret_is_said(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


SECRETS = ["s3://KEY:SECRET@b/x", "s3://KEY:SE/CR/ET@b/x", "gs://KEY@b", "S3://KEY:SECRET@b"]


@pytest.mark.parametrize("uri", SECRETS)
def test_a_uri_with_a_key_is_refused_and_not_said(uri: str) -> None:
    for refuse in (store_for, check_no_user):
        with pytest.raises(UsageError, match="holds a user or key") as caught:
            refuse(uri)
        assert not {"KEY", "SECRET", "ET"} & set(str(caught.value).replace("/", " ").replace("'", " ").split())
    assert "KEY" not in without_users(f"error: '{uri}' is no such thing")


@pytest.mark.parametrize("uri", ["s3://bucket/a@b:c/d@e", "/data/me@host/x", "gs://bucket", "file:///a@b", "a//b@c"])
def test_any_other_uri_is_left_as_it_is(uri: str) -> None:
    check_no_user(uri)
    assert without_users(f"{uri} {uri}") == f"{uri} {uri}"


def linked(error: BaseException, cause: BaseException | None, context: BaseException | None) -> BaseException:
    error.__cause__, error.__context__ = cause, context
    return error


def test_a_certificate_is_found_wherever_it_was_the_cause() -> None:
    bad = ssl.SSLCertVerificationError("bad")
    assert has_bad_certificate(bad)
    assert has_bad_certificate(linked(OSError(), bad, None))
    assert has_bad_certificate(linked(OSError(), None, bad))
    assert has_bad_certificate(linked(OSError(), linked(ValueError(), None, bad), TypeError()))
    assert not has_bad_certificate(linked(OSError(), TypeError(), bad)), "a cause says what was before"
    assert not has_bad_certificate(linked(OSError(), ssl.SSLError("other"), None))
