"""Servers of object stores, and buckets that are reached through them."""

from collections.abc import Iterator

import pytest

from harness.servers import gcs_server
from harness.servers.gcs_server import GcsBucket, GcsServer
from harness.servers.s3_server import ENVIRONMENT, Bucket, S3Server, serving
from lake.storage import StoreOptions, configure
from lake.storage.options import DEFAULTS
from tests.faults.forkserver import Nursery


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """One server for all tests of ``s3://``."""
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> Iterator[Bucket]:
    """A new bucket of the server, where ``s3://`` goes."""
    configure(StoreOptions(s3_endpoint=s3.url))
    yield s3.bucket()
    configure(DEFAULTS)


@pytest.fixture(scope="session")
def nursery(s3: S3Server) -> Iterator[Nursery]:
    """One for all tests that begin processes, which inherit the credentials: it takes seconds to be ready."""
    with Nursery() as started:
        yield started


@pytest.fixture(scope="session")
def gcs() -> Iterator[GcsServer]:
    """One server for all tests of ``gs://``."""
    with gcs_server.serving() as server:
        yield server


@pytest.fixture
def gs(gcs: GcsServer) -> Iterator[GcsBucket]:
    """A new bucket of the server, where ``gs://`` goes by way of the proxy."""
    configure(StoreOptions(gcs_endpoint=gcs.proxy.url))
    yield gcs.bucket()
    configure(DEFAULTS)
