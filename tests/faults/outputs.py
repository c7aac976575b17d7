"""What an output holds, file by file and row by row, read without this project's own readers."""

import json
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq

DATA = ("latents", "metrics", "images", "error_maps", "rejects")


def files(output: Path) -> dict[str, bytes]:
    """Every file of data and the manifest: what must be the same whatever happened on the way."""
    found = {path for name in DATA for path in (output / name).rglob("*") if path.is_file()}
    found |= {output / "_manifest.parquet"} & set(output.iterdir())
    return {str(path.relative_to(output)): path.read_bytes() for path in sorted(found)}


def rows(output: Path, table: str = "latents") -> list[dict[str, Any]]:
    """All rows of a table, by shard and index."""
    if not (output / table).exists():
        return []
    found = ds.dataset(output / table, format="parquet").to_table().to_pylist()
    return sorted(found, key=lambda row: (row["shard"], row["index"]))


def success(output: Path) -> dict[str, Any]:
    """``_SUCCESS``."""
    value: dict[str, Any] = json.loads((output / "_SUCCESS").read_text())
    return value


def litter(output: Path) -> list[str]:
    """What no finished run leaves: temporaries, receipts, plans, a hold."""
    names = [str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()]
    own = ("_receipts/", "_hold")
    return [n for n in names if n.startswith(own) or "/.latentlake-" in f"/{n}" or n.endswith(".jsonl")]


def add_up(output: Path) -> tuple[int, int, int]:
    """Read, results and rejects: from the manifest, which must agree with the footers and ``_SUCCESS`` (law 1)."""
    manifest = pq.read_table(output / "_manifest.parquet").to_pylist()
    read, results = (sum(row[name] for row in manifest) for name in ("read", "results"))
    rejects = sum(count for row in manifest for _, count in row["rejects"])
    assert read == results + rejects
    tables = [name for name in ("latents", "metrics") if (output / name).exists()]
    for name in tables:
        assert sum(pq.read_metadata(path).num_rows for path in (output / name).rglob("*.parquet")) == results
    assert sum(pq.read_metadata(path).num_rows for path in (output / "rejects").rglob("*.parquet")) == rejects
    if (output / "_SUCCESS").exists():
        total = success(output)["total"]
        assert (total["read"], total["results"], total["rejects"]) == (read, results, rejects)
    return read, results, rejects
