"""All latents of an output as one memory-mapped matrix, in a cache that is named after what the output has committed.

```
<cache>/latents-<digest>/latents.npy    float32 [n, D]
<cache>/latents-<digest>/norms.npy      float32 [n], the squared length of each
<cache>/latents-<digest>/rows.arrow     key, shard and index of each
```

Of a latent that is not the output's first, the directory is ``latents-<digest>_NAME``.

The directory is made beside its final name and renamed, so a reader sees all of it or none. Another state of the output
has another digest, so that a cache is never out of date.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from lake.core.errors import UsageError
from lake.core.records import Array
from lake.formats.common.vector_storage import FIRST
from lake.storage.local import sync_path
from lake.storage.location import is_local, local_path
from pipeline.explore.committed import IDENTITY, Committed
from pipeline.explore.latent_reader import LatentReader

_UNFINISHED = 3600.0  # seconds after which what a killed process has begun is removed
_FIELDS = pa.schema([("key", pa.string()), ("shard", pa.dictionary(pa.int32(), pa.string())), ("index", pa.int64())])


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentMatrix:
    """The latents of an output, in the order of its manifest.

    Attributes:
      values: float32 ``[n, D]``, memory-mapped.
      norms: the squared length of each, float32 ``[n]``.
      rows: columns ``key``, ``shard`` and ``index``, ``[n]`` each.
    """

    values: Array
    norms: Array
    rows: pa.Table

    def __len__(self) -> int:
        return len(self.values)

    @property
    def keys(self) -> pa.ChunkedArray:
        """The key of each latent."""
        return self.rows.column("key")


def load_latents(committed: Committed, cache: str | None = None) -> LatentMatrix:
    """Map the latents of an output, from the cache if it has them; else the cache is filled first.

    Args:
      committed: the output.
      cache: local directory of the cache; None for ``_cache/`` in an output on a disk.

    Raises:
      UsageError: the output has no latents that can be compared, or no place for the cache.
      LatentlakeError: the tables are not those of the manifest.
    """
    reader = LatentReader.of(committed.schema(), committed.layout.output, committed.latent)
    place = _place(committed, cache)
    # Of further latents latents-<digest>_NAME.
    final = place / f"latents-{committed.digest}{committed.latent.removeprefix(FIRST)}"
    if not final.is_dir():
        _fill(committed, place, final, reader)
    return _open(final)


def _place(committed: Committed, cache: str | None) -> Path:
    output = committed.layout.output
    if cache is not None:
        return Path(cache) / hashlib.sha256(output.encode()).hexdigest()[:16]
    if is_local(output):
        return local_path(output) / "_cache"
    raise UsageError(f"{output} is in a store: name a local directory for its latents, --cache DIR or cache=DIR")


def _open(place: Path) -> LatentMatrix:
    values, norms = (np.load(place / name, mmap_mode="r") for name in ("latents.npy", "norms.npy"))
    with pa.memory_map(str(place / "rows.arrow")) as file:
        rows = pa.ipc.open_file(file).read_all()
    return LatentMatrix(values=values, norms=norms, rows=rows)


def _fill(committed: Committed, place: Path, final: Path, reader: LatentReader) -> None:
    with _building(place) as folder:
        _write(committed, folder, reader)
        # A power failure must not leave a directory of the right name over pages that were never written.
        for file in folder.iterdir():
            sync_path(file)
        try:
            folder.rename(final)
        except OSError:
            if not final.is_dir():  # else another process was faster, with the same
                raise
    _remove_old(place, committed.digest)


@contextmanager
def _building(place: Path) -> Iterator[Path]:
    """A new directory in the cache, which is removed unless the block has renamed it."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".building-", dir=place))
    except OSError as error:
        raise UsageError(
            f"{place}: the latents cannot be kept there ({error.strerror}); name another directory, --cache DIR or "
            "cache=DIR"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(committed: Committed, folder: Path, reader: LatentReader) -> None:
    count, at, dimension = committed.rows, 0, reader.dimension
    if not count:
        np.save(folder / "latents.npy", np.empty((0, dimension), np.float32))
        np.save(folder / "norms.npy", np.empty(0, np.float32))
    else:
        values = np.lib.format.open_memmap(folder / "latents.npy", "w+", np.float32, (count, dimension))
        norms = np.lib.format.open_memmap(folder / "norms.npy", "w+", np.float32, (count,))
    keys, shards, indices = list[pa.Array](), list[pa.Array](), list[pa.Array]()
    for batch in committed.batches([*IDENTITY, committed.latent]):
        part = reader.read(batch.column(committed.latent))
        values[at : at + len(part)] = part
        norms[at : at + len(part)] = np.einsum("nd,nd->n", part, part, dtype=np.float64)
        at += len(part)
        for column, name in zip((keys, shards, indices), IDENTITY, strict=True):
            column.append(batch.column(name))
    _write_rows(folder / "rows.arrow", keys, shards, indices)


def _write_rows(file: Path, keys: list[pa.Array], shards: list[pa.Array], indices: list[pa.Array]) -> None:
    columns = [pa.chunked_array(one, kind) for one, kind in zip((keys, shards, indices), _FIELDS.types, strict=True)]
    rows = pa.table(columns, schema=_FIELDS).unify_dictionaries().combine_chunks()
    with pa.ipc.new_file(str(file), _FIELDS) as writer:
        writer.write_table(rows)


def _remove_old(place: Path, digest: str) -> None:
    """Remove the latents of earlier states; who has them mapped keeps them."""
    for folder in place.glob("latents-*"):
        if not folder.name.startswith(f"latents-{digest}"):
            shutil.rmtree(folder, ignore_errors=True)
    for folder in place.glob(".building-*"):
        if time.time() - folder.stat().st_mtime > _UNFINISHED:
            shutil.rmtree(folder, ignore_errors=True)
