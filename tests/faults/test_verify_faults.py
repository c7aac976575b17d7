"""Flipped bits, exchanged files and rows that are wrong: ``verify`` finds them all and names the unit to redo."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.core import sealed_json
from lake.core.errors import VerifyError
from lake.core.records import OutputFile
from pipeline.config import Gate
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import read_manifest, write_manifest
from pipeline.output.units.receipts import Receipt
from pipeline.output.verify import verify
from pipeline.output.verify.rows import batches, table_problem
from tests.conftest import Model, write_parquet
from tests.pipeline.conftest import run_job

pytestmark = pytest.mark.slow  # jobs, or models, from end to end

FLIPS, ALL_FLIPS = 20, 300
BAD = {3: b"", 4: b"<html>", 11: b"\x89PNG\r\n\x1a\n"}  # position in each shard -> what is there instead of an image


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, digit_files: list[bytes]) -> Path:
    """Two shards of 40 records, three of each bad."""
    root = tmp_path_factory.mktemp("source")
    for number, name in enumerate(("a/one", "b/two")):
        files = [BAD.get(at, data) for at, data in enumerate(digit_files[number * 40 : number * 40 + 40])]
        write_parquet(root / f"{name}.parquet", files, list(range(40)))
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, source: Path, model: Model) -> Path:
    """Latents, images and rejects of them."""
    output = tmp_path_factory.mktemp("made") / "out"
    gate = Gate(max_reject_fraction=0.1)
    run_job("reconstruct", source, model.bundle, output, output_format="webdataset", gate=gate)
    return output


@pytest.fixture
def output(tmp_path: Path, made: Path) -> Path:
    return shutil.copytree(made, tmp_path / "out")


def test_the_output_is_good(output: Path) -> None:
    report = verify(str(output), deep=True)
    assert report.problems == ()
    assert (report.units, report.files, report.read, report.results, report.rejects) == (2, 6, 80, 74, 6)


FILES: dict[str, tuple[str | None, str]] = {  # pattern -> the unit to redo, and what else may be named
    "latents/a/one.parquet": ("a/one", ""),
    "rejects/b/two.parquet": ("b/two", ""),
    "images/a/one.tar": ("a/one", ""),
    "_model/*/model.keras": (None, "_model/*"),
    "_model/*/model.json": (None, "_model/*"),
    "_model/*/golden.npz": (None, "_model/*"),
    "_manifest.parquet": (None, "_SUCCESS"),  # a manifest that can be read is not the one that this stands over
    "_SUCCESS": (None, ""),
    "_job.json": (None, ""),
}


@pytest.mark.parametrize("pattern", FILES)
@pytest.mark.parametrize("flips", [FLIPS, pytest.param(ALL_FLIPS, marks=pytest.mark.slow)])
def test_every_flipped_bit_is_found(output: Path, pattern: str, flips: int) -> None:
    unit, other = FILES[pattern]
    (path,) = output.glob(pattern)
    names = {str(found.relative_to(output)) for found in (path, *(output.glob(other) if other else ()))}
    whole = path.read_bytes()
    for bit in np.random.default_rng(5).choice(len(whole) * 8, flips, replace=False).tolist():
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        found = found_by_verify(output)
        assert {(problem, unit) for problem in names} & found, f"bit {bit}: {found}"


def found_by_verify(output: Path) -> set[tuple[str, str | None]]:
    """Names and units of all problems; a manifest that cannot be read is one too."""
    try:
        return {(problem.name, problem.unit) for problem in verify(str(output), deep=True).problems}
    except VerifyError as error:
        assert "remove it and run the job again" in str(error)
        return {(str(error).partition(": ")[0].removeprefix(f"{output}/"), None)}


def test_exchanged_files(output: Path) -> None:
    one, two = output / "latents/a/one.parquet", output / "latents/b/two.parquet"
    one.rename(output / "x")
    two.rename(one)
    (output / "x").rename(two)
    report = verify(str(output))
    assert report.units_to_redo == ("a/one", "b/two")
    assert ["its unit is 'b/two', but the manifest says 'a/one'" in p.problem for p in report.problems] == [True, False]


def test_exchanged_images(output: Path) -> None:
    one, two = (output / f"images/{name}.tar" for name in ("a/one", "b/two"))
    assert one.stat().st_size == two.stat().st_size
    one.rename(output / "x")
    two.rename(one)
    (output / "x").rename(two)
    assert verify(str(output)).problems == ()  # names and sizes are right
    report = verify(str(output), deep=True)
    assert [(p.name, p.problem[:9]) for p in report.problems] == [
        ("images/a/one.tar", "checksum "),
        ("images/b/two.tar", "checksum "),
    ]


def test_a_file_of_another_model_with_the_right_name_and_size(output: Path) -> None:
    path = output / "rejects/a/one.parquet"
    digest = json.loads((output / "_job.json").read_bytes())["options"]["model_digest"]
    other = digest[::-1]
    path.write_bytes(path.read_bytes().replace(digest.encode(), other.encode()))
    (problem,) = verify(str(output)).problems
    assert (problem.name, problem.unit) == ("rejects/a/one.parquet", "a/one")
    assert problem.problem == f"its model_digest is {other!r}, but _job.json says {digest!r}"


def test_an_old_file_brought_back(tmp_path: Path, source: Path, output: Path, model: Model) -> None:
    """Of the same model and the same name, made before the shard was replaced and its unit done again."""
    shutil.copytree(source, tmp_path / "in")
    options = {"output_format": "webdataset", "max_pixels": 4096}
    gate = Gate(max_reject_fraction=0.1)
    run_job("reconstruct", tmp_path / "in", model.bundle, output, overwrite=True, gate=gate, **options)
    old = shutil.copytree(output, tmp_path / "old")
    run_job("reconstruct", source, model.bundle, output, overwrite=True, gate=gate, output_format="webdataset")
    assert verify(str(output), deep=True).problems == ()
    shutil.copy(old / "latents/b/two.parquet", output / "latents/b/two.parquet")
    report = verify(str(output))
    assert report.units_to_redo == ("b/two",)
    assert "its fingerprint is " in report.problems[0].problem
    shutil.copy(old / "_SUCCESS", output / "_SUCCESS")
    shutil.copy(old / "_job.json", output / "_job.json")
    report = verify(str(output))
    assert report.units_to_redo == ("a/one", "b/two")
    assert "it stands over the manifest" in report.lost[0].problem


def forge(output: Path, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write a table anew so that only its rows are wrong: manifest and ``_SUCCESS`` agree with it."""
    path, layout = output / name, Layout(str(output))
    table = change(pq.read_table(path))
    pq.write_table(table, path, write_page_checksum=True, row_group_size=20)
    data = path.read_bytes()
    forged = OutputFile(name=name, size=len(data), rows=len(table), crc32c=f"{google_crc32c.value(data):08x}")
    receipts = dict(read_manifest(layout))
    receipts = {
        unit: replace(receipt, outputs=tuple(forged if o.name == name else o for o in receipt.outputs))
        for unit, receipt in receipts.items()
    }
    manifest = write_manifest(layout, receipts.values())
    summary = sealed_json.loads((output / "_SUCCESS").read_bytes(), "_SUCCESS")
    summary["manifest"] |= {"crc32c": manifest.crc32c, "size": manifest.size}
    summary["total"]["output_bytes"] = sum(o.size for receipt in receipts.values() for o in receipt.outputs)
    (output / "_SUCCESS").write_bytes(sealed_json.dumps(summary))


