"""What every reader of shards offers, and what it is asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from pipeline.records import RawBatch, Shard, Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user and the model ask of a format, before a shard was looked at.

    image, key: name of the feature, column or member extension; None for the format's usual names.
    carry: names of the columns to carry; None for the format's usual labels, () for none.
    numeric: the model takes vectors or the source keeps numbers, not encoded image files.
    length: numbers in a vector, where the model that takes vectors is known.
    max_record_bytes: a record with more is a reject. Rows of an array are all of one size: with more, the array is
      refused on the first shard, and on another one is damage. Parquet's vectors and carried columns have no limit.
    whole: keep all of every record, so that its shard can be written again with other images.
    salvage: of a damaged shard keep what is intact (``--on-damage reject``).
    """

    image: str | None = None
    key: str | None = None
    carry: Sequence[str] | None = None
    numeric: bool = False
    max_record_bytes: int = 256 << 20
    length: int | None = None
    whole: bool = False
    salvage: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What a job reads from every shard: a request, settled by looking at the first shard.

    whole: every ``Records.source`` is filled; ``carry`` says all the same what becomes a column of a table.
    salvage: a record whose own checksum is wrong is a fault, CORRUPT_RECORD, where the framing lets reading go on.
    """

    image: str
    key: str | None
    carry: pa.Schema
    numeric: bool
    max_record_bytes: int
    length: int | None = None
    whole: bool = False
    salvage: bool = False


BATCH_BYTES = 64 << 20  # of encoded records: several batches are in flight


class Reader(Protocol):
    """One format. Stateless: any number of threads may use one."""

    suffixes: tuple[str, ...]  # lower case, with the dot; a further '.gz' is recognised where the format allows it
    grouped: bool  # True: many small files make one unit (folders); False: a file is a shard of its own

    def recognises(self, name: str, head: bytes) -> bool:
        """Whether a file of this name that begins with these bytes (up to 1,024) is of this format."""
        ...

    def settle(self, shard: Shard, request: Request) -> Columns:
        """Look at a shard (its header or first records) and fix what is read from every shard.

        Raises:
          InputError: a feature, column or member asked for is not there or has the wrong type; the text names what
            there is, and the option to set.
          ShardError: the shard is damaged where it had to be looked at.
        """
        ...

    def rows(self, shard: Shard) -> Sequence[int] | None:
        """Sizes, in rows, of the parts that can be read by themselves (row groups, rows); None: read from the start."""
        ...

    def read(self, unit: Unit, columns: Columns, size: int, room: int = BATCH_BYTES) -> Iterator[RawBatch]:
        """All records of the unit in order, in batches of ``size``; a shard's last batch may be smaller.

        So is one that ends early because its records reach ``room`` bytes, as they are stored: large images come in
        small batches. Where batches end depends on the unit alone. Memory stays constant: a few batches, whatever the
        size of the shard. A record that is bad by itself becomes a fault of its batch and the next one follows.

        Raises:
          ShardError: the container is damaged, or its schema differs from ``columns``. All intact records before the
            damage have been given by then, also those of a batch that it cut short.
          UnreadableError: the store failed, or the shard is not the one that was planned.
        """
        ...
