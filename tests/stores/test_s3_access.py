"""Who may use S3, how it is reached, and what is said where it is not: never a secret."""

import errno
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from harness.servers.proxy import Fault, proxied
from harness.servers.s3_rules import CarelessRules
from harness.servers.s3_server import USER, Bucket, S3Server, uploading
from lake.core.errors import UsageError
from lake.storage import StoreOptions, put
from lake.storage.remote import RemoteStore
from lake.storage.s3.store import S3Store
from tests.lake.storage.guards import Lease


@pytest.fixture
def store(bucket: Bucket, s3: S3Server) -> RemoteStore:
    return S3Store(StoreOptions(s3_endpoint=s3.proxy.url))


@pytest.fixture
def public(bucket: Bucket) -> Bucket:
    """A bucket that everybody may read."""
    bucket.allow("s3:GetObject", "s3:ListBucket")
    bucket.put("x", b"abc")
    return bucket


@pytest.fixture
def impostor(tmp_path: Path) -> Iterator[str]:
    """A server whose certificate nobody vouches for."""
    _certify(tmp_path / "both.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _certify(path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = made.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*plain) + certificate.public_bytes(serialization.Encoding.PEM))


def test_a_bucket_that_is_not_there(bucket: Bucket, store: RemoteStore) -> None:
    uri = f"s3://{bucket.name}-not/x"
    for ask in (lambda: put(uri, b"x"), lambda: [*store.list(uri)]):
        with pytest.raises(FileNotFoundError, match=rf"NoSuchBucket.*make the bucket, or correct its name: '{uri}"):
            ask()
    assert store.stat(uri) is None
    assert not store.is_directory(uri)
    store.delete(uri)


@pytest.mark.parametrize(
    ("user", "password", "said"),
    [
        (USER, "another-secret", r"SignatureDoesNotMatch.*check the secret of the access key"),
        ("nobody", "another-secret", r"InvalidAccessKeyId.*check the access key"),
    ],
)
def test_wrong_credentials(
    bucket: Bucket, store: RemoteStore, monkeypatch: pytest.MonkeyPatch, user: str, password: str, said: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", user)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", password)
    with pytest.raises(PermissionError, match=said) as caught:
        store.replace(f"{bucket.uri}/x", uploading(b"x"))
    assert password not in str(caught.value)
    with pytest.raises(PermissionError, match=r"HeadObject was answered 403.*docs/stores.md.*--anonymous"):
        store.stat(f"{bucket.uri}/x")


def test_a_public_bucket_needs_no_credentials(
    public: Bucket, s3: S3Server, store: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"{public.uri}/x"
    anonymous = S3Store(StoreOptions(s3_endpoint=s3.proxy.url, anonymous=True))
    with s3.proxy.doing() as seen:
        assert [store.stat(uri).size, anonymous.stat(uri).size] == [3, 3]
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with S3Store(StoreOptions(s3_endpoint=s3.proxy.url)).open(uri) as file:
            assert file.read() == b"abc"
        assert [bool(request.header("Authorization")) for request in seen] == [True, False, False, False]
    with pytest.raises(PermissionError, match=r"PutObject was answered AccessDenied.*give other credentials"):
        anonymous.replace(uri, uploading(b"x"))
    assert public.get("x") == b"abc"


def test_what_may_not_be_removed_among_many_is_named(bucket: Bucket, s3: S3Server) -> None:
    """The server's answer is a success, with an error for each."""
    names = [f"out/_receipts/{directory}/{number}" for directory in "ab" for number in range(3)]
    for name in (*names, "out/_hold"):
        bucket.put(name, b"mine")
    listed = [*S3Store(StoreOptions(s3_endpoint=s3.url)).list(f"{bucket.uri}/out/_receipts")]
    bucket.allow("s3:GetObject", "s3:ListBucket", remove_below="out/_receipts/a/")
    anonymous = S3Store(StoreOptions(s3_endpoint=s3.proxy.url, anonymous=True))
    denied = rf"DeleteObject was answered AccessDenied.*docs/stores.md.*{bucket.uri}/out/_receipts/b/0'"
    with s3.proxy.doing() as seen, pytest.raises(PermissionError, match=denied):
        anonymous.discard(listed, Lease(f"{bucket.uri}/out").guard(), by_name=True)
    assert [request.method for request in seen if request.method in ("POST", "DELETE")][:2] == ["POST", "DELETE"]
    assert [*bucket.files("out/_receipts/")] == ["b/0", "b/1", "b/2"]


def test_who_pays_says_so_with_every_request(bucket: Bucket, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lake.storage.s3.store.SINGLE", 5 << 20)
    store = S3Store(StoreOptions(s3_endpoint=s3.proxy.url, requester_pays="project"))
    with s3.proxy.doing() as seen:
        store.replace(f"{bucket.uri}/x", uploading(b"x"))
        store.replace(f"{bucket.uri}/x", uploading(bytes(6 << 20)))
        with store.open(f"{bucket.uri}/x") as file:
            assert file.read() == bytes(6 << 20)
        assert [stat.size for stat in store.list(bucket.uri)] == [6 << 20]
        bucket.client.create_multipart_upload(Bucket=bucket.name, Key="y")
        store.replace(f"{bucket.uri}/_hold", uploading(b"mine"))
        store.sweep(bucket.uri, time.time() + 60, Lease(bucket.uri).guard())
        store.delete(f"{bucket.uri}/x")
        assert {request.method for request in seen} == {"GET", "PUT", "HEAD", "POST", "DELETE"}
        assert {request.header("x-amz-request-payer") for request in seen} == {"requester"}


def test_the_region_is_the_configured_one(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    assert S3Store(StoreOptions())._client().meta.region_name == "us-east-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    client = S3Store(StoreOptions())._client()
    assert client.meta.region_name == "eu-central-1"
    assert client.meta.endpoint_url == "https://s3.eu-central-1.amazonaws.com"


def test_a_profile_that_is_not_there(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nightly")
    with pytest.raises(UsageError, match=r"s3://: The config profile \(nightly\) could not be found; correct"):
        S3Store(StoreOptions()).stat("s3://bucket/x")


def test_what_a_helper_of_credentials_prints_is_not_said(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[default]\ncredential_process = sh -c 'echo hunter2 >&2; exit 1'\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UsageError, match=r"no credentials could be had \(CredentialRetrievalError\)") as caught:
        S3Store(StoreOptions()).stat("s3://bucket/x")
    assert "hunter2" not in str(caught.value)


def test_a_certificate_that_is_not_trusted_is_not_asked_again(bucket: Bucket, impostor: str) -> None:
    started = time.monotonic()
    with pytest.raises(OSError, match=r"SSL validation failed.*CERTIFICATE_VERIFY_FAILED.*AWS_CA_BUNDLE"):
        S3Store(StoreOptions(s3_endpoint=impostor)).stat("s3://bucket/x")
    assert time.monotonic() - started < 10


def test_without_the_client_it_is_said_how_to_get_it() -> None:
    code = (
        "import sys; sys.modules['boto3'] = None; from pipeline.cli.command import main; sys.exit(main(sys.argv[1:]))"
    )
    command = ["plan", "encode", "--input", "s3://bucket/in", "--model", "s3://bucket/m", "--output", "out"]
    ended = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, env={**os.environ})
    assert ended.returncode == 2
    assert ended.stderr == "error: s3:// needs boto3, which is not installed; run: pip install 'latentlake[s3]'\n"


def test_a_server_that_takes_no_notice_of_preconditions_is_found_out(bucket: Bucket, s3: S3Server) -> None:
    """Two runs could hold an output there; anonymous, or the signature would tell that headers are missing."""
    bucket.allow("s3:GetObject", "s3:PutObject")
    with proxied(s3.proxy.port, CarelessRules()) as careless:
        output = S3Store(StoreOptions(s3_endpoint=careless.url, anonymous=True))
        with pytest.raises(OSError, match=r"takes no notice of If-None-Match.*newer version.*s3://bucket-") as caught:
            output.swap(f"{bucket.uri}/x", lambda _: b"1")
    assert caught.value.errno == errno.ENOTSUP
    with s3.proxy.doing() as seen:
        store = S3Store(StoreOptions(s3_endpoint=s3.proxy.url))
        for name in "abc":
            store.replace(f"{bucket.uri}/{name}", uploading(b"1"))
        assert [request.name for request in seen] == ["a", "a", "b", "c"]


def test_a_server_that_has_no_preconditions(bucket: Bucket, s3: S3Server, store: RemoteStore) -> None:
    with (
        s3.proxy.doing(Fault(what=501)),
        pytest.raises(OSError, match=r"PutObject was answered NotImplemented.*use a server that can do it"),
    ):
        store.replace(f"{bucket.uri}/x", uploading(b"1"))
