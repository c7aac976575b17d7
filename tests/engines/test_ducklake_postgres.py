"""A DuckLake table whose catalog is in PostgreSQL, where several outputs and people write to it at once."""

import threading
from collections.abc import Iterator
from contextlib import closing
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from harness.engines.postgres import serving
from lake.core.errors import LatentlakeError, UsageError
from lake.core.retry import Backoff
from pipeline.output.verify import verify
from pipeline.tables import ducklake_catalog
from pipeline.tables.ducklake_lake import Lake
from pipeline.tables.table import TableSpec
from tests.conftest import write_parquet
from tests.engines.test_ducklake import NAME, Lakes, answered, duckdb_with_extensions, late
from tests.pipeline.conftest import run_job
from tests.pipeline.tables.test_lance import rows_of_files, write

__all__ = ["duckdb_with_extensions"]  # which is a fixture of these tests, too


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.fixture
def secret(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A secret of this user that leads to an empty catalog."""
    monkeypatch.setenv("HOME", str(tmp_path))
    make_secret("prod", server, tmp_path)
    yield "prod"
    with closing(ducklake_catalog.connect()) as connection:
        ducklake_catalog._load(connection, "postgres_scanner")
        connection.execute(f"ATTACH '{server}' AS db (TYPE postgres)")
        connection.execute("CALL postgres_execute('db', 'DROP SCHEMA public CASCADE; CREATE SCHEMA public')")


def make_secret(name: str, address: str, folder: Path) -> None:
    where = f"METADATA_PATH 'postgres:{address}', DATA_PATH '{folder}/data/'"
    with closing(ducklake_catalog.connect()) as connection:
        connection.execute(f"CREATE PERSISTENT SECRET {name} (TYPE ducklake, {where})")


class Shared(Lakes):
    """The table of an output in the catalog that a secret leads to."""

    def __init__(self, output: Path, secret: str) -> None:
        super().__init__(output)
        self.spec = TableSpec(kind="ducklake", catalog=secret)

    def query(self, *statements: str) -> list[dict[str, Any]]:
        with closing(ducklake_catalog.connect()) as connection:
            assert ducklake_catalog.attach(connection, self.spec, str(self.output))
            return answered(connection, *statements)

    def rows(self, then: str = "") -> list[dict[str, Any]]:
        return self.query(f"SELECT key, shard, index, latent FROM {NAME} {then} ORDER BY shard, index")


def test_a_snapshot_for_each_change(secret: str, tmp_path: Path) -> None:
    lakes = Shared(tmp_path / "out", secret)
    a, b, c = (write(lakes.output, f"latents/{name}.parquet", 5 + seed, seed) for seed, name in enumerate("abc"))
    assert lakes.table.current() is None
    assert lakes.publish([a, b], "monday") == 1
    assert lakes.publish([a, b], "monday") == 1
    assert lakes.publish([b, c], "tuesday") == 2
    assert lakes.rows() == rows_of_files(lakes.output, [b, c])
    assert lakes.rows("AT (VERSION => 1)") == rows_of_files(lakes.output, [a, b])
    assert lakes.table.named() == {file.name for file in (a, b, c)}


def test_another_writer_is_first(secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (Shared(tmp_path / name, secret) for name in ("one", "two"))
    a, b = (write(one.output, f"latents/{name}.parquet", 6, seed) for seed, name in enumerate("ab"))
    x = write(two.output, "latents/x.parquet", 6, 9)
    one.publish([a])
    late(monkeypatch, lambda: two.publish([x]), lambda: None, lambda: one.publish([b], "another run"))
    one.publish([b])
    rows = [*rows_of_files(one.output, [b]), *rows_of_files(two.output, [x])]
    assert one.rows() == sorted(rows, key=lambda row: (row["shard"], row["index"]))
    assert [*one.table.problems([b]), *two.table.problems([x])] == []


def test_a_commit_within_the_transaction_of_another(
    secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head is still the same when the transaction begins; it is the commit that finds another one."""
    one, two = (Shared(tmp_path / name, secret) for name in ("one", "two"))
    a, b = (write(one.output, f"latents/{name}.parquet", 6, seed) for seed, name in enumerate("ab"))
    x = write(two.output, "latents/x.parquet", 6, 9)
    one.publish([a])
    plain, races = Lake.add, [lambda: two.publish([x])]

    def add(*given: Any, **more: Any) -> None:
        plain(*given, **more)
        if races:
            races.pop()()

    monkeypatch.setattr(Lake, "add", add)
    monkeypatch.setattr(ducklake_catalog, "_CONFLICT", Backoff(first=0.01, most=0.01, attempts=4))
    one.publish([a, b])
    rows = [*rows_of_files(one.output, [a, b]), *rows_of_files(two.output, [x])]
    assert one.rows() == sorted(rows, key=lambda row: (row["shard"], row["index"]))


def test_many_writers_at_once(secret: str, tmp_path: Path) -> None:
    outputs = [Shared(tmp_path / f"out{number}", secret) for number in range(4)]
    files = [
        [write(lakes.output, f"latents/{n}.parquet", 5, 10 * n + at) for n in range(3)]
        for at, lakes in enumerate(outputs)
    ]
    failed = list[BaseException]()

    def go(number: int) -> None:
        try:
            for count in (1, 2, 3):
                outputs[number].publish(files[number][:count])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=go, args=(number,)) for number in range(len(outputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    rows = [row for lakes, own in zip(outputs, files, strict=True) for row in rows_of_files(lakes.output, own)]
    order = itemgetter("shard", "index", "key", "latent")
    assert sorted(outputs[0].rows(), key=order) == sorted(rows, key=order)


def test_a_job_and_its_second_night(secret: str, tmp_path: Path, digit_files: list[bytes]) -> None:
    source, output = tmp_path / "in", tmp_path / "out"
    for night, shards in enumerate((("a",), ("a", "b")), 1):
        for name in shards:
            write_parquet(source / f"{name}.parquet", digit_files[: 6 + ord(name) % 5], [0] * (6 + ord(name) % 5))
        summary = run_job(
            "encode",
            source,
            "zoo:mnist-autoencoder",
            output,
            resize="stretch",
            table="ducklake",
            catalog=secret,
            table_name="latentlake.latents",
        )
        assert summary["table"]["snapshot"] == str(night)
        verify(str(output), deep=True).raise_for_problems()
    lakes = Shared(output, secret)
    assert len(lakes.rows()) == summary["total"]["results"]


def test_a_password_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    make_secret("down", f"host={tmp_path} user=me password=hunter2 dbname=lake", tmp_path)
    lakes = Shared(tmp_path / "out", "down")
    with pytest.raises(UsageError, match="down: IOException") as caught:
        lakes.table.current()
    with pytest.raises(LatentlakeError, match="down: IOException") as other:
        lakes.publish([write(lakes.output, "latents/a.parquet", 3, 1)])
    for error in (caught, other):
        assert "hunter2" not in "".join(map(str, error.getrepr(style="short").reprtraceback.reprentries))
        assert "password=***" in str(error.value)
