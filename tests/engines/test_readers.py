"""Spark, and DuckDB with its extension for Iceberg, read what jobs have written: the values of the job's own reader."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.utils.config import Config

from harness.engines.iceberg_rest import serving as serving_catalog
from harness.engines.machines import ENGINES
from harness.engines.spark_sql import Rows, query
from harness.processes import ROOT
from harness.servers.s3_server import ENVIRONMENT, PASSWORD, Bucket, S3Server, serving
from lake.storage import StoreOptions
from pipeline.explore.output import Output
from pipeline.output.verify import verify
from tests.conftest import write_parquet
from tests.pipeline.conftest import run_job

PAGES = ROOT / "docs/howto"
ADDED = "by hand"  # the key of a row of another writer
COLUMNS = ("shard", "index", "key", "latent", "label", "dt")
LISTED = ", ".join(f"`{name}`" for name in COLUMNS)
_DUCKDB = """
import importlib.metadata, json, sys
from pathlib import Path
import duckdb
con = duckdb.connect(config={"allow_unsigned_extensions": "true"})
for name in ("avro", "iceberg"):
    files = importlib.metadata.files(f"duckdb-extension-{name}")
    con.load_extension(str(next(f.locate() for f in files if f.suffix == ".duckdb_extension")))
found = con.sql(sys.argv[1])
print(json.dumps([dict(zip(found.columns, row)) for row in found.fetchall()], default=str))
"""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, digit_files: list[bytes]) -> Path:
    """Latents of two days: plain tables, the same by their label, and these as an Iceberg table."""
    folder = tmp_path_factory.mktemp("lake")
    for number, day in enumerate(("28", "29")):
        files = digit_files[40 * number : 40 * (number + 1)]
        write_parquet(folder / f"images/dt=2026-11-{day}/a.parquet", files, [i % 3 for i in range(40)])
    jobs: dict[str, dict[str, Any]] = {
        "latents": {},
        "parts": {"partition_by": "label"},
        "table": {"partition_by": "label", "table": "iceberg"},
    }
    for name, options in jobs.items():
        run_job("encode", folder / "images", "zoo:mnist-autoencoder", folder / name, resize="stretch", **options)
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A REST catalog that has its warehouse on S3."""

    url: str
    s3: S3Server
    bucket: Bucket

    @property
    def output(self) -> str:
        return f"{self.bucket.uri}/out"

    @property
    def table(self) -> Any:
        """The table of the output, by a client that knows nothing of this project."""
        where = {"s3.endpoint": self.s3.url, "s3.region": "us-east-1"}
        return load_catalog("other", type="rest", uri=self.url, **where).load_table("vision.latents")

    @property
    def spark(self) -> dict[str, str]:
        """What the settings of the page lack: where the servers are."""
        more = {"s3.endpoint": self.s3.url, "s3.path-style-access": "true", "client.region": "us-east-1"}
        return {f"spark.sql.catalog.prod.{name}": value for name, value in {"uri": self.url, **more}.items()}

    def run(self, images: Path) -> dict[str, Any]:
        """One night."""
        table = {"table": "iceberg", "catalog": "prod", "table_name": "vision.latents"}
        stores = StoreOptions(s3_endpoint=self.s3.url)
        return run_job("encode", images, "zoo:mnist-autoencoder", self.output, resize="stretch", stores=stores, **table)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """A catalog that users of this machine call ``prod``."""
    folder = tmp_path_factory.mktemp("catalog")
    of_catalog = {
        "CATALOG_IO__IMPL": "org.apache.iceberg.aws.s3.S3FileIO",
        "CATALOG_S3_PATH__STYLE__ACCESS": "true",
        "AWS_REGION": "us-east-1",
    }
    with serving() as s3, pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        bucket = s3.bucket()
        more = {**of_catalog, "CATALOG_S3_ENDPOINT": s3.url}
        with serving_catalog(folder, f"{bucket.uri}/warehouse", more) as url:
            patch.setenv("PYICEBERG_CATALOG__PROD__TYPE", "rest")
            patch.setenv("PYICEBERG_CATALOG__PROD__URI", url)
            patch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())  # which was read when it was imported
            yield Shared(url=url, s3=s3, bucket=bucket)


@pytest.fixture(scope="module")
def nights(lake: Path, shared: Shared, digit_files: list[bytes]) -> Shared:
    """The same latents in the catalog and on S3, after a night of other images and a row that a user has added."""
    images = lake.parent / "nights"
    write_parquet(images / "dt=2026-11-28/a.parquet", digit_files[100:120], [*range(20)])
    shared.run(images)
    (row,) = shared.table.scan(limit=1).to_arrow().to_pylist()
    shared.table.append(pa.Table.from_pylist([{**row, "key": ADDED}], shared.table.schema().as_arrow()))
    for day in ("28", "29"):
        name = f"dt=2026-11-{day}/a.parquet"
        (images / name).parent.mkdir(exist_ok=True)
        (images / name).write_bytes((lake / "images" / name).read_bytes())
    shared.run(images)
    return shared


