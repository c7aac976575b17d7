"""A bucket that does not exist, or that one may not use: said at once by all that is given a name in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import latentlake as ll
from harness.servers.proxy import Fault, Proxy
from lake.core.counters import RETRIES
from lake.core.errors import OutputError
from lake.storage import configure
from lake.storage.options import DEFAULTS
from pipeline.cli.command import main
from tests.conftest import Model, Pixels, png, write_parquet

OF_OUTPUTS = ("verify", "status", "report", "retry", "duplicates", "outliers")
PLACES = ("input", "glob", "model", "output", "reuse")


@pytest.fixture(params=["s3", "gs"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def proxy(scheme: str, request: pytest.FixtureRequest) -> Iterator[Proxy]:
    """Before a server, which nobody asks twice."""
    found: Proxy = request.getfixturevalue({"s3": "s3", "gs": "gcs"}[scheme]).proxy
    RETRIES.take()
    yield found
    assert not RETRIES.take(), "no second attempt can help"
    configure(DEFAULTS)


@pytest.fixture
def endpoint(scheme: str, proxy: Proxy) -> str:
    return f"--{'s3' if scheme == 's3' else 'gcs'}-endpoint={proxy.url}"


@pytest.fixture
def source(tmp_path: Path, digits: Pixels) -> Path:
    write_parquet(tmp_path / "in/a.parquet", [png(digit) for digit in digits[:3]], range(3))
    return tmp_path / "in"


@pytest.mark.parametrize("verb", OF_OUTPUTS)
def test_of_an_output(scheme: str, endpoint: str, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, f"{scheme}://not-made/out", endpoint]) == 2
    says = f"error: {scheme}://not-made/out: its bucket does not exist; make it, or correct its name\n"
    assert capsys.readouterr().err == says


def test_of_an_output_that_is_opened(scheme: str, proxy: Proxy) -> None:
    stores = {"s3_endpoint" if scheme == "s3" else "gcs_endpoint": proxy.url}
    with pytest.raises(OutputError, match=f"{scheme}://not-made/out: its bucket does not exist"):
        ll.open(f"{scheme}://not-made/out", **stores)


@pytest.mark.parametrize("verb", ["encode", "plan"])
@pytest.mark.parametrize("place", PLACES)
def test_of_a_job(
    scheme: str,
    endpoint: str,
    verb: str,
    place: str,
    source: Path,
    model: Model,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    missing = f"{scheme}://not-made/x"
    given = {"input": str(source), "model": model.bundle, "output": str(tmp_path / "out")}
    given |= {"input": f"{missing}/*.parquet"} if place == "glob" else {place: missing}
    words = [f"--{name}={value}" for name, value in given.items()]
    assert main([*(["plan"] if verb == "plan" else []), "encode", *words, endpoint]) == 2
    says = f"error: {missing}: its bucket does not exist; make it, or correct its name\n"
    assert capsys.readouterr().err == says
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [(), ("--resume",)])
def test_of_a_bundle_that_is_to_be_trained(
    scheme: str, endpoint: str, source: Path, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Before its first step."""
    words = ["--kind=autoencoder", f"--input={source}", f"--output={scheme}://not-made/x", endpoint]
    assert main(["train", *words, *more]) == 2
    says = f"error: {scheme}://not-made/x: its bucket does not exist; make it, or correct its name\n"
    assert capsys.readouterr().err.endswith(says)


@pytest.mark.parametrize("verb", OF_OUTPUTS)
def test_one_that_may_not_be_read(
    scheme: str, endpoint: str, proxy: Proxy, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with proxy.doing(Fault(what=403, times=1 << 30)):
        assert main([verb, f"{scheme}://not-made/out", endpoint]) == 1
    said = capsys.readouterr().err
    assert "403" in said
    assert "give other credentials" in said
    assert said.count("\n") == 1
