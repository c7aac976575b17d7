"""A Parquet file that grows by record batches and becomes visible whole or never."""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.receipts import Output
from pipeline.storage import Sink

_ROW_GROUP_BYTES = 16 << 20  # of Arrow data: bounds memory, and is what query engines read in one go


class TableWriter:
    """zstd, page checksums, row groups whose edges depend on the data alone.

    Args:
      sink: where the bytes go.
      name: name of the file relative to the output, for its receipt.
      schema: of every batch.
      metadata: key-value metadata of the file's footer.
      dictionary: columns that repeat and are worth a dictionary page.
      statistics: columns whose least and greatest values help a query; None for all.
      step: rows between two looks at whether a page, of about 1 MiB, is full; None for PyArrow's 1,024.
    """

    def __init__(
        self,
        sink: Sink,
        name: str,
        schema: pa.Schema,
        metadata: Mapping[str, str] | Mapping[bytes, bytes],
        dictionary: list[str],
        statistics: list[str] | None = None,
        step: int | None = None,
    ) -> None:
        self._sink, self._name = sink, name
        self._schema = schema.with_metadata(dict(metadata))
        self._writer = pq.ParquetWriter(
            sink,
            self._schema,
            compression="zstd",
            use_dictionary=dictionary,
            write_statistics=True if statistics is None else statistics,
            write_page_checksum=True,
            write_batch_size=step,
        )
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows; they reach the sink when a row group is full."""
        self._waiting.append(batch)
        self._waiting_bytes += batch.nbytes
        self.rows += batch.num_rows
        if self._waiting_bytes >= _ROW_GROUP_BYTES:
            self._flush()

    def publish(self) -> Output:
        """Write the footer and make the file visible."""
        self._flush()
        self._writer.close()
        self._sink.finish()
        return Output(name=self._name, size=self._sink.size, rows=self.rows, crc32c=self._sink.crc32c)

    def abort(self) -> None:
        """Drop the file. The Parquet writer is not closed: that would complete it, short of its rows."""
        self._writer.is_open = False
        self._sink.abort()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, self._schema)
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._waiting, self._waiting_bytes = [], 0