def catalog(lake: Path) -> dict[str, str]:
    """The settings of the page; the catalog within an output is here."""
    found = dict(re.findall(r"^(spark\.sql\.\S+) +(\S+)$", (PAGES / "tables.md").read_text(), re.MULTILINE))
    return {name: value.replace("/data/latents", str(lake / "table")) for name, value in found.items()}


def section(page: str, title: str) -> list[str]:
    """The statements of SQL below a title of a page."""
    text = (PAGES / page).read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    return [one for block in re.findall(r"```sql\n(.*?)```", text, re.DOTALL) for one in block.split(";")]


def truth(output: Path) -> Rows:
    """The rows of an output by the job's own reader, and of which day their directory is."""
    table = Output(output).table.to_table(columns=list(COLUMNS[:-1]))
    return [{**row, "dt": row["shard"][3:13]} for row in in_order(table.to_pylist())]


def in_order(rows: Rows) -> Rows:
    return sorted(rows, key=lambda row: (row["shard"], row["index"]))


def without_one(rows: Rows) -> Rows:
    """Without the row of the first night that a user has added."""
    assert len(rows) == 81
    return [row for row in rows if row["key"] != ADDED]


def check(found: Rows, wanted: Rows) -> None:
    """The same rows, and the same numbers bit for bit."""
    found = in_order(found)
    assert len(found) == 80
    for row, true in zip(found, wanted, strict=True):
        assert {name: str(row[name]) for name in COLUMNS if name != "latent"} == {
            name: str(true[name]) for name in COLUMNS if name != "latent"
        }
        assert np.array_equal(np.float32(row["latent"]), np.float32(true["latent"]))


@pytest.mark.timeout(600)
def test_a_rest_catalog_and_a_table_on_s3(nights: Shared, lake: Path) -> None:
    """Metadata go where the job's own options lead, each night is a snapshot, and a user's row stays."""
    table = nights.table
    assert table.location() == f"{nights.bucket.uri}/warehouse/vision/latents"
    said = [(one.summary.operation.value, one.summary.additional_properties) for one in table.snapshots()]
    assert [(operation, "latentlake.run" in more) for operation, more in said] == [
        ("append", True),
        ("append", False),
        ("overwrite", True),
    ]
    found = table.scan().to_arrow_batch_reader().read_all().to_pylist()
    check(without_one(found), truth(lake / "latents"))
    assert table.scan(snapshot_id=table.snapshots()[0].snapshot_id).to_arrow().num_rows == 20
    assert verify(nights.output, deep=True).problems == ()
    assert PASSWORD.encode() not in b"".join(nights.bucket.files("out").values())


@pytest.mark.timeout(600)
def test_spark(lake: Path, nights: Shared) -> None:
    tables = ("parquet.`latents/latents`", "parquet.`parts/latents`", "latentlake.latentlake.latents")
    statements = [f"SELECT {LISTED} FROM {table}" for table in (*tables, "prod.vision.latents")]
    of_pages = [*section("read_an_output.md", "Spark"), *section("tables.md", "Spark")]
    settings = {**catalog(lake), **nights.spark}
    *found, means, _, counted, days, snapshots = query([*statements, *of_pages], settings, lake)
    wanted = truth(lake / "latents")
    for rows in (*found[:3], without_one(found[3])):
        check(rows, wanted)
    first = [np.mean([row["latent"][0] for row in wanted if row["dt"] == day["dt"]]) for day in days]
    np.testing.assert_allclose([row["first"] for row in means], first, rtol=1e-6)
    assert days == [{"dt": "2026-11-28", "images": 40}, {"dt": "2026-11-29", "images": 40}]
    assert counted == [{"images": 80}]
    assert snapshots == [{"operation": "append", "files": "6"}]


def test_duckdb_reads_the_iceberg_table(lake: Path) -> None:
    metadata = sorted((lake / "table/_iceberg/table/metadata").glob("*.metadata.json"))[-1]
    listed = LISTED.replace("`", '"')
    check(duckdb_rows(f"SELECT {listed} FROM iceberg_scan('{metadata}')"), truth(lake / "latents"))


def duckdb_rows(statement: str) -> Rows:
    """What the DuckDB of ``scripts/engines`` gives, which is another than that of the tests."""
    env = {**os.environ, "PYTHONPATH": str(ENGINES / "duckdb")}
    done = subprocess.run(
        [sys.executable, "-c", _DUCKDB, statement], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows: Rows = json.loads(done.stdout)
    return rows
