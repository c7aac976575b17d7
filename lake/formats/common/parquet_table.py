"""Write a Parquet file by record batches. It becomes visible as a whole or never."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from lake.core.records import OutputFile
from lake.storage import Sink

_HIDING = {"_": "%5F", ".": "%2E"}
_ROW_GROUP_BYTES = 16 << 20  # bytes of Arrow data in a row group: bounds the memory of this writer and of readers


def visible(path: str) -> str:
    """A path without names that begin with a dot or an underscore, which readers of datasets ignore.

    >>> visible("a/_DSC0001"), visible("a/b_c.d")
    ('a/%5FDSC0001', 'a/b_c.d')
    """
    return "/".join(_HIDING.get(name[:1], name[:1]) + name[1:] for name in path.split("/"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TableEncoding:
    """How columns are encoded and compressed.

    Attributes:
      dictionary: columns whose values repeat, which get a dictionary page; nested ones by the path of their leaf.
      columns: Parquet encodings of others, each with its column.
      level: of zstd; None for PyArrow's own.
    """

    dictionary: tuple[str, ...] = ("shard",)
    columns: tuple[tuple[str, str], ...] = ()
    level: int | None = None


class TableWriter:
    """Writes Parquet with zstd compression and page checksums. The edges of row groups depend on the data alone.

    Args:
      sink: receives the bytes.
      name: path of the file relative to the output, for its receipt.
      schema: of every batch.
      metadata: key-value metadata of the footer.
      encoding: how its columns are encoded.
      statistics: columns with minimum and maximum, which help queries; None for all.
      step: rows between two checks whether a page (about 1 MiB) is full; None for PyArrow's 1,024.

    Attributes:
      rows: number of rows so far.
    """

    def __init__(
        self,
        sink: Sink,
        name: str,
        schema: pa.Schema,
        metadata: Mapping[str, str] | Mapping[bytes, bytes],
        encoding: TableEncoding,
        statistics: list[str] | None = None,
        step: int | None = None,
    ) -> None:
        self._sink, self._name = sink, name
        self._schema = schema.with_metadata(dict(metadata))
        self._writer = pq.ParquetWriter(
            sink,
            self._schema,
            compression="zstd",
            compression_level=encoding.level,
            use_dictionary=list(encoding.dictionary),
            column_encoding={column: kind for kind, column in encoding.columns} or None,
            write_statistics=True if statistics is None else statistics,
            write_page_checksum=True,
            write_batch_size=step,
        )
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows. They reach the sink when a row group is full."""
        if not batch.num_rows:  # a row group without rows is one that Hugging Face's datasets fails on
            return
        self._waiting.append(batch)
        self._waiting_bytes += batch.nbytes
        self.rows += batch.num_rows
        if self._waiting_bytes >= _ROW_GROUP_BYTES:
            self._flush()

    def publish(self) -> OutputFile:
        """Write the footer and make the file visible."""
        self._flush()
        self._writer.close()
        self._sink.finish()
        return OutputFile(name=self._name, size=self._sink.size, rows=self.rows, crc32c=self._sink.crc32c)

    def abort(self) -> None:
        """Discard the file. The Parquet writer is not closed, since that would complete a file that lacks rows."""
        self._writer.is_open = False
        self._sink.abort()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, self._schema)
            self._writer.write_table(table, row_group_size=table.num_rows)
        self._waiting, self._waiting_bytes = [], 0
