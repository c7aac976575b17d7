"""Latents as WebDataset tar archives, and what such an archive says about itself."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from lake.core.records import Array, OutputFile, Shard
from lake.formats.common.byte_stream import Window
from lake.formats.common.latent_rows import LatentRows, LatentSample
from lake.formats.common.npy import npy_header
from lake.formats.common.safetensors import SUFFIX, safetensors_file
from lake.formats.common.vector_storage import FIRST
from lake.formats.webdataset.sidecars import class_column
from lake.formats.webdataset.tar_read import archive_comment
from lake.formats.webdataset.tar_write import END, comment, member
from lake.formats.writer import UnitWriter
from lake.storage import Sink

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class LatentTarWriter(UnitWriter):
    """Writes the latents of one unit as one archive. It becomes visible as a whole or never.

    A sample is named after its number in the archive, as eight digits; never after a key. Its members:

    - ``.npy``, and ``.flip.npy`` and ``.variance.npy`` where the table has ``latent_flip`` and ``latent_variance``; or
      one ``.safetensors`` with tensors of the names of the columns,
    - ``.json``: all other columns, and as ``latent`` what the latent is,
    - ``.txt`` and ``.cls``, if it has a caption or a class.

    The archive begins with a global pax header, whose comment has the metadata of a Parquet footer, as JSON.

    Args:
      name: its path relative to the output.
      sink: receives its bytes.
      table: what the rows are.
      metadata: what the archive says about itself.
      tensors: write ``.safetensors`` instead of ``.npy``.
    """

    def __init__(
        self, name: str, sink: Sink, table: LatentRows, metadata: Mapping[str, str], *, tensors: bool = False
    ) -> None:
        self._name, self._sink, self._table, self._tensors, self._rows = name, sink, table, tensors, 0
        self._class = class_column(pa.schema(table.others))
        sink.write(comment(json.dumps(metadata, sort_keys=True).encode()))

    def write(self, rows: pa.RecordBatch) -> None:
        """Append the rows of the next batch."""
        parts: list[bytes] = []
        for sample in self._table.samples(rows):
            parts += self._sample(b"%08d" % self._rows, sample)
            self._rows += 1
        self._sink.write(b"".join(parts))

    def publish(self) -> tuple[OutputFile, ...]:
        """Write the end of the archive and make it visible."""
        self._sink.write(END)
        self._sink.finish()
        return (OutputFile(name=self._name, size=self._sink.size, rows=self._rows, crc32c=self._sink.crc32c),)

    def abort(self) -> None:
        """Discard the archive."""
        self._sink.abort()

    def _sample(self, name: bytes, sample: LatentSample) -> Iterator[bytes]:
        for suffix, data in self._files(sample.latents):
            yield from member(name + suffix, data)
        values, said = sample.values, {**self._table.said, "shape": [*sample.shape]}
        identity = {key: values[key] for key in ("key", "shard", "index")}
        yield from member(name + b".json", _encode({**identity, FIRST: said, **values}).encode())
        caption = None if self._table.caption is None else values[self._table.caption]
        if caption is not None:
            yield from member(name + b".txt", caption.encode())
        if self._class is not None and values[self._class] is not None:
            yield from member(name + b".cls", b"%d" % values[self._class])

    def _files(self, latents: Sequence[Array]) -> Iterator[tuple[bytes, bytes]]:
        named = dict(zip(self._table.names, latents, strict=True))
        if self._tensors:
            bits = self._table.said.get("type") == "bfloat16"
            yield f".{SUFFIX}".encode(), safetensors_file(named, bfloat16=bits)
            return
        for column, latent in named.items():
            middle = column.removeprefix(FIRST).replace("_", ".", 1)
            yield f"{middle}.npy".encode(), b"".join((_header(latent.dtype, latent.shape), latent.tobytes()))


def said_by(shard: Shard) -> dict[str, Any]:
    """What an archive says about itself; nothing for one that no ``LatentTarWriter`` wrote.

    Args:
      shard: plain or compressed.

    Raises:
      ShardError: its first header is damaged.
      UnreadableError: the store failed.
    """
    window = Window(shard, sparse=True)
    with closing(window):
        text = archive_comment(window)
    try:
        found = {} if text is None else json.loads(text)
    except (ValueError, RecursionError):  # the comment of another program, such as the commit of git archive
        return {}
    return found if isinstance(found, dict) else {}


# The latents of an archive have few shapes.
@lru_cache(maxsize=1 << 10)
def _header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    return npy_header(dtype, shape)
