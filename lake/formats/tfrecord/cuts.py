"""Where a giant TFRecord shard is cut: by a pass over its lengths, or by an index of offsets.

The index is what ``tfrecord2idx`` writes, NVIDIA DALI's and that of the Python package ``tfrecord``: a line for each
record with its offset and its size, framing included.
"""

from io import BytesIO

import numpy as np
import pyarrow as pa
from pyarrow import csv

from lake.core.errors import ShardError
from lake.core.records import Array, Shard
from lake.formats.common.cuts import Cuts, Edges, cuts_among, index_text
from lake.formats.common.hops import Hops
from lake.formats.common.shard_errors import damage, reading
from lake.formats.tfrecord.lengths import FRAME, HEADER, record_length
from lake.storage import Stat, store_for

_COLUMNS = {"offset": pa.int64(), "size": pa.int64()}


def record_cuts(shard: Shard) -> Cuts:
    """Cut a shard after looking at the length of each record, whose checksum is verified.

    Args:
      shard: a plain one.

    Raises:
      ShardError: a length is damaged, or the shard is cut off.
      UnreadableError: the store failed.
    """
    window, edges, row = Hops(shard), Edges(shard.size), 0
    try:
        while window.need(HEADER):
            row = _hop_within(window, edges, row)
            if not window.need(HEADER):
                break
            length = record_length(window.data[window.pos : window.pos + HEADER])
            edges.add(row, window.offset)
            if length is None or not window.skip(FRAME + length):
                raise window.damage("damaged or cut off within a record")
            row += 1
        if len(window.data) > window.pos:
            raise window.damage("cut off within a record's header")
    finally:
        window.close()
    return edges.cuts(row)


def _hop_within(window: Hops, edges: Edges, row: int) -> int:
    """Pass over the records that are completely in the window. This is the hot loop, so it checks only what it must."""
    data, pos, base = window.data, window.pos, window.offset - window.pos
    size, due = len(data), edges.due - base
    while (length := record_length(data[pos : pos + HEADER])) is not None and (end := pos + FRAME + length) <= size:
        if pos >= due:
            edges.add(row, base + pos)
            due = edges.due - base
        pos, row = end, row + 1
    window.pos = pos
    return row


def indexed_record_cuts(shard: Shard, index: Stat) -> Cuts:
    """Cut a shard by its index, after looking at the lengths of the records that begin slices.

    Args:
      shard: a plain one.
      index: the file beside it.

    Raises:
      ShardError: the index does not fit the shard, or is none.
      UnreadableError: the store failed.
    """
    starts, sizes = _read(shard, index)
    cuts = cuts_among(starts, shard.size)
    with reading(shard), store_for(shard.uri).open(shard.uri, sparse=True) as file:
        for row, offset in zip(cuts.rows[:-1], cuts.offsets, strict=True):
            file.seek(offset)
            length = record_length(file.read(HEADER))
            if length is None or length + FRAME != sizes[row]:
                raise ShardError(shard.path, f"no record of {sizes[row]} bytes, as its index says,", offset)
    return cuts


def _read(shard: Shard, index: Stat) -> tuple[Array, Array]:
    """Offset and size of each record, which follow one another from the first byte of the shard to its last."""
    with damage(shard):
        table = csv.read_csv(
            BytesIO(index_text(shard, index)),
            csv.ReadOptions(column_names=[*_COLUMNS], use_threads=False),
            csv.ParseOptions(delimiter=" ", quote_char=False),
            csv.ConvertOptions(column_types=_COLUMNS, null_values=[]),
        )
    starts, sizes = (table.column(name).to_numpy() for name in _COLUMNS)
    edges = np.concatenate([starts, [shard.size]])
    possible = ((sizes >= FRAME) & (sizes <= shard.size)).all()
    if not (possible and edges[0] == 0 and np.array_equal(np.diff(edges), sizes)):
        raise ShardError(shard.path, f"the records of its index are not its {shard.size} bytes, one after the other")
    return starts, sizes
