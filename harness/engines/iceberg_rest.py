"""The REST catalog that Iceberg's own clients are tested with, over a SQLite file."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.engines.machines import java
from harness.processes import answers, free_ports, start, until

_SERVER = "org.apache.iceberg.rest.RESTCatalogServer"


@contextmanager
def serving(folder: Path, warehouse: str, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """A server in this block.

    Args:
      folder: for its SQLite file and its log.
      warehouse: where its tables' metadata go: a directory, or ``s3://``.
      settings: variables of its environment, such as ``CATALOG_S3_ENDPOINT``.

    Yields:
      Its address.
    """
    (port,) = free_ports(1)
    given = {"URI": f"jdbc:sqlite:{folder}/catalog.db", "WAREHOUSE": warehouse, "REST_PORT": str(port)}
    environment = {**{f"CATALOG_{name}": value for name, value in given.items()}, **(settings or {})}
    server = start(java("iceberg-rest", _SERVER), folder / "rest.log", more=environment)
    try:
        until(lambda: answers(port), "the REST catalog", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