def with_column(name: str, change: Callable[[list], object]) -> Callable[[pa.Table], pa.Table]:
    """Change the values of one column."""

    def changed(table: pa.Table) -> pa.Table:
        values = table.column(name).to_pylist()
        change(values)
        at = table.schema.get_field_index(name)
        return table.set_column(at, table.schema.field(at), [pa.array(values, table.schema.field(at).type)])

    return changed


def set_at(at: int, value: object) -> Callable[[list], object]:
    return lambda values: values.__setitem__(at, value)


def swapped(table: pa.Table) -> pa.Table:
    order = [*range(19), 20, 19, *range(21, len(table))]
    return table.take(order)


ROWS: dict[str, tuple[str, Callable[[pa.Table], pa.Table], str]] = {
    "NaN": (
        "latents/a/one.parquet",
        with_column("latent", lambda v: v[30].__setitem__(5, float("nan"))),
        "its column latent has NaN or infinite values",
    ),
    "infinite error": (
        "latents/b/two.parquet",
        with_column("mse", set_at(3, float("inf"))),
        "its column mse has NaN or infinite values",
    ),
    "twice": (
        "latents/a/one.parquet",
        with_column("index", set_at(1, 0)),
        "its rows from record 0 of 'a/one.parquet' on are not in order, each once",
    ),
    "order, across row groups": (
        "latents/a/one.parquet",
        swapped,
        "its rows from record 22 of 'a/one.parquet' on are not in order, each once",
    ),
    "of another shard": (
        "latents/b/two.parquet",
        with_column("shard", set_at(36, "b/twofold.parquet")),
        "has rows of the shard 'b/twofold.parquet', which is another unit's",
    ),
    "result and reject": (
        "rejects/b/two.parquet",
        with_column("index", set_at(2, 39)),
        "record 39 of 'b/two.parquet' is a result and a reject",
    ),
    "reason": (
        "rejects/a/one.parquet",
        with_column("reason", set_at(0, "wrong_size")),
        "rejected for {'wrong_size': 1, 'unknown_format': 1, 'corrupt_image': 1}, but the manifest says {'",
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_rows_that_are_wrong(output: Path, case: str) -> None:
    name, change, text = ROWS[case]
    forge(output, name, change)
    assert verify(str(output)).problems == ()
    (problem,) = verify(str(output), deep=True).problems
    unit = name.partition("/")[2].removesuffix(".parquet")
    assert problem.name == (unit if case == "result and reject" else name)
    assert problem.unit == unit and problem.problem.startswith(text)


def test_rows_that_are_right(output: Path) -> None:
    """What ``forge`` does by itself is no damage."""
    forge(output, "latents/a/one.parquet", lambda table: table)
    assert verify(str(output), deep=True).problems == ()


def test_records_of_many_shards(tmp_path: Path, digit_files: list[bytes], model: Model) -> None:
    """A folder's unit has rows of many shards, each with the index 0."""
    for at, data in enumerate(digit_files[:50]):
        (tmp_path / f"in/class {at % 2}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"in/class {at % 2}/é{at:02d}.png").write_bytes(b"bad" if at % 10 == 4 else data)
    run_job("encode", tmp_path / "in", model.bundle, tmp_path / "out", gate=Gate(max_reject_fraction=0.1))
    report = verify(str(tmp_path / "out"), deep=True)
    assert (report.problems, report.results, report.rejects) == ((), 45, 5)
    (rejects,) = tmp_path.glob("out/rejects/class 0/*.parquet")
    name = str(rejects.relative_to(tmp_path / "out"))
    forge(tmp_path / "out", name, with_column("shard", set_at(3, "class 0/é36.png")))
    (problem,) = verify(str(tmp_path / "out"), deep=True).problems
    assert problem.problem == "record 0 of 'class 0/é36.png' is a result and a reject"


def test_memory_does_not_grow_with_a_table(tmp_path: Path) -> None:
    """One row group of 16 MiB of latents, and then four of them."""
    peaks = [peak(long_table(tmp_path / f"{groups}.parquet", groups)) for groups in (1, 4)]
    assert max(peaks) < 8 << 20, peaks


def long_table(path: Path, groups: int) -> Path:
    rows = 1 << 16
    latents = np.random.default_rng(0).standard_normal(rows * 64, np.float32)
    latent = pa.FixedSizeListArray.from_arrays(pa.array(latents), 64)
    shard = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x.tar"]))
    index = np.arange(rows)
    schema = pa.schema([("shard", shard.type), ("index", pa.int64()), ("latent", latent.type)])
    with pq.ParquetWriter(path, schema, use_dictionary=["shard"], write_page_checksum=True) as writer:
        for group in range(groups):
            writer.write_table(pa.table([shard, index + group * rows, latent], schema=schema), row_group_size=rows)
    return path


def peak(path: Path) -> int:
    """Most bytes that Arrow held while a whole table was checked."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    try:
        with path.open("rb") as file:
            assert table_problem(batches(file), "latents", Receipt(unit="x", fingerprint="")) is None
    finally:
        pa.set_memory_pool(before)
    return pool.max_memory()
