"""The how-to pages: each does what it says."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.examples.pages import ROOT, blocks, run_page

HOWTO = ROOT / "docs/howto"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_clean_micrographs(tmp_path: Path) -> None:
    _, plan, job, table, _ = run_page(HOWTO / "clean_micrographs.md", tmp_path)
    assert "to do          1       6        6" in plan and "6 results, 0 rejects" in job
    levels = [float(line.split()[2]) for line in table.splitlines()[1:]]
    assert len(levels) == 6 and all(abs(level - 1500 / 65535 * 255) < 0.3 for level in levels)
    for path in sorted((tmp_path / "micrographs").rglob("*.tif")):
        with Image.open(tmp_path / "clean/images" / path.relative_to(tmp_path / "micrographs")) as clean:
            assert (clean.format, clean.mode) == ("TIFF", "I;16")


def test_find_duplicates(tmp_path: Path) -> None:
    *_, lists, pairs = run_page(HOWTO / "find_duplicates.md", tmp_path)
    dropped, leaked = (eval(line.partition(" ")[2]) for line in lists.splitlines())
    assert {"again10.png", "again20.png"} <= {*dropped}
    assert leaked == [f"{number:04d}.png" for number in range(300, 305)]
    assert all(f"seen{number}" in pairs for number in range(300, 305))


def test_my_own_format(tmp_path: Path) -> None:
    _, job, beam = run_page(HOWTO / "my_own_format.md", tmp_path)
    assert "500 results, 0 rejects" in job
    assert beam.strip() == "(128, 500)"


def test_read_an_output(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for day in (1, 2):
        folder = tmp_path / f"images/dt=2026-11-{27 + day}"
        folder.mkdir(parents=True)
        for number in range(20):
            Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8)).save(folder / f"day{day}-{number:02d}.png")
    (tmp_path / "images/dt=2026-11-29/again.png").write_bytes(
        (tmp_path / "images/dt=2026-11-28/day1-00.png").read_bytes()
    )
    _, days, nearest, worst, sums, copies, copied = run_page(HOWTO / "read_an_output.md", tmp_path)
    table = pa.concat_tables(
        [pq.read_table(path, partitioning=None) for path in (tmp_path / "latents/latents").rglob("*.parquet")]
    )
    keys, psnr = np.array(table["key"].to_pylist()), table["psnr"].to_numpy()
    latents = np.array(table["latent"].to_pylist(), np.float32)
    first = np.array(["dt=2026-11-28" in shard for shard in table["shard"].to_pylist()])
    assert days.splitlines() == [
        f"2026-11-28 20 {psnr[first].mean():.1f} dB",
        f"2026-11-29 21 {psnr[~first].mean():.1f} dB",
    ]
    distance = np.linalg.norm(latents - latents[keys == "day2-03.png"], axis=1)
    assert eval(nearest) == keys[np.lexsort((keys, distance))][:5].tolist()
    assert worst.strip() == f"{keys[np.lexsort((keys, psnr))][:3].tolist()} (3, 128)"
    np.testing.assert_allclose(eval(sums), latents[first].sum(axis=0, dtype=np.float64)[:4], atol=6e-4)
    assert copies.split() == ["41", "1"]
    assert copied.split() == ["41", "21"]
    assert bigquery_columns() == {field.name: BIGQUERY[value_type(field)] for field in table.schema}
    # Trino reads the columns that it is told.
    assert trino_columns().items() <= {field.name: TRINO[value_type(field)] for field in table.schema}.items()


# cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#parquet_conversions; of a list after its mode
BIGQUERY = {
    "string": "STRING",
    "int64": "INT64",
    "float": "FLOAT64",
    "list of float": "REPEATED FLOAT64",
    "fixed_size_binary[32]": "BYTES",
}
# https://trino.io/docs/current/connector/hive.html: the type of a column of the file
TRINO = {
    "string": "varchar",
    "int64": "bigint",
    "float": "real",
    "list of float": "array(real)",
    "fixed_size_binary[32]": "varbinary",
}


def value_type(field: pa.Field) -> str:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return f"list of {kind.value_type}" if pa.types.is_fixed_size_list(kind) else str(kind)


def bigquery_columns() -> dict[str, str]:
    """The columns that the page tells BigQuery, without those of directories."""
    (text,) = [block.code for block in blocks(HOWTO / "read_an_output.md") if block.language == "json"]
    definition = json.loads(text)
    assert definition["hivePartitioningOptions"]["sourceUriPrefix"].endswith("/latents/{dt:DATE}")
    fields = definition["schema"]["fields"]
    return {field["name"]: f"{field.get('mode', '')} {field['type']}".strip() for field in fields}


def trino_columns() -> dict[str, str]:
    """The columns that the page tells Trino, without those of directories."""
    (text,) = [block.code for block in blocks(HOWTO / "read_an_output.md") if "hive.lake.latents (" in block.code]
    listed = [line.replace('"', "").split() for line in text.splitlines()[1].split(",")]
    return {name: kind for name, kind in listed if name != "dt"}


def test_tables(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    for root, day, count in (("images", 28, 12), ("images", 29, 5), ("more", 29, 7), ("more", 30, 4)):
        folder = tmp_path / f"{root}/dt=2026-11-{day}"
        folder.mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8)).save(folder / f"{number:02d}.png")
    _, first, days, _, snapshots, _, near = run_page(HOWTO / "tables.md", tmp_path)
    assert first.split(maxsplit=1)[0] == "12" and "list<element: float>" in first
    assert eval(days) == [("2026-11-28", 12), ("2026-11-29", 5)]
    # Five images of the second day became seven others, and a third day came.
    assert snapshots.splitlines() == ["append 2 17 True", "overwrite 2 23 True"]
    assert near.split() == ["1", "23", "0.0"]
