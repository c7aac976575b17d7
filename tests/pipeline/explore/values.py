"""Outputs whose latents a test chooses: no job has run."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lake.formats.common.vector_storage import FLOAT32, METADATA_KEY, VectorStorage
from lake.formats.reader import ColumnSelection
from pipeline.output.layout import Layout
from pipeline.output.manifest.manifest import write_manifest
from pipeline.output.state.job_file import write_job_file
from tests.pipeline.values import make_config, make_file, make_receipt


def make_output(
    path: Path,
    latents: np.ndarray,
    *,
    more: Mapping[str, pa.Array] | None = None,
    keys: Sequence[str] | None = None,
    sizes: Sequence[int] = (),
    digest: str = "d1",
    storage: VectorStorage = FLOAT32,
    units: Sequence[str] = (),
) -> str:
    """A committed output with these latents; ``more`` are further columns, ``sizes`` the rows of each of ``units``."""
    output = str(path)
    keys = keys or [f"k{row}" for row in range(len(latents))]
    edges = np.cumsum([0, *(sizes or [len(latents)])]).tolist()
    flat = pa.array(storage.pack(latents.astype(np.float32))[0].reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, storage.width(latents.shape[1]))
    stored = {} if storage.plain else {METADATA_KEY: json.dumps(storage.to_json())}
    receipts = []
    for number, (start, stop) in enumerate(pairwise(edges)):
        unit, part = units[number] if units else f"u{number}", slice(start, stop)
        columns: dict[str, Any] = {
            "key": pa.array(keys[part]),
            "shard": pa.array([f"{unit}.tar"] * (stop - start)).dictionary_encode(),
            "index": pa.array(np.arange(stop - start)),
            "latent": column.slice(start, stop - start),
            **{name: column.slice(start, stop - start) for name, column in (more or {}).items()},
        }
        file = path / "latents" / f"{unit}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        table = pa.table(columns).replace_schema_metadata({"latentlake.fingerprint": f"print of {unit}", **stored})
        pq.write_table(table, file, write_page_checksum=True)
        size = file.stat().st_size
        outputs = (make_file(f"latents/{unit}.parquet", rows=stop - start, size=size, crc32c=f"{hash(unit):x}"),)
        receipts.append(make_receipt(unit, read=stop - start, outputs=outputs))
    write_manifest(Layout(output), receipts)
    write_job_file(make_config(output, model_digest=digest), ColumnSelection(), {})
    return output


def clustered(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    """Points around a few centres, float32 ``[count, dimension]``."""
    generator = np.random.default_rng(seed)
    centres = 4 * generator.standard_normal((12, dimension))
    return (centres[generator.integers(0, 12, count)] + generator.standard_normal((count, dimension))).astype(
        np.float32
    )
